"""ONNX graphs against our networks: another node, attribute or wire than ours is refused, by name.

The import takes a file's arrays; what the nodes do with them must be what our network does.
"""

import contextlib
import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import flax.linen as nn

from googlenet_jax.errors import InputError
from googlenet_jax.models.batch_norm import BatchNorm
from googlenet_jax.models.layers import ConvBlock
from googlenet_jax.weights.arrays import Path

WINDOW = {
  'auto_pad': 'NOTSET',
  'dilations': (1, 1),
  'kernel_shape': None,
  'pads': (0, 0, 0, 0),
  'strides': (1, 1),
}
# ONNX's defaults of the attributes that matter, by op. An op that is not here is not known.
DEFAULTS: dict[str, dict[str, Any]] = {
  'Conv': WINDOW | {'group': 1},
  'Gemm': {'alpha': 1.0, 'beta': 1.0, 'transA': 0, 'transB': 0},
  'BatchNormalization': {'epsilon': 1e-5, 'is_test': 1, 'spatial': 1, 'training_mode': 0},
  'LRN': {'alpha': 1e-4, 'beta': 0.75, 'bias': 1.0, 'size': None},
  'MaxPool': WINDOW | {'ceil_mode': 0, 'storage_order': 0},
  'AveragePool': WINDOW | {'ceil_mode': 0, 'count_include_pad': 0},
  'Concat': {'axis': 1},
  'Relu': {},
  'Sum': {},
  'Mul': {},
  'Add': {},
}
RESHAPES = ('Flatten', 'Reshape')  # nodes that flatten a map before the linear layers
# Ops whose first output has the values of the first input, in their order.
SAME_VALUES = ('Dropout', 'Identity', *RESHAPES)
# Ops that are not of our network; the softmax of the logits is, but our networks end before it.
FREE = ('Constant', 'ConstantOfShape', 'Softmax', *SAME_VALUES)
IGNORED = ('momentum', 'broadcast')  # one is for training, one was for a bias once


class Node(NamedTuple):
  """A node of a graph.

  Attributes:
    name: name of the node, or of its output where it has none.
    op: type of the node; with its domain where that is not ONNX's.
    attributes: values by name; lists are tuples, and ONNX's defaults filled in.
    inputs, outputs: names of what it takes and makes.
  """

  name: str
  op: str
  attributes: Mapping[str, Any]
  inputs: tuple[str, ...]
  outputs: tuple[str, ...]


def nodes(graph) -> tuple[Node, ...]:
  """The nodes of an `onnx.GraphProto`, in their order."""
  from onnx.helper import get_attribute_value

  def value(attribute):
    x = get_attribute_value(attribute)
    if isinstance(x, bytes):
      return x.decode(errors='replace')
    return tuple(x) if isinstance(x, list) else x

  return tuple(
    Node(
      node.name or ', '.join(node.output),
      node.op_type if node.domain in ('', 'ai.onnx') else f'{node.domain}.{node.op_type}',
      DEFAULTS.get(node.op_type, {}) | {a.name: value(a) for a in node.attribute},
      tuple(node.input),
      tuple(node.output),
    )
    for node in graph.node
  )


class Layer(NamedTuple):
  """A layer of ours with parameters, as a node of a graph.

  Attributes:
    op: type of the node.
    arrays: names of the arrays that it takes, in their order.
    attributes: those that are not ONNX's defaults.
  """

  op: str
  arrays: tuple[str, ...]
  attributes: Mapping[str, Any]


# What each module of ours is in ONNX: the op, the parameters that it takes in their order, and
# attributes that are not ONNX's defaults.
OURS: dict[type, tuple[str, tuple[str, ...], Callable[[Any], dict]]] = {
  ConvBlock: (
    'Conv',
    ('kernel', 'bias'),
    lambda conv: {
      'kernel_shape': conv.window,
      'strides': (conv.strides, conv.strides),
      'pads': conv.pads * 2,
      'group': conv.groups,
    },
  ),
  BatchNorm: (
    'BatchNormalization',
    ('scale', 'bias', 'mean', 'var'),
    lambda norm: {'epsilon': norm.epsilon},
  ),
  nn.Dense: ('Gemm', ('kernel', 'bias'), lambda linear: {'transB': 1}),
}


def layers(modules: Mapping[Path, nn.Module], name: Callable[[Path], str]) -> dict[str, Layer]:
  """The layers of a network that have parameters, by path, 'inception_3a/conv_1x1'.

  Args:
    modules: modules by path (`arrays.traced`).
    name: function `(path of an array of ours) -> name in the file`; KeyError where it has none.
  """
  result = {}
  for path, module in modules.items():
    if type(module) not in OURS:
      continue
    op, leaves, attributes = OURS[type(module)]
    if getattr(module, 'batch_norm', False):  # its offset takes the place of the bias
      leaves = leaves[:1]
    with contextlib.suppress(KeyError):
      arrays = tuple(name(('params', *path, leaf)) for leaf in leaves)
      result['/'.join(path)] = Layer(op, arrays, attributes(module))
  return result


INPUT = 0  # the images, in a `Wiring`


class Step(NamedTuple):
  """A node that our network would have; either `op` or `layer` is given.

  Attributes:
    inputs: values that it takes.
    op: type of the node.
    layer: path of a layer with parameters.
    attributes: those that are not ONNX's defaults.
    arrays: names of the file's arrays that an `op` takes after the values.
  """

  inputs: tuple[int, ...]
  op: str = ''
  layer: str = ''
  attributes: Mapping[str, Any] = MappingProxyType({})
  arrays: tuple[str, ...] = ()


class Wiring:
  """The nodes that our network would have, and what each of them takes.

  A value is a number: `INPUT`, or what the methods return.

      wiring = Wiring()
      x = wiring.op('Relu', wiring.layer('conv1', INPUT))
  """

  def __init__(self):
    self.steps: list[Step] = []

  def layer(self, path: str, x: int) -> int:
    """A layer with parameters, by its path."""
    return self._add(Step((x,), layer=path))

  def activated(self, path: str, x: int) -> int:
    """A layer with parameters, and a ReLU."""
    return self.op('Relu', self.layer(path, x))

  def op(self, op: str, *inputs: int, arrays: tuple[str, ...] = (), **attributes) -> int:
    """A node that is no layer of ours; attributes are ONNX's defaults or given, a list
    alternatives.
    """
    return self._add(Step(inputs, op=op, attributes=attributes, arrays=arrays))

  def _add(self, step):
    self.steps.append(step)
    return len(self.steps)


def check(found: Iterable[Node], layers: Mapping[str, Layer], wiring: Wiring) -> None:
  """Raises InputError, naming the node, for a graph that computes something else.

  Args:
    found: nodes of the graph; each comes after those that it takes from.
    layers: see `layers`.
    wiring: nodes of our network; each is there, and takes what ours does.
  """
  wanted = {}  # value and attributes by op, arrays and inputs
  of_array = {}
  for value, step in enumerate(wiring.steps, 1):
    layer = layers.get(step.layer) or Layer(step.op, step.arrays, step.attributes)
    op, arrays, attributes = layer
    wanted[op, arrays, _order(op, step.inputs)] = value, attributes
    of_array |= {(op, first): layer for first in arrays[:1]}
  ours: dict[str, int] = {}  # values of the wiring by their names in the graph
  same: dict[str, str] = {}  # first name of what has the same values
  reshaped: set[str] = set()
  lifted: set[str] = set()  # arrays [C, 1, 1]
  for node in found:
    inputs = tuple(same.get(x, x) for x in node.inputs)
    if node.op in SAME_VALUES or _is_identity(node):
      same[node.outputs[0]] = inputs[0]
      if node.op in RESHAPES or reshaped.intersection(node.inputs):
        reshaped.add(node.outputs[0])
    if _lifts(node) and inputs[0] not in ours and not lifted.intersection(node.inputs):
      same[node.outputs[0]] = inputs[0]
      lifted.add(node.outputs[0])
      continue
    if node.op in FREE or _is_identity(node):
      continue
    if node.op != 'Gemm' and reshaped.intersection(node.inputs):
      raise InputError(f'node {node.name!r} ({node.op}) takes a map of another shape than ours')
    ours = ours or dict.fromkeys(inputs[:1], INPUT)
    if node.op in ('Mul', 'Add') and not lifted.intersection(node.inputs[1:]):
      raise InputError(f'node {node.name!r} ({node.op}) does not take an array a channel')
    layer = of_array.get((node.op, *inputs[1:2]))
    data, arrays = (inputs[:1], inputs[1 : 1 + len(layer.arrays)]) if layer else (inputs, ())
    key = node.op, arrays, _order(node.op, tuple(ours.get(x, x) for x in data))
    if key not in wanted:
      raise InputError(_difference(node, arrays, data, wanted, ours))
    value, attributes = wanted[key]
    _check_attributes(node, attributes)
    ours[node.outputs[0]] = value
  left = [op for (op, *_), (value, _) in wanted.items() if value not in ours.values()]
  if left:
    raise InputError(f'the graph has {left.count(left[0])} {left[0]} too few')


def _order(op: str, inputs: tuple) -> tuple:
  """Inputs of a node, so that those of a sum are the same in any order."""
  return tuple(sorted(inputs, key=str)) if op == 'Sum' else inputs


def _lifts(node: Node) -> bool:
  """Whether a node makes an array [C] one that is added to maps [B, C, H, W]."""
  return node.op == 'Unsqueeze' and node.attributes.get('axes') == (1, 2)


def _is_identity(node: Node) -> bool:
  """Whether a node is a pool of one pixel, as torch's adaptive pool of a map of that size is."""
  one = {'kernel_shape': (1, 1), 'strides': (1, 1), 'pads': (0, 0, 0, 0)}
  return node.op == 'AveragePool' and one.items() <= dict(node.attributes).items()


def _difference(node, arrays, data, wanted, ours) -> str:
  """What a node takes that it should not, for a person."""
  about = f'node {node.name!r} ({node.op})'
  left = (key for key, (value, _) in wanted.items() if value not in ours.values())
  alike = (key for key in left if key[0] == node.op and key[1][:1] == arrays[:1])
  _, their_arrays, inputs = next(alike, ('', (), ()))
  if not inputs:
    return f'{about} has no counterpart in our network: the import does not honour it'
  for one, other in itertools.zip_longest(arrays, their_arrays, fillvalue=''):
    if one != other:
      return f'{about} takes {one!r}, not {other!r}'
  names = {value: f'the output of {op}' for (op, *_), (value, _) in wanted.items()}
  names |= {value: repr(name) for name, value in ours.items()}
  return f'{about} takes {", ".join(map(repr, data))}, not {", ".join(names[x] for x in inputs)}'


def _check_attributes(node: Node, expected: Mapping[str, Any]) -> None:
  """Raises InputError where a node's attributes are not those of our network."""
  expected = {**DEFAULTS[node.op], **expected}
  for attribute, value in node.attributes.items():
    wanted = expected.get(attribute, 'none')
    if attribute in IGNORED or value is None:  # None: the shape of the array tells
      continue
    if not any(_same(value, x) for x in (wanted if isinstance(wanted, list) else [wanted])):
      raise InputError(
        f'node {node.name!r} ({node.op}) has {attribute}={_shown(value)}, not '
        f'{_shown(wanted)}: the import does not honour it'
      )


def _same(one, other) -> bool:
  if isinstance(one, float) and isinstance(other, float):  # float32 in the file
    return math.isclose(one, other, rel_tol=1e-6)
  return one == other


def _shown(value) -> str:
  return f'{value:.6g}' if isinstance(value, float) else str(value)
