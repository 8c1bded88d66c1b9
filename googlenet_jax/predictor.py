"""Networks that classify images of the caller's, and show what they compute of them."""

import contextlib
import io
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from googlenet_jax import weights
from googlenet_jax.errors import InputError, hint
from googlenet_jax.models.layers import CLASSIFIERS

Images = np.ndarray | str | pathlib.Path | Sequence[str | pathlib.Path]


class Predictions(NamedTuple):
  """What `Network.predict` returns.

  Attributes:
    probabilities: `[N, classes]` float32.
    class_names: names in label order.
  """

  probabilities: np.ndarray
  class_names: tuple[str, ...]


class Features(NamedTuple):
  """What `Network.features` returns.

  Attributes:
    activations: `[N, H, W, C]` (or `[N, C]`) float32 of the layers that were asked for.
    pooled: `[N, C]` float32, the input of the classifier; `[N, H, W, C]` where it is a convolution,
      `[N, 0]` where no layer has a name of `models.layers.CLASSIFIERS`.
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
      images: pixels or paths, see `predict`.
      *names: layers by their paths, 'inception_4a' or 'inception_4a/conv_1x1'.
      batch_size: images at once.

    Raises:
      InputError: no such layer, no images, or some that cannot be read.
    """
    _, activations, pooled = self._run(images, names, batch_size)
    return Features(activations, pooled)

  def _outputs(self, variables, images, names: tuple[str, ...]):
    """Logits, named layers' activations and the classifier's input, of uint8 crops."""
    from googlenet_jax.data import pipeline

    found, pooled, preprocessing = {}, [], self.description.preprocessing
    statistics = preprocessing.mean, preprocessing.std
    images = pipeline.normalised(images, self.description.image_shape, *statistics)

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
    # A network of a user's may call its classifier otherwise.
    classified = pooled[-1] if pooled else jnp.zeros((len(images), 0))
    return outputs.logits, {name: found[name] for name in names}, classified

  def _run(self, images, names, batch_size):
    # Imported with the first image: what decodes is not needed to load a network.
    from googlenet_jax.data import stream
    from googlenet_jax.data.crops import named_unreadable
    from googlenet_jax.tools.probabilities import batch_of, crops_of

    records = _records(images)
    crops = crops_of(records, self.description.preprocessing)
    batch_size, parts = batch_of(records.count, batch_size, devices=1), []
    feed = stream.in_order(crops, -(-records.count // batch_size), batch_size)
    with contextlib.closing(feed):
      for i, batch in enumerate(feed):
        bad = np.flatnonzero(~batch['valid'][: records.count - i * batch_size])
        if bad.size:
          why = named_unreadable(records, i * batch_size + int(bad[0]))
          raise InputError(f'an image cannot be read: leave out, or replace, {why}')
        outputs = self._jitted(self.variables, batch['image'], names=tuple(names))
        parts.append(jax.tree.map(lambda x: np.asarray(x, np.float32), outputs))
    return jax.tree.map(lambda *x: np.concatenate(x)[: records.count], *parts)


def _records(images: Images):
  """Images as encoded records: pixels take the way of files, so that both give the same."""
  from googlenet_jax.data.sources import Records
  from googlenet_jax.tools import predict

  if isinstance(images, str | pathlib.Path):
    images = [images]
  if not hasattr(images, 'ndim'):
    return predict.of_files(predict.find([str(path) for path in images]))
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
  from PIL import Image

  buffer = io.BytesIO()
  Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image).save(buffer, 'PNG')
  return buffer.getvalue()


def load(path: str, *, preprocessing: str = '', **fields) -> Network:
  """A network with the weights of a file, or of a run's best checkpoint.

  Args:
    path: a weights file, published or ours, or the workdir of a run.
    preprocessing: key of `weights.PREPROCESSINGS` in place of the file's own; '' for its own.
    **fields: fields of the network to override, `pool_rounding='ceil'`; `model='googlenet'` names
      the network of a published file that several fit.

  Raises:
    InputError: the file or workdir is missing or unusable.
  """
  return Network(weights.load(str(path), flag='path', preprocessing=preprocessing, **fields))
