"""The package as a library: networks that classify, runs that train, on the caller's own data.

import googlenet_jax as gj

config = gj.config('digits', {'train.duration': '2 epochs'})
gj.train(config, 'runs/mine', data={'train': (images, labels), 'test': (others, theirs)})
probabilities, names = gj.load('runs/mine').predict(others)
"""

import contextlib
import io
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from ml_collections import ConfigDict
from PIL import Image

from googlenet_jax import checks, config_files, schema, startup, training, weights
from googlenet_jax.data import pipeline, stream
from googlenet_jax.data.sources import Records, Split
from googlenet_jax.errors import InputError, hint
from googlenet_jax.models import create
from googlenet_jax.models.layers import CLASSIFIERS
from googlenet_jax.run import score
from googlenet_jax.run import workdir as workdirs
from googlenet_jax.tools import predict

__all__ = ['Network', 'Split', 'config', 'create', 'evaluate', 'load', 'train']

SPLITS = 'train', 'validation', 'test'

startup.set_xla_flags()  # before jax starts

# A split of the caller's: images [N, H, W, C] or [N, H, W] uint8, labels [N] int.
Data = Mapping[str, Split | tuple[np.ndarray, np.ndarray]]
Images = np.ndarray | str | pathlib.Path | Sequence[str | pathlib.Path]


class Predictions(NamedTuple):
  """What `Network.predict` returns.

  Attributes:
    probabilities: `[N, classes]` float32.
    class_names: in the order of the classes.
  """

  probabilities: np.ndarray
  class_names: tuple[str, ...]


class Features(NamedTuple):
  """What `Network.features` returns.

  Attributes:
    activations: `[N, H, W, C]` (or `[N, C]`) float32 of the layers that were asked for.
    pooled: `[N, C]` float32, the input of the classifier; `[N, H, W, C]` where it is a convolution.
  """

  activations: dict[str, np.ndarray]
  pooled: np.ndarray


class Network:
  """A network with its weights and preprocessing.

  Attributes:
    description: what it is: model, fields, preprocessing, class names.
    model: the Flax module, `(images, *, train) -> Outputs`.
    variables: `{'params', 'batch_stats'}`.
  """

  def __init__(self, network: weights.Network):
    self.description, self.model = network.description, network.model
    self.variables = network.variables
    self._jitted = jax.jit(self._outputs, static_argnames='names')

  def predict(self, images: Images, *, batch_size: int = 32) -> Predictions:
    """Class probabilities of images, on one device.

    Args:
      images: uint8 `[H, W, C]` or `[N, H, W, C]`, RGB or gray, of any size; or paths of files and
        folders. The shorter side is resized and the centre taken, as in evaluation.
      batch_size: images at once.

    Raises:
      InputError: no images, or some that cannot be read.
    """
    logits, _, _ = self._run(images, (), batch_size)
    return Predictions(np.asarray(jax.nn.softmax(logits)), self.description.class_names)

  def features(self, images: Images, *names: str, batch_size: int = 32) -> Features:
    """Activations of layers, and the pooled features that the classifier sees.

    Args:
      images: as for `predict`.
      *names: layers by their paths, 'inception_4a' or 'inception_4a/conv_1x1'.
      batch_size: images at once.

    Raises:
      InputError: no such layer, no images, or some that cannot be read.
    """
    _, activations, pooled = self._run(images, names, batch_size)
    return Features(activations, pooled)

  def _outputs(self, variables, images, names: tuple[str, ...]):
    """Logits, activations of the named layers, and the classifier's input."""
    found, pooled = {}, []

    def watch(method: Callable, args: tuple, kwargs: dict, context) -> Any:
      output = method(*args, **kwargs)
      path = '/'.join(context.module.path)
      if context.method_name == '__call__' and isinstance(output, jax.Array):
        found[path] = output
        if path in CLASSIFIERS:
          pooled.append(args[0])
      return output

    with nn.intercept_methods(watch):
      outputs = self.model.apply(variables, images, train=False)
    for name in names:
      if name not in found:
        raise InputError(f'no layer {name!r}{hint(name, found)}')
    return outputs.logits, {name: found[name] for name in names}, pooled[-1]

  def _run(self, images, names, batch_size):
    records, preprocessing = _records(images), self.description.preprocessing
    data = pipeline.streamed(
      records,
      train=False,
      image_size=preprocessing.size,
      max_bad=records.count,
      **{
        name: getattr(preprocessing, name) for name in ('mean', 'std', 'resize_shorter', 'channels')
      },
    )
    devices = jax.local_device_count()  # the pipeline feeds all of them
    batch_size = -(-min(batch_size, records.count) // devices) * devices
    parts = []
    with contextlib.closing(data):
      for i in range(-(-records.count // batch_size)):
        host_batch = jax.tree.map(
          lambda x: x.reshape(-1, *x.shape[3:]), data.feed(i, 1, batch_size)
        )
        unused = jnp.zeros(batch_size, jnp.uint32)
        batch = data.make_batch((), host_batch, unused, None)
        bad = np.flatnonzero(~host_batch['valid'][: records.count - i * batch_size])
        if bad.size:
          why = stream.why_unreadable(records, i * batch_size + int(bad[0]))
          raise InputError(f'an image cannot be read: leave out, or replace, {why}')
        images = batch.image.reshape(-1, *data.image_shape)
        outputs = self._jitted(self.variables, images, names=tuple(names))
        parts.append(jax.tree.map(lambda x: np.asarray(x, np.float32), outputs))
    return jax.tree.map(lambda *x: np.concatenate(x)[: records.count], *parts)


def _records(images: Images) -> Records:
  """Images as encoded records: pixels take the way of files, so that both give the same."""
  if isinstance(images, str | pathlib.Path):
    images = [images]
  if not hasattr(images, 'ndim'):
    paths = predict.find([str(path) for path in images])
    encoded: Callable[[int], bytes] = lambda i: paths[i].read_bytes()  # noqa: E731
    return Records(len(paths), lambda i: (encoded(i), 0), lambda i: str(paths[i]), ('',))
  images = np.asarray(images)
  images = images[None] if images.ndim == 3 else images
  if (
    images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3) or not images.size
  ):
    raise InputError(
      f'images of {images.dtype} {list(images.shape)}: use uint8 [H, W, C] or [N, H, W, C] with 1 '
      'or 3 channels'
    )
  return Records(len(images), lambda i: (_png(images[i]), 0), lambda i: f'image {i}', ('',))


def _png(image: np.ndarray) -> bytes:
  buffer = io.BytesIO()
  Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image).save(buffer, 'PNG')
  return buffer.getvalue()


def load(path: str, **fields) -> Network:
  """A network with the weights of a file, or of a run's best checkpoint.

  Args:
    path: a weights file, published or ours, or the workdir of a run.
    **fields: those of the network that are to be others, `pool_rounding='ceil'`.

  Raises:
    InputError: not there, or unusable.
  """
  return Network(weights.load(str(path), flag='path', **fields))


def config(name: str = 'default', values: Mapping[str, Any] | None = None) -> ConfigDict:
  """The config of a file, by path, or by name of those that come with the package.

  Args:
    name: 'digits', or 'mine/config.py'.
    values: fields that are to be others, `{'optimizer.lr': 0.1}`.

  Raises:
    InputError: no such file or field, or a value that the field cannot have.
  """
  result = config_files.load(name)
  schema.update(result, values or {})
  checks.check(result)
  return result


def train(
  config: ConfigDict, workdir: str | pathlib.Path, *, data: Data | None = None
) -> dict | None:
  """Trains, or goes on with the run in the workdir, and scores the test split at its end.

  Args:
    config: as `config()` makes it; not changed.
    workdir: folder of the run, made where absent.
    data: splits 'train' and, where wanted, 'validation' and 'test', in place of the config's:
      `(images, labels)`, uint8 `[N, H, W, C]` and whole numbers from 0, or `Split`s.

  Returns:
    What `summary.json` holds; None when stopped before the end.

  Raises:
    InputError: unusable data or config, or a workdir of another run.
  """
  config = config.copy_and_resolve_references()
  arrays = None
  if data is not None:
    if 'train' not in data:
      raise InputError("data has no 'train': give {'train': (images, labels), ...}")
    arrays = _splits(data)
    config.dataset.name, config.dataset.in_memory = 'arrays', True
    config.dataset.update({name: name if name in data else '' for name in SPLITS})
  checks.check(config)
  return training.train(config, epath.Path(workdir).expanduser(), arrays=arrays)


def evaluate(
  workdir: str | pathlib.Path,
  values: Mapping[str, Any] | None = None,
  *,
  data: Data | None = None,
) -> dict:
  """Scores a run's best checkpoint on a split, the test split where nothing else is said.

  Args:
    workdir: of the run.
    values: fields of its config that are to be others, `{'eval.split': 'validation'}`.
    data: splits in place of the config's, as for `train`.

  Raises:
    InputError: no run, or unusable data.
  """
  folder = epath.Path(workdir).expanduser()
  config = workdirs.config(folder)
  if config is None:
    raise InputError(f'{folder} holds no run: train first')
  schema.update(config, values or {})
  if data and config.eval.split not in data:
    raise InputError(f'data has no {config.eval.split!r}: add it, or set eval.split')
  checks.check(config)
  arrays = _splits(data, workdirs.network(folder).class_names) if data else None
  return score.evaluate(config, folder, arrays)


def _splits(data: Data, class_names: tuple[str, ...] = ()) -> dict[str, Split]:
  """The caller's splits, of the same classes; numbers name them where nothing else does."""
  for name in data.keys() - set(SPLITS):
    raise InputError(f'data has a split {name!r}: use {", ".join(SPLITS)}')
  found = {name: _split(name, given) for name, given in data.items()}
  named = {weights.display_names(x.class_names) for x in found.values() if x.class_names}
  named |= {class_names} if class_names else set()
  if len(named) > 1:
    raise InputError(f'data has splits of different classes: {" and ".join(map(str, named))}')
  most = max(int(split.labels.max()) for split in found.values())
  names = named.pop() if named else tuple(map(str, range(most + 1)))
  if most >= len(names):
    raise InputError(f'data has the label {most}: the {len(names)} classes count from 0')
  return {name: split._replace(class_names=names) for name, split in found.items()}


def _split(name: str, given: Split | tuple[np.ndarray, np.ndarray]) -> Split:
  """Arrays as a split without names of classes."""
  if isinstance(given, Split):
    return given
  images, labels = map(np.asarray, given)
  images = images[..., None] if images.ndim == 3 else images
  fine = images.dtype == np.uint8 and images.ndim == 4 and len(images)
  if not fine or labels.shape != images.shape[:1] or labels.dtype.kind not in 'iu':
    raise InputError(
      f'data[{name!r}] has images of {images.dtype} {list(images.shape)} and labels of '
      f'{labels.dtype} {list(labels.shape)}: use uint8 [N, H, W, C] and whole numbers [N]'
    )
  if labels.min() < 0:
    raise InputError(f'data[{name!r}] has the label {labels.min()}: labels count from 0')
  return Split(images, labels.astype(np.int32), np.ones(len(images), bool), ())
