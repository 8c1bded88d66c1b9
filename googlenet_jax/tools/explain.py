"""Pictures of what a network sees in an image: where it looks, branches, first filters."""

import io
import itertools
from collections.abc import Sequence
from functools import partial

import flax.traverse_util
import jax.numpy as jnp
import numpy as np
from etils import epath

from googlenet_jax import files, plots, weights
from googlenet_jax.data import boxes, decode, pixels
from googlenet_jax.errors import InputError, hint
from googlenet_jax.models import bricks
from googlenet_jax.models.inception import BRANCHES
from googlenet_jax.tools import attribution, predict

CHANNELS = 8  # shown of a branch


def explain_photos(
  network: weights.Network,
  images: list[str],
  workdir: epath.Path,
  *,
  module: str = '',
  label: str = '',
  path_points: int = 0,
) -> dict[str, epath.Path]:
  """Explains photos: what is drawn of each in a folder `explain/NAME` of the workdir, the first
  filters beside these.

  Args:
    network: network of any family.
    images: files, and folders of photos.
    workdir: folder that `explain` is made in.
    module, path_points: see `explain`.
    label: class that is explained, by name or number; '' for the predicted one.

  Raises:
    InputError: see `explain`; or, after all others are done, some photos cannot be read.
  """
  explained = find_class(network.description.class_names, label)
  preprocessing, written, unreadable = network.description.preprocessing, {}, []
  choose = partial(
    boxes.centre_box, resize_shorter=preprocessing.resize_shorter, size=preprocessing.size
  )
  paths = predict.find(images)
  names = names_of([path.stem for path in paths])
  for name, path in zip(names, paths, strict=True):
    try:
      image = decode.crop(path.read_bytes(), choose, preprocessing.size)
    except Exception as error:  # decoders raise anything on broken data
      unreadable.append(f'{path} ({error})')
      continue
    if preprocessing.channels == 1:
      image = np.asarray(jnp.round(pixels.gray(image))).astype(np.uint8)
    folder = workdir / 'explain' / name
    how = {'module': module, 'label': explained, 'path_points': path_points}
    found = explain(network, image, folder, **how)
    written |= {f'{name}, {what}': picture for what, picture in found.items()}
  if written:
    written |= draw_filters(network, workdir / 'explain')
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
  module: str = '',
  label: int | None = None,
  path_points: int = 0,
) -> dict[str, epath.Path]:
  """Writes `gradcam.png`, its maps as `gradcam.npz`, and `branches_MODULE.png`.

  The maps are Grad-CAM's `[S, S]` by the layer's path, and `integrated_gradients` `[S, S, C]`;
  beside them are `image`, `label` and `probabilities`. What is compiled is kept for the next image.

  Args:
    network: network of any family; those without inception modules have no branches to draw.
    image: crop that the network sees, `[S, S, C]` uint8, RGB or gray, not normalised.
    folder: place of the pictures; made where absent.
    module: inception module whose branches are shown, '4a'; '' for 4a, or the one in the middle.
    label: class that is explained; None for the predicted one.
    path_points: number of points of the path of integrated gradients; 0 for none.

  Returns:
    The path of each file, by its name without an end, the maps as 'maps'.

  Raises:
    InputError: no such module or class, or no layer of the network gives a map.
  """
  names, branches = network.description.class_names, _branches(network, module)
  if label is not None and not 0 <= label < len(names):
    raise InputError(f'no class {label}: use a label from 0 to {len(names) - 1}')
  files.make_folder(folder)
  seen = attribution.observe(network, image, label, tuple(branches.values()))
  label, size = int(seen.label), image.shape[:2]
  maps = {
    name: attribution.grad_cam(seen.activations[name], seen.gradients[name], size)
    for name in seen.stages
  }
  arrays = {'image': image, 'label': label, 'probabilities': seen.probabilities} | maps
  signed = {}
  if path_points:
    path = attribution.integrated_gradients(network, image, label, path_points)
    arrays['integrated_gradients'] = path.attributions
    total = path.attributions.sum()
    name = f'integrated gradients, {path_points} points:\nsum {total:.2f} of {path.difference:.2f}'
    signed[name] = path.attributions.sum(-1)
  title = _title(names, seen.probabilities, label)
  written = {
    'gradcam': (folder / 'gradcam.png', plots.overlays(image, maps, title, signed)),
    'maps': (folder / 'gradcam.npz', _npz(arrays)),
  }
  if branches:
    rows = {branch: strongest(seen.activations[path]) for branch, path in branches.items()}
    shown = next(iter(branches.values())).rpartition('/')[0]
    name = f'branches_{shown.removeprefix("inception_")}'
    title = f'{shown}: the channels of greatest mean activation'
    written[name] = folder / f'{name}.png', plots.channels(rows, title, image)
  for path, content in written.values():
    files.write(path, content)
  return {name: path for name, (path, _) in written.items()}


def _title(names, probabilities, label) -> str:
  """'predicted: cat (83.3%)', and the class that is explained where it is another."""
  predicted = int(probabilities.argmax())
  classes = {'predicted': predicted} | ({} if label == predicted else {'explained': label})
  return '; '.join(
    f'{what}: {names[i].split(",")[0]} ({probabilities[i]:.1%})' for what, i in classes.items()
  )


def names_of(stems: Sequence[str]) -> list[str]:
  """A name for each photo: its file's without the ending, numbered where several have it."""
  names = []
  for stem in stems:
    tried = (f'{stem}_{i}' for i in itertools.count(1))
    several = stems.count(stem) > 1
    names.append(next(x for x in tried if x not in (*stems, *names)) if several else stem)
  return names


def draw_filters(network: weights.Network, folder: epath.Path) -> dict[str, epath.Path]:
  """Writes `filters_LAYER.png`, the first convolution's, where the network has one.

  Returns:
    The path of the picture, by its name without '.png'.
  """
  channels = network.description.preprocessing.channels
  for path, kernel in flax.traverse_util.flatten_dict(network.variables['params']).items():
    if path[-1] != 'kernel' or 'depthwise' in path:  # whose kernels have one channel
      continue
    if kernel.ndim == 4 and kernel.shape[2] == channels:
      layer = '_'.join(path[:-1])
      filters = about_zero(np.asarray(kernel, np.float32))
      picture = plots.tiles(filters, f'filters of {layer}, each in its own range about zero')
      files.make_folder(folder)
      files.write(folder / f'filters_{layer}.png', picture)
      return {f'filters_{layer}': folder / f'filters_{layer}.png'}
  return {}


def find_class(names: tuple[str, ...], given: str) -> int | None:
  """The label of a class by its name, or one of its names between commas, or by its number.

  Args:
    names: names of the classes, in label order.
    given: name or number; '' for none.

  Raises:
    InputError: no such class, or several.
  """
  if not given:
    return None
  labels = {}
  for label, name in enumerate(names):
    for known in {name, *name.split(',')}:
      labels.setdefault(known.strip().casefold(), []).append(label)
  found = labels.get(given.strip().casefold(), [])
  if len(found) > 1:
    which = ', '.join(f'{label} ({names[label]})' for label in found)
    raise InputError(f'--label={given}: several classes are called that, give a number: {which}')
  if found:
    return found[0]
  if given.isdecimal() and int(given) < len(names):
    return int(given)
  near = hint(given.casefold(), labels) or f': use a name, or a label from 0 to {len(names) - 1}'
  raise InputError(f'--label={given}: no such class{near}')


def _branches(network: weights.Network, module: str) -> dict[str, str]:
  """Paths of what a module concatenates, by branch; none for a network without such modules."""
  params, modules = network.variables['params'], {}
  designed = network.model.design.modules if hasattr(network.model, 'design') else {}
  for path in sorted(params):
    if path in designed and len(bricks.ends(designed[path])) > 1:
      modules[path.removeprefix('inception_')] = path, bricks.ends(designed[path])
    elif path.startswith('inception_'):
      modules[path.removeprefix('inception_')] = path, [x for x in BRANCHES if x in params[path]]
  if not modules and not module:
    return {}
  if not modules:
    raise InputError(f'{network.source}: {network.description.model} has no inception modules')
  module = module or ('4a' if '4a' in modules else sorted(modules)[len(modules) // 2])
  if module not in modules:
    raise InputError(f'no inception module {module!r}: use one of {", ".join(modules)}')
  path, branches = modules[module]
  return {branch: f'{path}/{branch}' for branch in branches}


def strongest(activation: np.ndarray) -> dict[int, np.ndarray]:
  """The `CHANNELS` channels of `[H, W, C]` that are greatest on average, greatest first."""
  order = np.argsort(-activation.mean((0, 1)), kind='stable')[:CHANNELS]
  return {int(channel): activation[..., channel] for channel in order}


def about_zero(kernel: np.ndarray) -> np.ndarray:
  """Filters of a `[H, W, I, O]` kernel as `[O, H, W, I]` uint8, zero in the middle."""
  filters = np.moveaxis(kernel, -1, 0)
  largest = np.abs(filters).max((1, 2, 3), keepdims=True)
  return np.round(127.5 + 127.5 * filters / np.where(largest, largest, 1)).astype(np.uint8)


def _npz(arrays: dict[str, np.ndarray]) -> bytes:
  buffer = io.BytesIO()
  np.savez_compressed(buffer, **arrays)
  return buffer.getvalue()
