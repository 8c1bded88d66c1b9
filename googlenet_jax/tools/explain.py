"""Pictures of what a network sees in an image: Grad-CAM, a module's branches, first filters."""

from functools import partial
from typing import NamedTuple

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from googlenet_jax import files, plots, weights
from googlenet_jax.data import boxes, decode, pixels
from googlenet_jax.errors import InputError
from googlenet_jax.models import googlenet
from googlenet_jax.tools import predict

BRANCHES = ('conv_1x1', 'conv_3x3', 'conv_5x5', 'pool_proj')  # in the order of a module's output
CHANNELS = 8  # shown of a branch


class Seen(NamedTuple):
  """What an image makes of a network.

  Attributes:
    label: class that is explained, int32.
    probabilities: softmax of the logits, `[classes]`.
    activations: outputs `[H, W, C]` of the inception modules and what is in them, by path.
    gradients: gradients `[H, W, C]` of the label's logit by the inception modules' outputs.
  """

  label: jax.Array
  probabilities: jax.Array
  activations: dict[str, jax.Array]
  gradients: dict[str, jax.Array]


def explain_photos(
  network: weights.Network, images: list[str], workdir: epath.Path, *, module: str = '4a'
) -> dict[str, epath.Path]:
  """Explains photos, the pictures of each in a folder `explain/NAME` of the workdir.

  Raises:
    InputError: see `explain`; or, after all others are done, some photos cannot be read.
  """
  preprocessing, written, unreadable = network.description.preprocessing, {}, []
  choose = partial(
    boxes.centre_box, resize_shorter=preprocessing.resize_shorter, size=preprocessing.size
  )
  paths = predict.find(images)
  for i, path in enumerate(paths):
    try:
      image = decode.crop(path.read_bytes(), choose, preprocessing.size)
    except Exception as error:  # decoders raise anything on broken data
      unreadable.append(f'{path} ({error})')
      continue
    if preprocessing.channels == 1:
      image = np.asarray(jnp.round(pixels.gray(image))).astype(np.uint8)
    same = [other.stem for other in paths].count(path.stem) > 1
    name = f'{path.stem}_{i}' if same else path.stem
    folder = workdir / 'explain' / name
    found = explain(network, image, folder, module=module)
    written |= {f'{name}, {what}': picture for what, picture in found.items()}
  if unreadable:
    raise InputError(
      f'{len(unreadable)} of {len(paths)} photos cannot be read: leave out, or replace, '
      f'{", ".join(unreadable[:3])}{", ..." if unreadable[3:] else ""}'
    )
  return written


def explain(
  network: weights.Network,
  image: np.ndarray,
  folder: epath.Path,
  *,
  module: str = '4a',
  label: int | None = None,
) -> dict[str, epath.Path]:
  """Writes `gradcam.png`, `branches_MODULE.png` and `filters_conv1.png`.

  Args:
    network: network whose submodules are named as GoogLeNet's.
    image: crop that the network sees, `[S, S, C]` uint8, RGB or gray, not normalised.
    folder: place of the pictures; made where absent.
    module: inception module whose branches are shown, a key of `googlenet.MODULES`.
    label: class that Grad-CAM explains; None for the predicted one.

  Returns:
    The path of each picture, by its name without '.png'.

  Raises:
    InputError: the network has no inception modules, not this one, or no such class.
  """
  params, names = network.variables['params'], network.description.class_names
  modules = [name for name in googlenet.MODULES if f'inception_{name}' in params]
  if not modules:
    raise InputError(
      f"{network.source}: {network.description.model} has none of GoogLeNet's inception modules"
    )
  if module not in modules:
    raise InputError(f'no inception module {module!r}: use one of {", ".join(modules)}')
  if label is not None and not 0 <= label < len(names):
    raise InputError(f'no class {label}: use a label from 0 to {len(names) - 1}')

  files.make_folder(folder)
  seen = jax.tree.map(np.asarray, observe(network, image, label))
  maps = {}
  for name in {name[0]: f'inception_{name}' for name in modules}.values():  # last of each stage
    maps[name] = grad_cam(seen.activations[name], seen.gradients[name], image.shape[:2])
  paths = {branch: f'inception_{module}/{branch}' for branch in BRANCHES}
  rows = {x: strongest(seen.activations[p]) for x, p in paths.items() if p in seen.activations}
  predicted, label = int(seen.probabilities.argmax()), int(seen.label)
  classes = {'predicted': predicted} | ({} if label == predicted else {'explained': label})
  title = '; '.join(
    f'{what}: {names[i].split(",")[0]} ({seen.probabilities[i]:.1%})' for what, i in classes.items()
  )
  title_branches = f'inception_{module}: the channels of greatest mean activation'
  filters = about_zero(np.asarray(params['conv1']['kernel'], np.float32))
  pictures = {
    'gradcam': plots.overlays(image, maps, title),
    f'branches_{module}': plots.channels(rows, title_branches),
    'filters_conv1': plots.tiles(filters, 'filters of conv1, each in its own range about zero'),
  }
  for name, picture in pictures.items():
    files.write(folder / f'{name}.png', picture)
  return {name: folder / f'{name}.png' for name in pictures}


def observe(network: weights.Network, image: np.ndarray, label: int | None) -> Seen:
  """Runs a network on an image `[H, W, C]` in [0, 255], and back from the logit of a class.

  Args:
    network: network with inception modules.
    image: pixels, not normalised.
    label: label of the class; None for the predicted one.
  """
  preprocessing = network.description.preprocessing
  images = pixels.normalise(image, preprocessing.mean, preprocessing.std)[None]
  apply = partial(network.model.apply, train=False)

  @jax.jit
  def run(variables, images, label):
    def classify(zeros):
      given = variables | {'perturbations': zeros}
      outputs, state = apply(given, images, capture_intermediates=True, mutable=['intermediates'])
      return outputs.logits[0], state['intermediates']

    with nn.intercept_methods(_perturb):
      zeros = apply(variables, images, mutable=['perturbations'])[1]['perturbations']
      logits, pull, captured = jax.vjp(classify, zeros, has_aux=True)
    label = jnp.argmax(logits) if label is None else label
    (gradients,) = pull(jax.nn.one_hot(label, len(logits)))
    activations = {
      path.removesuffix('/__call__'): outputs[0][0].astype(jnp.float32)
      for path, outputs in flax.traverse_util.flatten_dict(captured, sep='/').items()
      if path.startswith('inception_')
    }
    gradients = {name: x['output'][0].astype(jnp.float32) for name, x in gradients.items()}
    return Seen(label, jax.nn.softmax(logits), activations, gradients)

  return run(network.variables, images, label)


def _perturb(method, args, kwargs, context):
  """Adds a zero to the output of an inception module: its gradient is the activation's."""
  output, module = method(*args, **kwargs), context.module
  if context.method_name == '__call__' and (module.name or '').startswith('inception_'):
    return module.perturb('output', output)
  return output


def grad_cam(activation: np.ndarray, gradient: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """Where an image speaks for a class: Selvaraju et al. (2017), arXiv 1610.02391, section 3.

  Args:
    activation: output of a module, `[H, W, C]`.
    gradient: gradient `[H, W, C]` of the class's logit by it.
    size: height and width of the image, pixels.

  Returns:
    Map of that size in [0, 1], shares of the maximum; zero where nothing speaks for the class.
  """
  heat = np.maximum(activation @ gradient.mean((0, 1)), 0)
  heat = np.asarray(jax.image.resize(heat, size, 'bilinear'))
  return heat / (heat.max() or 1)


def strongest(activation: np.ndarray) -> dict[int, np.ndarray]:
  """The `CHANNELS` channels of `[H, W, C]` that are greatest on average, greatest first."""
  order = np.argsort(-activation.mean((0, 1)), kind='stable')[:CHANNELS]
  return {int(channel): activation[..., channel] for channel in order}


def about_zero(kernel: np.ndarray) -> np.ndarray:
  """Filters of a `[H, W, I, O]` kernel as `[O, H, W, I]` uint8, zero in the middle."""
  filters = np.moveaxis(kernel, -1, 0)
  largest = np.abs(filters).max((1, 2, 3), keepdims=True)
  return np.round(127.5 + 127.5 * filters / np.where(largest, largest, 1)).astype(np.uint8)
