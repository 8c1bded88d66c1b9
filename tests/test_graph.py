"""Graphs of the ONNX zoo against our networks: what is wired otherwise is refused."""

import functools
import importlib.resources

import onnx
import pytest

from googlenet_jax import models, weights
from googlenet_jax.errors import InputError
from googlenet_jax.weights import files, graph, published
from googlenet_jax.weights.arrays import traced

LIGHT = importlib.resources.files(onnx) / 'backend/test/data/light'
# Networks by the names of the zoo's graphs.
ZOO = {
  'inception_v1': 'googlenet_bvlc',
  'bvlc_alexnet': 'alexnet_bvlc',
  'zfnet512': 'zfnet_512',
  'vgg19': 'vgg19',
  'resnet50': 'resnet50',
  'inception_v2': 'inception_v2',
}
# Of several layouts of one network the last, the zoo's.
LAYOUTS = {x.model: x for x in published.LAYOUTS if x.graph}


def light(name):
  """A graph of the onnx package, its weights left to be made."""
  return onnx.load(str(LIGHT / f'light_{name}.onnx')).graph


@functools.cache
def layers(name):
  model = models.create(ZOO[name], aux_heads=())
  return graph.layers(traced(model, (224, 224, 3))[1], LAYOUTS[ZOO[name]].name)


def check(name, read):
  """Checks a graph without its weights."""
  nodes = graph.nodes(read)
  wiring = LAYOUTS[ZOO[name]].graph(files.Tensors({}, nodes=nodes))
  graph.check(nodes, layers(name), wiring)


def node_of(read, op, place=0):
  return [node for node in read.node if node.op_type == op][place]


@pytest.mark.parametrize('name', ZOO)
def test_graphs_of_the_zoo_are_ours(name):
  check(name, light(name))


@pytest.mark.parametrize(
  ('name', 'op', 'place', 'attributes', 'says'),
  [
    ('inception_v1', 'LRN', 0, {'alpha': 0.01}, 'alpha=0.01, not 0.0001'),
    ('inception_v1', 'LRN', 1, {'bias': 2.0}, 'bias=2, not 1'),
    ('inception_v1', 'Conv', 0, {'strides': [1, 1]}, 'strides=(1, 1), not (2, 2)'),
    ('inception_v1', 'Conv', 9, {'dilations': [2, 2]}, 'dilations=(2, 2), not (1, 1)'),
    ('inception_v1', 'Conv', 2, {'auto_pad': 'SAME_UPPER'}, 'auto_pad=SAME_UPPER, not NOTSET'),
    ('inception_v1', 'MaxPool', 0, {'kernel_shape': [2, 2]}, 'kernel_shape=(2, 2), not (3, 3)'),
    ('inception_v1', 'MaxPool', 0, {'pads': [1, 1, 1, 1]}, 'pads=(1, 1, 1, 1), not (0, 0, 0, 0)'),
    ('inception_v1', 'MaxPool', 4, {'ceil_mode': 1}, 'ceil_mode=1, not 0'),
    ('inception_v1', 'AveragePool', 0, {'count_include_pad': 1}, 'count_include_pad=1, not 0'),
    ('inception_v1', 'Gemm', 0, {'transB': 0}, 'transB=0, not 1'),
    ('resnet50', 'BatchNormalization', 7, {'epsilon': 1e-3}, 'epsilon=0.001, not 1e-05'),
    ('inception_v2', 'AveragePool', 2, {'count_include_pad': 1}, 'count_include_pad=1, not 0'),
  ],
)
def test_graphs_that_compute_something_else(name, op, place, attributes, says):
  read = light(name)
  node = node_of(read, op, place)
  kept = [a for a in node.attribute if a.name not in attributes]
  del node.attribute[:]
  node.attribute.extend(kept + [onnx.helper.make_attribute(*x) for x in attributes.items()])
  with pytest.raises(InputError) as told:
    check(name, read)
  assert f'node {node.name or node.output[0]!r} ({op}) has {says}' in str(told.value)


@pytest.mark.parametrize(
  ('change', 'says'),
  [
    (lambda node: setattr(node, 'op_type', 'Sigmoid'), "'a' (Sigmoid) has no counterpart"),
    (lambda node: setattr(node, 'domain', 'theirs'), "'a' (theirs.Relu) has no counterpart"),
    (lambda node: setattr(node, 'op_type', 'Identity'), "takes 'r0', not the output of Relu"),
  ],
)
def test_graphs_of_other_nodes(change, says):
  read = light('inception_v1')
  node = node_of(read, 'Relu')
  node.name = 'a'
  change(node)
  with pytest.raises(InputError) as told:
    check('inception_v1', read)
  assert says in str(told.value)


def swap(node, one, other):
  inputs = list(node.input)
  inputs[one], inputs[other] = inputs[other], inputs[one]
  node.input[:] = inputs


def reverse(read):
  node = node_of(read, 'Concat', 2)
  node.input[:] = list(node.input)[::-1]


def bypass(op, place=0):
  """A change of a graph: what takes from a node takes from before it, and the node stays."""

  def change(read):
    node = node_of(read, op, place)
    for other in read.node:
      if node.output[0] in other.input:
        other.input[:] = [node.input[0] if x == node.output[0] else x for x in other.input]

  return change


def insert_softmax(read):
  node = node_of(read, 'Gemm')
  read.node.insert(
    list(read.node).index(node), onnx.helper.make_node('Softmax', [node.input[0]], ['soft'])
  )
  node.input[0] = 'soft'


def reshape_a_map(read):
  node = node_of(read, 'MaxPool', 1)
  place = list(read.node).index(node)
  read.node.insert(place, onnx.helper.make_node('Reshape', [node.input[0], 'shape'], ['turned']))
  node.input[0] = 'turned'


def of_another_block(read):
  node = node_of(read, 'Sum', 5)
  node.input[1] = node_of(read, 'Sum', 1).output[0]


@pytest.mark.parametrize(
  ('name', 'change', 'says'),
  [
    ('inception_v1', reverse, "takes 'r51', 'r48', 'r44', 'r40', not 'r40', 'r44', 'r48', 'r51'"),
    ('inception_v1', bypass('LRN'), r"\(Conv\) takes 'r2', not 'r3'"),
    ('inception_v1', bypass('Relu', 4), r"\(Conv\) takes 'r12', not 'r13'"),
    ('inception_v1', bypass('MaxPool', 2), r"\(Conv\) takes 'r9', not 'r20'"),
    ('inception_v1', insert_softmax, r"\(Gemm\) takes 'soft', not 'r138'"),
    ('vgg19', reshape_a_map, r'\(MaxPool\) takes a map of another shape'),
    ('bvlc_alexnet', bypass('LRN', 1), r"\(MaxPool\) takes 'r5', not 'r6'"),
    ('zfnet512', bypass('MaxPool', 2), r"\(Gemm\) takes 'r13', not 'r14'"),
    ('resnet50', of_another_block, r'\(Sum\) takes .*, not'),
    (
      'resnet50',
      lambda read: swap(node_of(read, 'BatchNormalization'), 3, 4),
      "takes 'gpu_0/res_conv1_bn_riv_0', not 'gpu_0/res_conv1_bn_rm_0'",
    ),
    ('inception_v1', lambda read: node_of(read, 'Conv').input.pop(), "takes '', not 'conv1/7x7"),
    ('inception_v1', lambda read: read.node.pop(-2), 'has 1 Gemm too few'),
  ],
)
def test_graphs_that_are_wired_otherwise(name, change, says):
  read = light(name)
  change(read)
  with pytest.raises(InputError, match=says):
    check(name, read)


def test_a_pool_of_one_pixel_is_nothing():
  read = light('vgg19')  # torch's adaptive pool, of a map of that size
  node = node_of(read, 'Reshape')
  pool = {'kernel_shape': [1, 1], 'strides': [1, 1]}
  pool = onnx.helper.make_node('AveragePool', [node.input[0]], ['pooled'], **pool)
  read.node.insert(list(read.node).index(node), pool)
  node.input[0] = 'pooled'
  check('vgg19', read)


def without(op, place, read):
  """What takes from a node takes from before it."""
  node = node_of(read, op, place)
  for other in read.node:
    other.input[:] = [node.input[0] if x == node.output[0] else x for x in other.input]
  read.node.remove(node)


@pytest.mark.parametrize(
  ('change', 'says'),
  [
    (lambda read: without('Unsqueeze', 4, read), 'does not take an array a channel'),
    (lambda read: without('Mul', 3, read), 'not the output of Mul'),
    (lambda read: swap(node_of(read, 'Add', 0), 0, 1), 'does not take an array a channel'),
    (
      lambda read: node_of(read, 'Unsqueeze', 0).attribute[0].ints.__setitem__(0, 0),
      '(Unsqueeze) has no counterpart',
    ),
  ],
)
def test_scales_after_batch_norm_are_checked(change, says):
  read = light('inception_v2')
  change(read)
  with pytest.raises(InputError) as told:
    check('inception_v2', read)
  assert says in str(told.value)


def test_a_sum_has_no_order():
  read = light('resnet50')
  swap(node_of(read, 'Sum'), 0, 1)
  check('resnet50', read)


@pytest.mark.parametrize(
  ('name', 'says'),
  [
    ('squeezenet', 'it is SqueezeNet'),
    ('shufflenet', 'it is ShuffleNet'),
    ('densenet121', 'it is DenseNet-121'),
  ],
)
def test_graphs_of_other_networks_are_refused_by_name(name, says):
  with pytest.raises(InputError, match=f'{says}, which is none of our networks: use weights of'):
    weights.load(str(LIGHT / f'light_{name}.onnx'))
