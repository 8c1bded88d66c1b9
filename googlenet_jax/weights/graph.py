"""ONNX graphs against our networks: nodes of other attributes than ours are refused, by name.

The import takes a file's arrays; what a node does with them must be what our network does. Of how
nodes are wired, only which arrays a node takes is compared.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn

from googlenet_jax import train_state
from googlenet_jax.errors import InputError
from googlenet_jax.models.layers import ConvBlock

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
}
SAME_VALUES = ('Flatten', 'Identity', 'Reshape')  # of the first input, in their order
# Ops that may stand anywhere; a softmax follows the logits.
FREE = ('Constant', 'ConstantOfShape', 'Dropout', 'Softmax', *SAME_VALUES)
IGNORED = ('momentum', 'broadcast')  # of training; of a bias, once


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


# What each module of ours is in ONNX: the op, the array that tells which module a node is, and
# attributes that are not ONNX's defaults.
OURS: dict[type, tuple[str, str, Callable[[Any], dict]]] = {
  ConvBlock: (
    'Conv',
    'kernel',
    lambda conv: {
      'kernel_shape': conv.window,
      'strides': (conv.strides, conv.strides),
      'pads': conv.pads * 2,
      'group': conv.groups,
    },
  ),
  nn.BatchNorm: ('BatchNormalization', 'scale', lambda norm: {'epsilon': norm.epsilon}),
  nn.Dense: ('Gemm', 'kernel', lambda linear: {'transB': 1}),
}


def of_arrays(
  model: nn.Module, image_shape: tuple[int, int, int], name: Callable[[tuple[str, ...]], str]
) -> dict[tuple[str, str], tuple[dict, str]]:
  """Attributes of the nodes that have parameters, and the name of their bias ('' where batch norm
  takes its place), by their op and their array's name.

  Args:
    name: function `(path of an array of ours) -> name in the file`; KeyError where it has none.
  """
  modules = {}

  def record(method, args, kwargs, context):
    modules[context.module.path] = context.module
    return method(*args, **kwargs)

  with nn.intercept_methods(record):
    train_state.abstract_variables(model, image_shape)
  result = {}
  for path, module in modules.items():
    if type(module) not in OURS:
      continue
    op, leaf, attributes = OURS[type(module)]
    try:
      array, bias = (name(('params', *path, part)) for part in (leaf, 'bias'))
    except KeyError:
      continue
    has_bias = not getattr(module, 'batch_norm', False)
    result[op, array] = attributes(module), bias if has_bias else ''
  return result


def check(
  found: Iterable[Node],
  arrays: Mapping[tuple[str, str], tuple[dict, str]],
  others: Mapping[str, list[dict]],
) -> None:
  """Raises InputError, naming node and attribute, for a graph that computes something else.

  Args:
    found: nodes of the graph.
    arrays: nodes with parameters, see `of_arrays`; each is there once.
    others: attributes of the nodes without parameters, by op and in their order. What is not
      told is ONNX's default; a list holds alternatives.
  """
  arrays, others = dict(arrays), {op: list(each) for op, each in others.items()}
  origin = {}  # names of arrays by those of the same values
  for node in found:
    if node.op in SAME_VALUES:
      origin[node.outputs[0]] = origin.get(node.inputs[0], node.inputs[0])
    if node.op in FREE:
      continue
    second, third = (origin.get(x, x) for x in (*node.inputs[1:3], '', '')[:2])
    array = node.op, second
    if array in arrays:
      expected, bias = arrays.pop(array)
      if bias and third != bias:
        raise InputError(f'node {node.name!r} ({node.op}) takes {third!r}, not {bias!r}')
    elif others.get(node.op):
      expected = others[node.op].pop(0)
    else:
      raise InputError(
        f'node {node.name!r} ({node.op}) has no counterpart in our network: '
        'the import does not honour it'
      )
    expected = DEFAULTS[node.op] | expected
    for attribute, value in node.attributes.items():
      wanted = expected.get(attribute, 'none')
      if attribute in IGNORED or value is None:  # None: the shape of the array tells
        continue
      if not any(_same(value, x) for x in (wanted if isinstance(wanted, list) else [wanted])):
        raise InputError(
          f'node {node.name!r} ({node.op}) has {attribute}={_shown(value)}, not '
          f'{_shown(wanted)}: the import does not honour it'
        )
  left = [op for op, _ in arrays] + [op for op, each in others.items() for _ in each]
  if left:
    raise InputError(f'the graph has {left.count(left[0])} {left[0]} too few')


def _same(one, other) -> bool:
  if isinstance(one, float) and isinstance(other, float):  # float32 in the file
    return math.isclose(one, other, rel_tol=1e-6)
  return one == other


def _shown(value) -> str:
  return f'{value:.6g}' if isinstance(value, float) else str(value)
