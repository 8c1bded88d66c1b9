"""Networks with their weights: read from published files, from ours and from workdirs; written."""

import pathlib
from typing import NamedTuple

import flax.linen as nn
import jax
import numpy as np
from etils import epath
from flax.traverse_util import flatten_dict, unflatten_dict

from googlenet_jax.data import class_lists
from googlenet_jax.errors import InputError
from googlenet_jax.weights import files, graph, published, remote, variants
from googlenet_jax.weights.arrays import differences, traced
from googlenet_jax.weights.description import Description
from googlenet_jax.weights.published.layout import Layout

KEY = 'googlenet_jax'  # name of our metadata in a safetensors file


class Network(NamedTuple):
  """A network with its weights.

  Attributes:
    description: account of what it is.
    model: module that computes it.
    variables: numpy or jax arrays `{'params', 'batch_stats'}`; auxiliary heads that a file does
      not hold are left out.
    source: place that it came from.
  """

  description: Description
  model: nn.Module
  variables: dict
  source: str


def load(
  path: str, *, flag: str = '--weights', model: str = '', preprocessing: str = '', **overrides
) -> Network:
  """A network with the weights of a file, or of a run's best checkpoint.

  Args:
    path: file whose name ends in one of `files.READERS`, workdir (its best checkpoint, averaged
      parameters where it has them), a key of `remote.FILES`, which is fetched, or
      'hf://OWNER/NAME/FILE' of the Hugging Face hub.
    flag: flag that gave the path, for errors.
    model: name of the network, for a published file, which names none, and for a file of
      'module:attribute', which may not start that; '' for the one that such arrays are usually of.
    preprocessing: key of `variants.PREPROCESSINGS` in place of the file's own; '' for its own.
    overrides: fields of the network to override where not None; not the number of classes.

  Raises:
    InputError: no such file or preprocessing, an unusable file, or missing, extra or misshapen
      arrays, by name.
  """
  chosen = variants.find(preprocessing) if preprocessing else None
  try:
    place = epath.Path(remote.local(str(path))).expanduser()
    return _load(place, model, chosen, overrides)._replace(source=str(path))
  except InputError as error:
    raise InputError(f'{flag}={path}: {error}') from error
  except Exception as error:  # libraries raise anything for a broken file
    first = f'{type(error).__name__}: {error}'.splitlines()[0]
    raise InputError(f'{flag}={path}: no usable weights file: {first}') from error


def _load(place, name, preprocessing, overrides):
  num_classes = overrides.pop('num_classes', None)
  if num_classes is not None:
    raise InputError(f'its arrays tell the number of classes: leave out num_classes={num_classes}')
  found = _workdir(place) if place.is_dir() else _file(pathlib.Path(place), name)
  description, arrays, layout, tensors = found
  if name not in ('', description.model):
    raise InputError(f'it is of {description.model!r}, not {name!r}: leave the name out')
  description = description.override(overrides)
  if preprocessing:
    description = description._replace(preprocessing=preprocessing)
  model = description.create()
  wanted, modules = traced(model, description.image_shape)
  if layout:
    arrays = layout.rename(arrays, wanted)
  if hasattr(model, 'aux_heads'):
    heads = model.aux_heads
    if heads and not any(path[:1] == ('params',) and path[1].startswith('aux') for path in arrays):
      model, heads = model.clone(aux_heads=()), ()  # published without them
    if not heads:
      wanted, arrays = (
        {path: x for path, x in each.items() if not path[1].startswith('aux')}
        for each in (wanted, arrays)
      )
    description = description.override({'aux_heads': heads})
  report = differences(wanted, arrays)
  if report:
    raise InputError(f'it does not fit {description.model}: {report}')
  if tensors and tensors.nodes:
    if layout.graph is None:
      raise InputError(f'no ONNX graph of {layout.model} is known: save the arrays as .safetensors')
    graph.check(tensors.nodes, graph.layers(modules, layout.name), layout.graph(tensors))
  for path, x in arrays.items():
    if not np.isfinite(x).all():
      raise InputError(f'{"/".join(path)} holds values that are not finite')
  variables = {'params': {}, 'batch_stats': {}} | unflatten_dict(arrays)
  return Network(description, model, jax.device_put(variables), str(place))


class _Found(NamedTuple):
  """A network's arrays by our paths; of a published file by its names, with what knows them."""

  description: Description
  arrays: dict
  layout: Layout | None = None
  tensors: files.Tensors | None = None


def _file(path: pathlib.Path, name: str) -> _Found:
  """What a file holds; names that are not ours stay as they are."""
  tensors = files.read(path)
  if KEY in tensors.metadata:
    description = Description.from_json(tensors.metadata[KEY], 'it')
    if ':' in description.model and name != description.model:  # a file is data: it runs no code
      raise InputError(
        f'it is of {description.model!r}, code that a file may not start: name it too, as '
        f'--model={description.model} (model= from Python)'
      )
    arrays = {
      ('file', name) if '/' not in name else tuple(name.split('/')): x
      for name, x in tensors.arrays.items()
    }
    return _Found(description, arrays)
  if not tensors.arrays:
    raise InputError('it holds no arrays')
  names = tensors.arrays.keys() | {name for node in tensors.nodes for name in node.inputs}
  if other := next((what for name, what in published.OTHERS.items() if name in names), None):
    known = ', '.join(sorted({x.model for x in published.LAYOUTS}))
    raise InputError(f'it is {other}, which is none of our networks: use weights of {known}')
  found = tensors.arrays.keys()
  layout = next((x for x in published.LAYOUTS if x.recognise(found)), None)
  if layout is None:
    some = ', '.join(map(repr, sorted(tensors.arrays)[:3]))
    raise InputError(f'no known network has arrays called {some}, ...')
  last = tensors.arrays.get(layout.name(('params', layout.classifier, 'bias')), np.zeros(1000))
  preprocessing = variants.of_file(path, layout.preprocessing)
  names = class_lists.of_count(last.size)
  description = Description(name or layout.model, layout.fields(tensors), preprocessing, names)
  return _Found(description, tensors.arrays, layout, tensors)


def _workdir(workdir: epath.Path) -> _Found:
  """A run's network and the arrays of its best checkpoint."""
  from googlenet_jax.checkpoint import Checkpoints  # Orbax: half a second that a file needs not

  about = workdir / 'network.json'
  if not about.exists() or not (workdir / 'checkpoints').exists():
    raise InputError('no workdir of a run: it lacks network.json')
  description = Description.from_json(about.read_text(), str(about))
  checkpoints = Checkpoints(workdir)
  step = checkpoints.best()
  if step is None:
    raise InputError('it holds no finished checkpoint: train first')
  variables = checkpoints.variables(description.create(), description.image_shape, step)
  return _Found(description, flatten_dict(jax.tree.map(np.asarray, variables)))


def save(path: str, network: Network) -> None:
  """Writes a safetensors file that `load` reads back bit for bit."""
  arrays = flatten_dict(jax.tree.map(np.asarray, network.variables), sep='/')
  files.write(pathlib.Path(path).expanduser(), arrays, {KEY: network.description.to_json()})
