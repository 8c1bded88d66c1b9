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
from googlenet_jax.weights import files, published
from googlenet_jax.weights.published import Preprocessing

__all__ = ['Description', 'Network', 'Preprocessing', 'assign', 'load', 'save']

FORMAT = 1
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
    """One line."""
    return json.dumps(
      self._asdict() | {'preprocessing': self.preprocessing._asdict(), 'format': FORMAT}
    )

  @classmethod
  def from_json(cls, text: str, where: str) -> 'Description':
    """Reads `to_json`'s text; InputError, naming `where`, if it is not."""
    try:
      read = json.loads(text)
      if read['format'] > FORMAT:
        raise InputError(f'{where} was written by a newer version of googlenet_jax')
      parts = {name: tuple(x) if isinstance(x, list) else x for name, x in read['fields'].items()}
      preprocessing = {
        name: tuple(x) if isinstance(x, list) else x for name, x in read['preprocessing'].items()
      }
      names = tuple(map(str, read['class_names']))
      return cls(str(read['model']), parts, Preprocessing(**preprocessing), names)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
      raise InputError(f'{where} does not describe a network: {error!r}') from error

  def create(self, **overrides) -> nn.Module:
    """The network; fields that are given and not None override."""
    given = {name: value for name, value in overrides.items() if value is not None}
    return models.create(self.model, classes=len(self.class_names), **self.fields | given)

  @property
  def image_shape(self) -> tuple[int, int, int]:
    """(H, W, C) of the network's images."""
    return self.preprocessing.size, self.preprocessing.size, self.preprocessing.channels


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


def load(path: str, **overrides) -> Network:
  """A network with the weights of a file, or of a run's best checkpoint.

  Args:
    path: `.onnx`, `.safetensors` or `.pth` file, or a workdir: its best checkpoint, averaged
      parameters where it has them.
    overrides: fields of the network that are given and not None.

  Raises:
    InputError: not there, unusable, or missing, extra or misshapen arrays, by name.
  """
  place = epath.Path(path)
  if place.is_dir():
    return _workdir(place, overrides)
  tensors = files.read(pathlib.Path(path))
  where = f'--weights={path}'
  if KEY in tensors.metadata:
    description = Description.from_json(tensors.metadata[KEY], where)
    model = description.create(**overrides)
    arrays = {tuple(name.split('/')): array for name, array in tensors.arrays.items()}
  else:
    layout = next((x for x in published.LAYOUTS if x.marker in tensors.arrays), None)
    if layout is None:
      some = ', '.join(map(repr, sorted(tensors.arrays)[:3]))
      raise InputError(f'{where}: no known network has arrays called {some}, ...')
    last = tensors.arrays[layout.name(('params', 'linear', 'bias'))]
    description = Description(
      layout.model, layout.fields(tensors), layout.preprocessing, _names(last.size)
    )
    model = description.create(**overrides)
    arrays = _renamed(layout, tensors.arrays, expected(model, description.image_shape))
  heads = {path for path in arrays if path[1].startswith('aux')}
  if not {path for path in heads if path[0] == 'params'}:  # it has none, or none are wanted
    model, arrays = model.clone(aux_heads=()), {p: x for p, x in arrays.items() if p not in heads}
  wanted = expected(model, description.image_shape)
  report = differences(wanted, arrays)
  if report:
    raise InputError(f'{where} does not fit {description.model}: {report}')
  return Network(description, model, _nested(arrays), path)


def save(path: str, network: Network) -> None:
  """Writes a safetensors file that `load` reads back bit for bit."""
  flat = {
    '/'.join(str(part.key) for part in where): np.asarray(x)
    for where, x in jax.tree_util.tree_flatten_with_path(network.variables)[0]
  }
  fields = dict(network.description.fields)
  if hasattr(network.model, 'aux_heads'):
    fields['aux_heads'] = network.model.aux_heads
  description = network.description._replace(fields=fields)
  files.write(pathlib.Path(path), flat, {KEY: description.to_json()})


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
    f'{"/".join(path)} is {arrays[path].shape}, not {wanted[path].shape}'
    for path in sorted(wanted.keys() & arrays.keys())
    if arrays[path].shape != wanted[path].shape
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


def assign(variables: dict, network: Network, allow_head: bool) -> tuple[dict, list[str]]:
  """Variables of a run, with a network's arrays put in.

  Args:
    variables: `{'params', 'batch_stats'}` as initialised; not changed.
    network: whose arrays are taken; auxiliary heads that it lacks stay initialised.
    allow_head: leave layers to the classes (`linear`) initialised where they do not fit.

  Returns:
    The variables, and the paths of the arrays that stay initialised.

  Raises:
    InputError: other arrays are missing, extra or misshapen.
  """
  flat = jax.tree_util.tree_flatten_with_path(variables)
  own = {tuple(str(part.key) for part in path): x for path, x in flat[0]}
  given = {
    tuple(str(part.key) for part in path): x
    for path, x in jax.tree_util.tree_flatten_with_path(network.variables)[0]
  }
  new = set()
  for path, x in own.items():
    absent_head = path[1].startswith('aux') and path not in given
    other_classes = path[-2] == 'linear' and path in given and given[path].shape != x.shape
    if absent_head or (allow_head and other_classes):
      new.add(path)
  unused = {path for path in given if path[1].startswith('aux') and path not in own}
  compared = {path: x for path, x in given.items() if path not in new | unused}
  report = differences({path: x for path, x in own.items() if path not in new}, compared)
  if report:
    raise InputError(
      f'config.init.weights={network.source} does not fit: {report} (--weights_allow=head makes '
      'a new head for other classes)'
    )
  leaves = [own[path] if path in new else compared[path] for path in own]
  names = sorted({'/'.join(path[1:-1]) for path in new})
  return jax.tree_util.tree_unflatten(flat[1], leaves), names


def _workdir(workdir: epath.Path, overrides: dict) -> Network:
  about = workdir / 'network.json'
  if not about.exists() or not (workdir / 'checkpoints').exists():
    raise InputError(f'--weights={workdir} is no workdir of a run: it lacks network.json')
  description = Description.from_json(about.read_text(), str(about))
  model = description.create(**overrides)
  checkpoints = Checkpoints(workdir, read_only=True)
  variables = checkpoints.variables(model, description.image_shape, checkpoints.best())
  checkpoints.close()
  return Network(description, model, jax.tree.map(np.asarray, variables), str(workdir))


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
      array = layout.convert(path, np.asarray(arrays[name], np.float32))
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


def _names(classes: int) -> tuple[str, ...]:
  """ImageNet's names for 1000 classes, numbers for others."""
  if classes != 1000:
    return tuple(map(str, range(classes)))
  return folder.read_class_list(str(IMAGENET))[1]
