"""Arrays of a `.npz` file, as Keras's `mnist.npz` and the sets of MedMNIST have them."""

import pathlib
import zipfile
import zlib

import numpy as np

from googlenet_jax.data import sources
from googlenet_jax.data.sources import Split
from googlenet_jax.errors import InputError

# Names of the images and the labels of a split.
NAMES = (('{}_images', '{}_labels'), ('x_{}', 'y_{}'), ('{}_x', '{}_y'))


def load(split: str, *, data_dir: str) -> Split:
  """A split of a file.

  Args:
    split: 'train', 'val', 'test' or whatever the arrays are called by (`train_images` and
      `train_labels`, or `x_train` and `y_train`), or a stretch of it: 'train[:90%]'.
    data_dir: the file. Images are uint8 `[N, H, W]` or `[N, H, W, C]`, labels `[N]` or `[N, 1]`
      whole numbers from 0 on; an array `class_names` names them.

  Raises:
    InputError: no such file or split, or arrays of another kind.
  """
  what = f'--config.dataset.data_dir={data_dir}'
  path = pathlib.Path(data_dir).expanduser()
  if path.suffix != '.npz' or not path.is_file():
    raise InputError(f"{what}: dataset 'npz' needs a .npz file")
  try:
    with np.load(path) as file:
      arrays = dict(file)
  except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
    raise InputError(f'{what} cannot be read: {error}') from error
  images, labels = {}, {}
  for form in NAMES:
    head, tail = form[0].split('{}')
    for name in arrays:
      part = name[len(head) : len(name) - len(tail)]
      if name == form[0].format(part) and form[1].format(part) in arrays:
        images[part], labels[part] = arrays[name], _flat(arrays[form[1].format(part)])
  if not images:
    raise InputError(f'{what} holds {", ".join(arrays)}: name them train_images, train_labels, ...')
  for part, of in labels.items():
    if of.ndim != 1 or of.dtype.kind not in 'iu' or len(of) != len(images[part]):
      is_now = f'{of.dtype}{list(of.shape)}'
      raise InputError(f'{what}: labels of {part} are {is_now}: give int[{len(images[part])}]')
  spans = sources.spans(split, {part: len(x) for part, x in images.items()}, what)
  names = tuple(map(str, arrays.get('class_names', ())))
  names = names or tuple(map(str, range(1 + max(int(x.max(initial=0)) for x in labels.values()))))
  chosen = sources.joined(spans, images), sources.joined(spans, labels)
  return sources.arrays(*chosen, names, what=what)._replace(spans=spans)


def _flat(labels):
  return labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
