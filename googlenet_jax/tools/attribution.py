"""Where in an image a network sees a class: Grad-CAM, and integrated gradients."""

from collections import Counter
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from googlenet_jax import weights
from googlenet_jax.data import pixels
from googlenet_jax.errors import InputError, hint

STAGES = 3  # map sizes that Grad-CAM is shown at, the last ones
AT_ONCE = 8  # points of a path that are computed together


class Seen(NamedTuple):
  """What an image makes of a network.

  Attributes:
    label: class that is explained, int32.
    probabilities: softmax of the logits, `[classes]`.
    activations: outputs `[H, W, C]` of the last layer of each stage, and of the others that were
      asked for, by path.
    gradients: gradients `[H, W, C]` of the label's logit by the stages' outputs.
  """

  label: jax.Array
  probabilities: jax.Array
  activations: dict[str, jax.Array]
  gradients: dict[str, jax.Array]

  @property
  def stages(self) -> list[str]:
    """The last layer of each stage, the largest map first."""
    return sorted(self.gradients, key=lambda name: -self.gradients[name].shape[0])


def observe(
  network: weights.Network, image: np.ndarray, label: int | None, layers: tuple[str, ...] = ()
) -> Seen:
  """Runs a network on an image `[H, W, C]` in [0, 255], and back from the logit of a class.

  A stage is the layers of one map size. It is compiled once for a network and its layers.

  Args:
    network: network of any family.
    image: pixels, not normalised.
    label: label of the class; None for the predicted one.
    layers: paths of further layers whose outputs are wanted.

  Raises:
    InputError: the network has no such layer, or none that gives a map.
  """
  images = _normalised(network, image)[None]
  label = -1 if label is None else label
  found = _observe(network.model.apply, layers, network.variables, images, np.int32(label))
  return jax.tree.map(np.asarray, found)


# A bound method is the same argument as long as its network is the same object.
@partial(jax.jit, static_argnames=('apply', 'layers'))
def _observe(apply, layers, variables, images, label):
  maps = _maps(apply, variables, images)
  stages = _stages(maps, variables['params'])
  for name in layers:
    if name not in maps:
      raise InputError(f'no layer {name!r} gives a map{hint(name, maps)}')
  wanted = {*stages, *layers}

  def perturb(method, args, kwargs, context):
    """Adds a zero to the output of a stage: its gradient is the activation's."""
    output, module = method(*args, **kwargs), context.module
    if context.method_name == '__call__' and '/'.join(module.path) in stages:
      return module.perturb('output', output)
    return output

  def capture(module, method_name):
    return method_name == '__call__' and '/'.join(module.path) in wanted

  def classify(zeros):
    outputs, state = apply(
      variables | {'perturbations': zeros},
      images,
      train=False,
      capture_intermediates=capture,
      mutable=['intermediates'],
    )
    return outputs.logits[0], state['intermediates']

  with nn.intercept_methods(perturb):
    made = apply(variables, images, train=False, mutable=['perturbations'])[1]
    logits, pull, captured = jax.vjp(classify, made['perturbations'], has_aux=True)
  label = jnp.where(label < 0, jnp.argmax(logits), label)
  (gradients,) = pull(jax.nn.one_hot(label, len(logits)))
  activations = {name: x[0][0] for name, x in _by_path(captured, '/__call__').items()}
  gradients = {name: x[0] for name, x in _by_path(gradients, '/output').items()}
  activations, gradients = jax.tree.map(lambda x: x.astype(jnp.float32), (activations, gradients))
  return Seen(label, jax.nn.softmax(logits), activations, gradients)


def _by_path(tree, end):
  flat = flax.traverse_util.flatten_dict(tree, sep='/')
  return {name.removesuffix(end): x for name, x in flat.items()}


def _stages(maps, params) -> tuple[str, ...]:
  """The last layer of each of the last map sizes, no part of another one where there is a choice;
  layers have parameters.
  """
  paths = flax.traverse_util.flatten_dict(params, sep='/')
  last = {}
  for name, shape in maps.items():
    found = last.get(shape[1:3], name)
    outer = name.count('/') <= found.count('/')
    if outer and any(path.startswith(f'{name}/') for path in paths):
      last[shape[1:3]] = name
  if not last:
    raise InputError('Grad-CAM needs a layer that gives a map: this network has none')
  return tuple(last.values())[-STAGES:]


def _maps(apply, variables, images) -> dict[str, tuple[int, ...]]:
  """Shapes `[B, H, W, C]` of modules' outputs of more than one pixel, in the order they end in."""
  order = []

  def note(method, args, kwargs, context):
    output = method(*args, **kwargs)
    if context.method_name == '__call__':
      order.append('/'.join(context.module.path))
    return output

  with nn.intercept_methods(note):
    run = partial(apply, train=False, capture_intermediates=True, mutable=['intermediates'])
    captured = _by_path(jax.eval_shape(run, variables, images)[1]['intermediates'], '/__call__')
  once = [name for name, count in Counter(order).items() if count == 1]
  # What a scan computes is not captured.
  shapes = {name: getattr(captured[name][0], 'shape', ()) for name in once if name in captured}
  return {name: x for name, x in shapes.items() if len(x) == 4 and min(x[1:3]) > 1}


def grad_cam(activation: np.ndarray, gradient: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """Where an image speaks for a class: Selvaraju et al. (2017), arXiv 1610.02391, section 3.

  Args:
    activation: output of a layer, `[H, W, C]`.
    gradient: gradient `[H, W, C]` of the class's logit by it.
    size: height and width of the image, pixels.

  Returns:
    Map of that size in [0, 1], shares of the maximum; zero where nothing speaks for the class.
  """
  heat = np.maximum(activation @ gradient.mean((0, 1)), 0)
  heat = np.asarray(jax.image.resize(heat, size, 'bilinear'))
  return heat / (heat.max() or 1)


class Path(NamedTuple):
  """Integrated gradients of a class's logit.

  Attributes:
    attributions: share of each value of the image in `difference`, `[H, W, C]` float32.
    difference: logit of the image less that of a black one; what the attributions sum to, but for
      the error of the points.
  """

  attributions: np.ndarray
  difference: float


def integrated_gradients(
  network: weights.Network, image: np.ndarray, label: int, points: int
) -> Path:
  """What each pixel adds to a logit: Sundararajan et al. (2017), arXiv 1703.01365, equation 3.

  The path goes straight from the black image; the integral is taken by the midpoint rule.

  Args:
    network: network of any family.
    image: pixels `[H, W, C]` in [0, 255], not normalised.
    label: label of the class.
    points: number of points, at least 1.
  """
  black, whole = (_normalised(network, x) for x in (np.zeros_like(image), image))
  shares = np.r_[0, 1, (np.arange(points) + 0.5) / points].astype(np.float32)
  factors = np.r_[0, 0, np.full(points, 1 / points)].astype(np.float32)  # the ends: logits alone
  count = -(-len(shares) // AT_ONCE) * AT_ONCE
  shares, factors = (np.pad(x, (0, count - len(x))) for x in (shares, factors))
  logits, mean = [], 0.0
  for i in range(0, count, AT_ONCE):
    part = slice(i, i + AT_ONCE)
    images = black + shares[part, None, None, None] * (whole - black)
    values, slope = _slope(
      network.model.apply, network.variables, images, factors[part], np.int32(label)
    )
    logits.append(values)
    mean += np.asarray(slope)
  first, last = np.concatenate(logits)[:2]
  return Path(np.asarray(mean * (whole - black), np.float32), float(last - first))


@partial(jax.jit, static_argnames='apply')
def _slope(apply, variables, images, factors, label):
  """Logits of a class, and the sum of their gradients by the images times the factors."""

  def weighted(images):
    logits = apply(variables, images, train=False).logits[:, label]
    return factors @ logits, logits

  gradients, logits = jax.grad(weighted, has_aux=True)(images)
  return logits, gradients.sum(0)


def _normalised(network, image):
  preprocessing = network.description.preprocessing
  return pixels.normalise(image, preprocessing.mean, preprocessing.std)
