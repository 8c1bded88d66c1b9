"""Pictures of what a network is trained and evaluated on."""

import contextlib

import jax
import numpy as np
from etils import epath
from ml_collections import ConfigDict

from googlenet_jax import files, inputs, parallel, plots
from googlenet_jax.data.pipeline import Batch, Pipeline
from googlenet_jax.errors import InputError

IMAGES = 32


def preview(config: ConfigDict, workdir: epath.Path) -> dict:
  """Writes a grid of some training images, augmented as in training, and one of evaluation images.

  Args:
    config: checked (`checks.check`).
    workdir: folder for the pictures `preview_SPLIT.png`; made where absent.

  Returns:
    The path of each picture.

  Raises:
    InputError: unusable data or workdir.
  """
  if parallel.several_processes():
    raise InputError('--mode=preview is for one process: leave out --config.distributed')
  splits = [name for name in ('validation', 'test') if config.dataset[name]]
  written = {}
  for split, evaluating in (('train', False), (splits[0] if splits else 'train', True)):
    data = inputs.load(config, split, evaluating=evaluating)
    batch = first_batch(data, None if evaluating else jax.random.key(config.seed))
    images = batch.image * np.array(config.dataset.std) + np.array(config.dataset.mean)
    titles = [_title(label, data.class_names) for label in batch.label]
    shown = batch.mask > 0
    if not shown.any():
      raise InputError(
        f'{config.dataset[split]!r}: none of its first images can be read: replace those that are '
        'named above'
      )
    what = 'evaluation' if evaluating else 'training, augmented'
    name = f'{config.dataset.name}, {config.dataset[split]}: {what}'
    picture = plots.grid(images[shown], [t for t, s in zip(titles, shown, strict=True) if s], name)
    path = workdir / f'preview_{"evaluation" if evaluating else "train"}.png'
    files.make_folder(workdir)
    files.write(path, picture)
    written[f'preview, {"evaluation" if evaluating else "training"}'] = path
  return written


def first_batch(data: Pipeline, key: jax.Array | None) -> Batch:
  """The first images of a pipeline as numpy arrays; `key` augments them, None does not."""
  count = -(-min(IMAGES, data.size) // jax.device_count()) * jax.device_count()
  with contextlib.closing(data):
    host_batch = data.feed(0, 1, count)
  host_batch = jax.tree.map(lambda x: np.asarray(x).reshape(-1, *x.shape[3:]), host_batch)
  positions = np.arange(count, dtype=np.uint32)
  return jax.tree.map(
    np.asarray, jax.jit(data.make_batch)(data.device_data, host_batch, positions, key)
  )


def _title(label: np.ndarray, class_names: tuple[str, ...]) -> str:
  """'cat', or '70% cat, 30% dog' of a mixed image."""
  names = [class_names[i].split(',')[0] for i in np.argsort(-label)[:2]]
  first, second = np.sort(label)[::-1][:2]
  return names[0] if second < 0.005 else f'{first:.0%} {names[0]},\n{second:.0%} {names[1]}'
