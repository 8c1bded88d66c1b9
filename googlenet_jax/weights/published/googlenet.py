"""GoogLeNet's published weights: Caffe's in the ONNX zoo, and torchvision's."""

from googlenet_jax.models.googlenet import MODULES
from googlenet_jax.weights.graph import INPUT, Wiring
from googlenet_jax.weights.published.layout import BATCH_NORM, CAFFE_WEIGHT, WEIGHT, Layout, rgb

# Ours, Caffe's and torchvision's names of a module's convolutions.
BRANCHES = (
  ('conv_1x1', '1x1', 'branch1'),
  ('reduce_3x3', '3x3_reduce', 'branch2.0'),
  ('conv_3x3', '3x3', 'branch2.1'),
  ('reduce_5x5', '5x5_reduce', 'branch3.0'),
  ('conv_5x5', '5x5', 'branch3.1'),
  ('pool_proj', 'pool_proj', 'branch4.1'),
)
CAFFE = {
  'conv1': 'conv1/7x7_s2',
  'conv2_reduce': 'conv2/3x3_reduce',
  'conv2': 'conv2/3x3',
  'linear': 'loss3/classifier',
} | {
  f'inception_{m}/{ours}': f'inception_{m}/{caffe}' for m in MODULES for ours, caffe, _ in BRANCHES
}
TORCHVISION = {
  'conv1': 'conv1',
  'conv2_reduce': 'conv2',
  'conv2': 'conv3',
  'linear': 'fc',
  **{
    f'aux{i}/{ours}': f'aux{i}.{theirs}'
    for i in (1, 2)
    for ours, theirs in (('conv', 'conv'), ('fc', 'fc1'), ('linear', 'fc2'))
  },
} | {
  f'inception_{m}/{ours}': f'inception{m}.{torch}' for m in MODULES for ours, _, torch in BRANCHES
}


def _caffe_name(path):
  *layer, leaf = path[1:]
  return f'{CAFFE["/".join(layer)]}_{CAFFE_WEIGHT[leaf]}_0'


def _caffe_convert(path, array):
  array = rgb(path, array)
  return array.reshape(array.shape[-2:]) if path[-2:] == ('linear', 'kernel') else array


# Pads and ceil_mode of the pools between stages: the file floors what Caffe's network ceils, and
# the answers differ.
ROUNDINGS = {
  ((0, 0, 0, 0), 0): 'floor',
  ((0, 0, 1, 1), 0): 'ceil',
  ((0, 0, 0, 0), 1): 'ceil',
}


def _caffe_rounding(file):
  """A key of `ROUNDINGS`, as the first of these pools has it; floors where none does."""
  pools = (node.attributes for node in file.nodes if node.op == 'MaxPool')
  first = next((pool for pool in pools if pool['strides'] == (2, 2)), {})
  key = first.get('pads'), first.get('ceil_mode')
  return key if key in ROUNDINGS else next(iter(ROUNDINGS))


def _caffe_fields(file):
  return {'pool_rounding': ROUNDINGS[_caffe_rounding(file)]} if file.nodes else {}


def _caffe_graph(file):
  pads, ceil_mode = _caffe_rounding(file)
  wiring = Wiring()

  def down(x):
    window = {'kernel_shape': (3, 3), 'strides': (2, 2)}
    return wiring.op('MaxPool', x, **window, pads=pads, ceil_mode=ceil_mode)

  def normed(x):
    return wiring.op('LRN', x, alpha=1e-4, beta=0.75, bias=1.0, size=5)

  def module(name, x):
    def conv(layer, x):
      return wiring.activated(f'inception_{name}/{layer}', x)

    pooled = wiring.op('MaxPool', x, kernel_shape=(3, 3), pads=(1, 1, 1, 1))
    return wiring.op(
      'Concat',
      conv('conv_1x1', x),
      conv('conv_3x3', conv('reduce_3x3', x)),
      conv('conv_5x5', conv('reduce_5x5', x)),
      conv('pool_proj', pooled),
    )

  x = normed(down(wiring.activated('conv1', INPUT)))
  x = normed(wiring.activated('conv2', wiring.activated('conv2_reduce', x)))
  stage = ''
  for name in MODULES:
    x = module(name, x if name[0] == stage else down(x))
    stage = name[0]
  # Of what is left: 6x6 pixels and padding, or 7x7.
  last = {'kernel_shape': (7, 7), 'pads': [(0, 0, 1, 1), (0, 0, 0, 0)]}
  wiring.layer('linear', wiring.op('AveragePool', x, **last))
  return wiring


def _torchvision_name(path):
  *layer, leaf = path[1:]
  if layer[-1] == 'bn':
    return f'{TORCHVISION["/".join(layer[:-1])]}.bn.{BATCH_NORM[leaf]}'
  is_linear = layer[-1] in ('fc', 'linear')
  weight = f'{"" if is_linear else "conv."}{WEIGHT[leaf]}'
  return f'{TORCHVISION["/".join(layer)]}.{weight}'


def _torchvision_convert(path, array):
  # Of the flattened map: CHW there, HWC here.
  if path[-2:] == ('fc', 'kernel') and array.shape[-1] % 16 == 0:
    array = array.reshape(len(array), -1, 4, 4).transpose(0, 2, 3, 1).reshape(len(array), -1)
  return array


LAYOUTS = (
  Layout(
    model='googlenet_bvlc',
    recognise=lambda names: 'conv1/7x7_s2_b_0' in names,
    preprocessing='bvlc',
    name=_caffe_name,
    convert=_caffe_convert,
    fields=_caffe_fields,
    graph=_caffe_graph,
  ),
  Layout(
    model='googlenet_torchvision',
    recognise=lambda names: 'inception3a.branch1.conv.weight' in names,
    preprocessing='torchvision_v1',
    name=_torchvision_name,
    convert=_torchvision_convert,
  ),
)
