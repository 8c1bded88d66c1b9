"""Published weights of the line from Inception v2 to Xception."""

import re

from googlenet_jax.models import MODELS, bricks
from googlenet_jax.weights.graph import INPUT, Wiring
from googlenet_jax.weights.published.googlenet import CAFFE
from googlenet_jax.weights.published.layout import (
  BATCH_NORM,
  CAFFE_WEIGHT,
  PADS,
  WEIGHT,
  Layout,
  rgb,
)


def _with_batch_norm(layer, leaf):
  """The name of an array of a convolution with batch norm, as torchvision and timm name it."""
  if layer[-1] == 'bn':
    return '.'.join([*layer, BATCH_NORM[leaf]])
  return '.'.join([*layer, 'conv', WEIGHT[leaf]])


def _inception_name(path):
  *layer, leaf = path[1:]
  layer = ['AuxLogits' if part == 'aux1' else part for part in layer]
  if layer[-1] == 'linear':
    return '.'.join([*layer[:-1], 'fc', WEIGHT[leaf]])
  return _with_batch_norm(layer, leaf)


# Modules of timm's Inception v4, by their places.
INCEPTION_V4 = (
  'Conv2d_1a_3x3', 'Conv2d_2a_3x3', 'Conv2d_2b_3x3', 'Mixed_3a', 'Mixed_4a', 'Mixed_5a',
  'Mixed_5b', 'Mixed_5c', 'Mixed_5d', 'Mixed_5e', 'Mixed_6a', 'Mixed_6b', 'Mixed_6c', 'Mixed_6d',
  'Mixed_6e', 'Mixed_6f', 'Mixed_6g', 'Mixed_6h', 'Mixed_7a', 'Mixed_7b', 'Mixed_7c', 'Mixed_7d',
)  # fmt: skip


def _in_sequence(layer):
  """'branch1_0' as 'branch1.0'."""
  return re.sub(r'^(branch\d)_(\d)$', r'\1.\2', layer)


def _inception_v4_name(path):
  module, *layer, leaf = path[1:]
  if module == 'linear':
    return f'last_linear.{WEIGHT[leaf]}'
  if module.startswith('aux'):
    raise KeyError(module)
  if layer and not (module in INCEPTION_V4[-3:] and layer[0][:7] in ('branch1', 'branch2')):
    layer[0] = _in_sequence(layer[0])
  return _with_batch_norm([f'features.{INCEPTION_V4.index(module)}', *layer], leaf)


# Where timm's Inception-ResNet-v2 has the blocks of each size.
REPEATED = {'block35': 'repeat', 'block17': 'repeat_1', 'block8': 'repeat_2'}


def _inception_resnet_v2_name(path):
  module, *layer, leaf = path[1:]
  if module == 'linear':
    return f'classif.{WEIGHT[leaf]}'
  if module.startswith('aux'):
    raise KeyError(module)
  kind, _, number = module.partition('_')
  if module == 'block8_10':
    module = 'block8'
  elif kind in REPEATED:
    module = f'{REPEATED[kind]}.{int(number) - 1}'
  else:  # Conv2d_1a_3x3, Mixed_5b
    module = '_'.join(module.lower().split('_')[:2])
  if layer == ['conv2d']:
    return f'{module}.conv2d.{WEIGHT[leaf]}'
  return _with_batch_norm([module, *map(_in_sequence, layer)], leaf)


def _xception_name(path):
  module, *layer, leaf = path[1:]
  if module == 'linear':
    return f'fc.{WEIGHT[leaf]}'
  norm = layer[-1:] == ['bn']
  if module.startswith('conv'):
    if norm:
      return f'{module.replace("conv", "bn")}.{BATCH_NORM[leaf]}'
    return '.'.join([module, *('conv1' if x == 'depthwise' else x for x in layer), WEIGHT[leaf]])
  if layer[0] == 'skip':
    return f'{module}.skipbn.{BATCH_NORM[leaf]}' if norm else f'{module}.skip.{WEIGHT[leaf]}'
  place = 3 * int(layer[0].removeprefix('sepconv')) - (3 if module == 'block1' else 2)
  if norm:  # ReLU, convolution, batch norm; the first ReLU is not counted where it is not there
    return f'{module}.rep.{place + 1}.{BATCH_NORM[leaf]}'
  part = {'depthwise': 'conv1', 'pointwise': 'pointwise'}[layer[1]]
  return f'{module}.rep.{place}.{part}.{WEIGHT[leaf]}'


def _caffe_layer(path: tuple[str, ...]) -> str:
  """Caffe's name of a layer of Inception v2, by its path without 'bn'."""
  *module, layer = path
  if not module:
    return CAFFE[layer]
  layer = re.sub(r'^reduce_(.*)$', r'\1_reduce', layer.removeprefix('conv_'))
  return '/'.join([*module, layer])


def _inception_v2_name(path):
  *layer, leaf = path[1:]
  if layer[-1] == 'bn':
    return f'{_caffe_layer(layer[:-1])}/bn_{leaf}_0'
  return f'{_caffe_layer(layer)}_{CAFFE_WEIGHT[leaf]}_0'


def _inception_v2_prepare(arrays):
  """Caffe scales after batch norm: both are one here."""
  arrays = dict(arrays)
  for name in [x for x in arrays if x.endswith('/bn/sc_w_0')]:
    layer, factor = name.removesuffix('/bn/sc_w_0'), arrays.pop(name)
    added = arrays.pop(f'{layer}/bn/sc_b_0', 0)
    for leaf, more in (('scale', 0), ('bias', added)):
      if (of_norm := f'{layer}/bn_{leaf}_0') in arrays:
        arrays[of_norm] = arrays[of_norm] * factor + more
  return arrays


def _inception_v2_graph(file):
  wiring = Wiring()
  table = MODELS['inception_v2'].module.design

  def apply(row, x, module=()):
    match row:
      case bricks.Conv(name):
        path = '/'.join((*module, name))
        theirs = _caffe_layer((*module, name))
        x = wiring.layer(f'{path}/bn', wiring.layer(path, x))
        x = wiring.op('Mul', x, arrays=(f'{theirs}/bn/sc_w_0',))
        return wiring.op('Relu', wiring.op('Add', x, arrays=(f'{theirs}/bn/sc_b_0',)))
      case bricks.Pool(kind, window, stride, padding):
        op = {'max': 'MaxPool', 'avg': 'AveragePool'}[kind]
        pads = (1, 1, 1, 1) if padding == 'same' else PADS[padding]
        shape = {'kernel_shape': (window,) * 2, 'strides': (stride,) * 2}
        return wiring.op(op, x, **shape, pads=pads)

  def branch(rows, x, name):
    for row in rows:
      x = apply(row, x, (name,))
    return x

  x = INPUT
  for row in table.stems['imagenet']:
    x = apply(row, x)
  for name, branches in table.modules.items():
    x = wiring.op('Concat', *(branch(rows, x, name) for rows in branches))
  wiring.layer('linear', wiring.op('AveragePool', x, kernel_shape=(7, 7)))
  return wiring


LAYOUTS = (
  Layout(
    model='inception_v3',
    recognise=lambda names: 'Mixed_7c.branch1x1.conv.weight' in names,
    preprocessing='torchvision_inception_v3',
    name=_inception_name,
  ),
  Layout(  # timm's, from TensorFlow
    model='inception_v4',
    recognise=lambda names: 'features.21.branch2_3b.conv.weight' in names,
    preprocessing='timm_inception_v4',
    name=_inception_v4_name,
  ),
  Layout(  # timm's, from TensorFlow
    model='inception_resnet_v2',
    recognise=lambda names: 'repeat_2.8.conv2d.weight' in names,
    preprocessing='timm_333',
    name=_inception_resnet_v2_name,
  ),
  Layout(  # timm's `legacy_xception`, from Keras
    model='xception',
    recognise=lambda names: 'block12.rep.1.pointwise.weight' in names,
    preprocessing='timm_333',
    name=_xception_name,
  ),
  Layout(  # the ONNX model zoo's, from Caffe
    model='inception_v2',
    recognise=lambda names: 'conv1/7x7_s2/bn_scale_0' in names,
    preprocessing='bvlc',
    name=_inception_v2_name,
    convert=rgb,
    prepare=_inception_v2_prepare,
    graph=_inception_v2_graph,
  ),
)
