"""Networks with their weights: from published files, from ours, from a run's workdir.

network = weights.load('bvlc_googlenet.onnx')
logits = network.model.apply(network.variables, images, train=False).logits
"""

import json
import pathlib
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from googlenet_jax import models, train_state
from googlenet_jax.checkpoint import Checkpoints
from googlenet_jax.data import folder
from googlenet_jax.errors import InputError
from googlenet_jax.models.layers import CLASSIFIERS
from googlenet_jax.weights import files, graph, lineage, published
from googlenet_jax.weights.published import Preprocessing

__all__ = ['Description', 'Network', 'Preprocessing', 'assign', 'display_names', 'load', 'save']

FORMAT = 2
RENAMED = {'geometry': 'pool_rounding', 'shorter': 'resize_shorter'}  # since format 1
KEY = 'googlenet_jax'  # of our metadata in a safetensors file
IMAGENET = pathlib.Path(__file__).with_name('imagenet_classes.txt')


class Description(NamedTuple):
  """What a network is, apart from its arrays; beside a run's checkpoints and in our files.

  Attributes:
    model: name of the network.
    fields: of it, where they are not its own defaults.
    preprocessing: of its images.
    class_names: in label order.
  """

  model: str
  fields: dict[str, Any]
  preprocessing: Preprocessing
  class_names: tuple[str, ...]

  def to_json(self) -> str:
    """One line; InputError for a field that has no text, such as a function."""
    return json.dumps(
      self._asdict() | {'preprocessing': self.preprocessing._asdict(), 'format': FORMAT},
      default=_text,
    )

  @classmethod
  def from_json(cls, text: str, where: str) -> 'Description':
    """Reads `to_json`'s text; InputError, naming `where`, if it is not."""
    try:
      read = json.loads(text)
      if read['format'] > FORMAT:
        raise InputError(f'{where} was written by a newer version of googlenet_jax: use that')
      parts, preprocessing = (
        {
          RENAMED.get(name, name): tuple(x) if isinstance(x, list) else x
          for name, x in read[what].items()
        }
        for what in ('fields', 'preprocessing')
      )
      preprocessing = Preprocessing(**preprocessing)
      preprocessing.check()
      return cls(str(read['model']), parts, preprocessing, tuple(map(str, read['class_names'])))
    except InputError:
      raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
      raise InputError(f'{where} does not describe a network: {error!r}') from error

  def override(self, fields: dict) -> 'Description':
    """The same with fields of the network; those that are None stay."""
    given = {name: value for name, value in fields.items() if value is not None}
    return self._replace(fields={**self.fields, **given})

  def create(self, **others) -> nn.Module:
    """The network; `others` are fields that are no part of what it is."""
    return models.create(self.model, num_classes=len(self.class_names), **self.fields, **others)

  @property
  def image_shape(self) -> tuple[int, int, int]:
    """(H, W, C) of the network's images."""
    return self.preprocessing.size, self.preprocessing.size, self.preprocessing.channels


def _text(value):
  """What JSON has no form for: numpy's numbers as numbers, dtypes by name."""
  if isinstance(value, np.generic):
    return value.item()
  try:
    return jnp.dtype(value).name
  except TypeError as error:
    raise InputError(f'a network of {value!r} cannot be stored: give a field by name') from error


class Network(NamedTuple):
  """A network with its weights.

  Attributes:
    description: what it is.
    model: the module.
    variables: `{'params', 'batch_stats'}` of numpy or jax arrays; auxiliary heads that a file
      does not hold are left out.
    source: where it came from.
  """

  description: Description
  model: nn.Module
  variables: dict
  source: str


def load(path: str, *, flag: str = '--weights', **overrides) -> Network:
  """A network with the weights of a file, or of a run's best checkpoint.

  Args:
    path: a file whose name ends in one of `files.READERS`, or a workdir: its best checkpoint,
      averaged parameters where it has them.
    flag: what the path was given by, for errors.
    overrides: fields of the network that are given and not None, but the number of classes.

  Raises:
    InputError: not there, unusable, or missing, extra or misshapen arrays, by name.
  """
  place = epath.Path(path).expanduser()
  try:
    return _load(place, overrides)._replace(source=str(path))
  except InputError as error:
    raise InputError(f'{flag}={path}: {error}') from error
  except Exception as error:  # of a broken file, and libraries raise anything then
    first = f'{type(error).__name__}: {error}'.splitlines()[0]
    raise InputError(f'{flag}={path}: no usable weights file: {first}') from error


def _load(place, overrides):
  num_classes = overrides.pop('num_classes', None)
  if num_classes is not None:
    raise InputError(f'its arrays tell the number of classes: leave out num_classes={num_classes}')
  found = _workdir(place) if place.is_dir() else _file(pathlib.Path(place), overrides)
  description, arrays, layout, tensors = found
  description = description.override(overrides)
  model = description.create()
  heads = getattr(model, 'aux_heads', ())
  if heads and not any(path[:1] == ('params',) and path[1].startswith('aux') for path in arrays):
    model, heads = model.clone(aux_heads=()), ()  # published without them
  if not heads:
    arrays = {path: x for path, x in arrays.items() if not path[1].startswith('aux')}
  report = differences(expected(model, description.image_shape), arrays)
  if report:
    raise InputError(f'it does not fit {description.model}: {report}')
  if tensors and tensors.nodes:
    if layout.graph is None:
      raise InputError(f'no ONNX graph of {layout.model} is known: save the arrays as .safetensors')
    with_parameters = graph.of_arrays(model, description.image_shape, layout.name)
    graph.check(tensors.nodes, with_parameters, layout.graph(tensors))
  for path, x in arrays.items():
    if not np.isfinite(x).all():
      raise InputError(f'{"/".join(path)} holds values that are not finite')
  if hasattr(model, 'aux_heads'):
    description = description.override({'aux_heads': heads})
  return Network(description, model, _nested(arrays), str(place))


class _Found(NamedTuple):
  """A network's arrays by our paths, and the published file that they are of."""

  description: Description
  arrays: dict
  layout: published.Layout | None = None
  tensors: files.Tensors | None = None


def _file(path: pathlib.Path, overrides: dict) -> _Found:
  """What a file holds; names that are not ours stay as they are."""
  tensors = files.read(path)
  if KEY in tensors.metadata:
    description = Description.from_json(tensors.metadata[KEY], 'it')
    arrays = {
      ('file', name) if '/' not in name else tuple(name.split('/')): x
      for name, x in tensors.arrays.items()
    }
    return _Found(description, arrays)
  layouts = published.LAYOUTS + lineage.LAYOUTS
  if not tensors.arrays:
    raise InputError('it holds no arrays')
  layout = next((x for x in layouts if x.recognise(tensors.arrays.keys())), None)
  if layout is None:
    some = ', '.join(map(repr, sorted(tensors.arrays)[:3]))
    raise InputError(f'no known network has arrays called {some}, ...')
  last = tensors.arrays.get(layout.name(('params', layout.classifier, 'bias')), np.zeros(1000))
  description = Description(
    layout.model, layout.fields(tensors), layout.preprocessing, _names(last.size)
  )
  wanted = expected(description.override(overrides).create(), description.image_shape)
  arrays = _renamed(layout, layout.prepare(tensors.arrays), wanted)
  return _Found(description, arrays, layout, tensors)


def save(path: str, network: Network) -> None:
  """Writes a safetensors file that `load` reads back bit for bit."""
  flat = {
    '/'.join(str(part.key) for part in where): np.asarray(x)
    for where, x in jax.tree_util.tree_flatten_with_path(network.variables)[0]
  }
  files.write(pathlib.Path(path).expanduser(), flat, {KEY: network.description.to_json()})


def expected(model: nn.Module, image_shape: tuple[int, int, int]) -> dict:
  """Shapes and types of a network's arrays, by path."""
  tree = train_state.abstract_variables(model, image_shape)
  return {
    tuple(str(part.key) for part in path): x
    for path, x in jax.tree_util.tree_flatten_with_path(tree)[0]
  }


def differences(wanted: dict, arrays: dict) -> str:
  """What is missing, extra and of another shape, by name; '' for nothing."""
  shapes = [
    f'{"/".join(path)} is {arrays[path].dtype}{list(arrays[path].shape)}, not '
    f'{wanted[path].dtype}{list(wanted[path].shape)}'
    for path in sorted(wanted.keys() & arrays.keys())
    if (arrays[path].shape, arrays[path].dtype) != (wanted[path].shape, wanted[path].dtype)
  ]
  parts = []
  for what, names in (
    ('missing', ['/'.join(path) for path in sorted(wanted.keys() - arrays.keys())]),
    ('extra', ['/'.join(path) for path in sorted(arrays.keys() - wanted.keys())]),
    ('misshapen', shapes),
  ):
    if names:
      parts.append(f'{len(names)} {what} ({", ".join(names[:4])}{", ..." if names[4:] else ""})')
  return '; '.join(parts)


def assign(
  variables: dict, network: Network, class_names: tuple[str, ...], allow_head: bool
) -> tuple[dict, list[str]]:
  """Variables of a run, with a network's arrays put in.

  Args:
    variables: `{'params', 'batch_stats'}` as initialised; not changed.
    network: whose arrays are taken; auxiliary heads that it lacks stay initialised.
    class_names: of the run.
    allow_head: they may be others than the network's; the layers to the classes
      stay initialised then.

  Returns:
    The variables, and the layers that stay initialised.

  Raises:
    InputError: of other classes and not allowed, or arrays are missing, extra or misshapen.
  """
  where = f'config.init.weights={network.source}'
  other = class_names != network.description.class_names
  if other and not allow_head:
    raise InputError(
      f'{where} knows {len(network.description.class_names)} classes, and not those of the data: '
      '--config.init.allow_head=True makes a new head'
    )
  leaves, tree = jax.tree_util.tree_flatten_with_path(variables)
  own = {tuple(str(part.key) for part in path): x for path, x in leaves}
  given = {
    tuple(str(part.key) for part in path): x
    for path, x in jax.tree_util.tree_flatten_with_path(network.variables)[0]
  }
  new = {
    path
    for path in own
    if (path[1].startswith('aux') and path not in given) or (other and set(path) & set(CLASSIFIERS))
  }
  unused = {path for path in given if path[1].startswith('aux') and path not in own}
  given = {path: x for path, x in given.items() if path not in new | unused}
  report = differences({path: x for path, x in own.items() if path not in new}, given)
  if report:
    raise InputError(f'{where} does not fit: {report}')
  values = [own[path] if path in new else given[path] for path in own]
  return jax.tree_util.tree_unflatten(tree, values), sorted({'/'.join(p[1:-1]) for p in new})


def _workdir(workdir: epath.Path) -> _Found:
  """A run's network and the arrays of its best checkpoint."""
  about = workdir / 'network.json'
  if not about.exists() or not (workdir / 'checkpoints').exists():
    raise InputError('no workdir of a run: it lacks network.json')
  description = Description.from_json(about.read_text(), str(about))
  checkpoints = Checkpoints(workdir, read_only=True)
  step = checkpoints.best()
  if step is None:
    raise InputError('it holds no finished checkpoint: train first')
  variables = checkpoints.variables(description.create(), description.image_shape, step)
  leaves = jax.tree_util.tree_flatten_with_path(variables)[0]
  arrays = {tuple(str(part.key) for part in p): np.asarray(x) for p, x in leaves}
  return _Found(description, arrays)


def _renamed(layout: published.Layout, arrays: dict, wanted: dict) -> dict:
  """A published file's arrays by our paths; names that are not ours stay as they are."""
  result, used = {}, set()
  for path in wanted:
    try:
      name = layout.name(path)
    except KeyError:  # a layer that this origin has no name for
      continue
    if name in arrays:
      used.add(name)
      array = layout.convert(path, arrays[name])
      if path[-1] == 'kernel':
        axes = {4: (2, 3, 1, 0), 2: (1, 0)}.get(array.ndim, range(array.ndim))
        array = np.ascontiguousarray(array.transpose(axes))  # OIHW -> HWIO, [out, in] -> [in, out]
      result[path] = array
  left = [name for name in arrays if name not in used and not name.endswith(layout.ignored)]
  return result | {('file', name): arrays[name] for name in left}


def _nested(arrays: dict) -> dict:
  tree = {'params': {}, 'batch_stats': {}}
  for path, array in arrays.items():
    branch = tree
    for part in path[:-1]:
      branch = branch.setdefault(part, {})
    branch[path[-1]] = jnp.asarray(array)
  return tree


def imagenet() -> tuple[tuple[str, ...], tuple[str, ...]]:
  """WordNet ids and names of ImageNet's classes, in label order."""
  labels, names = folder.read_class_list(str(IMAGENET))
  return tuple(labels), names


def display_names(class_names: tuple[str, ...]) -> tuple[str, ...]:
  """Class names for a person: ImageNet's where they are its WordNet ids."""
  ids, names = imagenet()
  return names if tuple(class_names) == ids else tuple(class_names)


def _names(classes: int) -> tuple[str, ...]:
  """ImageNet's names for 1000 classes, numbers for others."""
  return imagenet()[1] if classes == 1000 else tuple(map(str, range(classes)))
