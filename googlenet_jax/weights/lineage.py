"""Layouts of the published weights of the networks that GoogLeNet is compared with."""

import math
import re

from googlenet_jax.models import MODELS, bricks, feedforward
from googlenet_jax.models.resnet import ResNet
from googlenet_jax.weights.graph import INPUT, Wiring
from googlenet_jax.weights.published import BATCH_NORM, CAFFE, CAFFE_WEIGHT, Layout

WEIGHT = {'kernel': 'weight', 'bias': 'bias'}
# Of pools in ONNX: 'ceil' pads one pixel, where one is missing.
PADS = {'floor': (0, 0, 0, 0), 'ceil': (0, 0, 1, 1)}


def _chain(model: str, batch_norm: bool) -> Layout:
  """AlexNet and VGG of torchvision: layers by their place in a sequence, ReLUs counted too."""
  names, part, index, last = {}, 'features', 0, 0
  for layer in MODELS[model].fields['layers']:
    if isinstance(layer, feedforward.Linear | feedforward.Dropout) and part == 'features':
      part, index = 'classifier', 0
    if isinstance(layer, feedforward.Conv):
      names[layer.name], last = (f'features.{index}', f'features.{index + 1}'), index
      index += 3 if batch_norm else 2
    elif isinstance(layer, feedforward.Linear):
      names[layer.name] = (f'classifier.{index}',)
      index += 2
    else:
      index += 1

  def recognise(found):
    convolutions = [re.fullmatch(r'features\.(\d+)\.weight', name) for name in found]
    normalised = 'features.1.running_mean' in found
    if 'classifier.6.weight' not in found or normalised != batch_norm:
      return False
    greatest = max((int(match[1]) for match in convolutions if match), default=-1)
    return greatest == last + batch_norm

  def name(path):
    *layer, leaf = path[1:]
    if layer[-1] == 'bn':
      return f'{names[layer[0]][1]}.{BATCH_NORM[leaf]}'
    return f'{names[layer[0]][0]}.{WEIGHT[leaf]}'

  def prepare(arrays):  # a bias that batch norm takes away again is part of the mean here
    arrays = dict(arrays)
    for conv, bn in (pair for pair in names.values() if batch_norm and len(pair) == 2):
      bias = arrays.pop(f'{conv}.bias', 0)
      if f'{bn}.running_mean' in arrays:
        arrays[f'{bn}.running_mean'] = arrays[f'{bn}.running_mean'] - bias
    return arrays

  return Layout(
    model=model,
    recognise=recognise,
    preprocessing='torchvision_v1',
    name=name,
    convert=_first_linear(model),
    fields=lambda file: {'norm': 'batch'} if batch_norm else {},
    prepare=prepare,
    graph=lambda file: _chain_graph(model, batch_norm),
    ignored=('.num_batches_tracked',),
    classifier='fc8',
  )


def _chain_graph(model: str, batch_norm: bool = False) -> Wiring:
  """The nodes of a network whose layers follow each other."""
  wiring, x = Wiring(), INPUT
  for layer in MODELS[model].fields['layers']:
    match layer:
      case feedforward.Conv(name):
        x = wiring.layer(name, x)
        x = wiring.op('Relu', wiring.layer(f'{name}/bn', x) if batch_norm else x)
      case feedforward.Linear(name, features):
        last = features == feedforward.CLASSES
        x = wiring.layer(name, x) if last else wiring.activated(name, x)
      case feedforward.Norm(_, alpha, k):
        x = wiring.op('LRN', x, alpha=alpha, beta=0.75, bias=k, size=5)
      case feedforward.Pool(_, window, stride, pool_rounding):
        shape = {'kernel_shape': (window,) * 2, 'strides': (stride,) * 2}
        x = wiring.op('MaxPool', x, **shape, pads=PADS[pool_rounding])
  return wiring


def _first_linear(model: str):
  """The layer of the flattened map: CHW in the files, HWC here."""
  channels = [x for x in MODELS[model].fields['layers'] if isinstance(x, feedforward.Conv)][
    -1
  ].features

  def convert(path, array):
    if path[1:] == ('fc6', 'kernel') and array.ndim == 2:
      side = math.isqrt(array.shape[1] // channels)
      maps = array.reshape(len(array), channels, side, side)
      return maps.transpose(0, 2, 3, 1).reshape(len(array), -1)
    return array

  return convert


def _resnet(model: str) -> Layout:
  """The ResNets of torchvision."""
  fields = MODELS[model].fields
  last = 'conv3' if fields['bottleneck'] else 'conv2'

  def recognise(found):
    return all(
      f'layer{stage}.{blocks - 1}.{last}.weight' in found
      and f'layer{stage}.{blocks}.conv1.weight' not in found
      and (last == 'conv3' or f'layer{stage}.0.conv3.weight' not in found)
      for stage, blocks in enumerate(fields['blocks'], 1)
    )

  def name(path):
    *layer, leaf = path[1:]
    if layer == ['linear']:
      return f'fc.{WEIGHT[leaf]}'
    prefix = ''
    if '_' in layer[0]:  # conv2_1 -> layer1.0
      stage, block = layer.pop(0).removeprefix('conv').split('_')
      prefix = f'layer{int(stage) - 1}.{int(block) - 1}.'
    if layer[0] == 'shortcut':
      return f'{prefix}downsample.' + (
        f'1.{BATCH_NORM[leaf]}' if layer[-1] == 'bn' else f'0.{WEIGHT[leaf]}'
      )
    if layer[-1] == 'bn':
      return f'{prefix}{layer[0].replace("conv", "bn")}.{BATCH_NORM[leaf]}'
    return f'{prefix}{layer[0]}.{WEIGHT[leaf]}'

  return Layout(
    model=model,
    recognise=recognise,
    preprocessing='torchvision_v1',
    name=name,
    ignored=('.num_batches_tracked',),
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
  *('Conv2d_1a_3x3', 'Conv2d_2a_3x3', 'Conv2d_2b_3x3', 'Mixed_3a', 'Mixed_4a', 'Mixed_5a'),
  *(f'Mixed_{name}' for name in ('5b', '5c', '5d', '5e', '6a', *(f'6{x}' for x in 'bcdefgh'))),
  *('Mixed_7a', 'Mixed_7b', 'Mixed_7c', 'Mixed_7d'),
)


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


def _inception_v2_convert(path, array):
  if path[1:] == ('conv1', 'kernel') and array.ndim == 4:
    return array[:, ::-1]  # published for BGR
  return array


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


def _layer_name(path):
  layer, leaf = path[1:]
  return f'{layer}_{CAFFE_WEIGHT[leaf]}_0'


def _caffe_chain_convert(model):
  """Caffe's networks without branches: the first layer takes BGR."""
  first, of_linear = MODELS[model].fields['layers'][0].name, _first_linear(model)

  def convert(path, array):
    if path[1:] == (first, 'kernel') and array.ndim == 4:
      return array[:, ::-1]
    return of_linear(path, array)

  return convert


def _resnet50_name(path):
  *layer, leaf = path[1:]
  kind = CAFFE_WEIGHT
  if layer[-1] == 'bn':
    kind = {'scale': 'bn_s', 'bias': 'bn_b', 'mean': 'bn_rm', 'var': 'bn_riv'}
  if layer[0] == 'linear':
    return f'gpu_0/pred_{kind[leaf]}_0'
  if layer[0] == 'conv1':
    return f'gpu_0/{"res_conv1" if layer[-1] == "bn" else "conv1"}_{kind[leaf]}_0'
  stage, block = layer[0].removeprefix('conv').split('_')
  branch = {'conv1': '2a', 'conv2': '2b', 'conv3': '2c', 'shortcut': '1'}[layer[1]]
  return f'gpu_0/res{stage}_{int(block) - 1}_branch{branch}_{kind[leaf]}_0'


def _resnet50_graph(file):
  wiring = Wiring()

  def conv(layer, x):
    return wiring.layer(f'{layer}/bn', wiring.layer(layer, x))

  def activated(layer, x):
    return wiring.op('Relu', conv(layer, x))

  window = {'kernel_shape': (3, 3), 'strides': (2, 2), 'pads': (1, 1, 1, 1)}
  x = wiring.op('MaxPool', activated('conv1', INPUT), **window)
  for stage, blocks in enumerate(MODELS['resnet50'].fields['blocks'], 2):
    for i in range(1, blocks + 1):
      block = f'conv{stage}_{i}'
      y = activated(f'{block}/conv2', activated(f'{block}/conv1', x))
      y = conv(f'{block}/conv3', y)
      x = wiring.op('Relu', wiring.op('Sum', y, conv(f'{block}/shortcut', x) if i == 1 else x))
  wiring.layer('linear', wiring.op('AveragePool', x, kernel_shape=(7, 7)))
  return wiring


LAYOUTS = (
  *(_chain(model, False) for model in ('alexnet', 'vgg11', 'vgg13', 'vgg16', 'vgg19')),
  *(_chain(model, True) for model in ('vgg11', 'vgg13', 'vgg16', 'vgg19')),
  *(
    _resnet(name)
    for name, model in MODELS.items()
    if model.module is ResNet and 'stem' not in model.fields
  ),
  Layout(
    model='inception_v3',
    recognise=lambda names: 'Mixed_7c.branch1x1.conv.weight' in names,
    preprocessing='torchvision_inception_v3',
    name=_inception_name,
    ignored=('.num_batches_tracked',),
  ),
  Layout(  # timm's, from TensorFlow
    model='inception_v4',
    recognise=lambda names: 'features.21.branch2_3b.conv.weight' in names,
    preprocessing='timm_inception_v4',
    name=_inception_v4_name,
    ignored=('.num_batches_tracked',),
  ),
  Layout(  # timm's, from TensorFlow
    model='inception_resnet_v2',
    recognise=lambda names: 'repeat_2.8.conv2d.weight' in names,
    preprocessing='timm_333',
    name=_inception_resnet_v2_name,
    ignored=('.num_batches_tracked',),
  ),
  Layout(  # timm's `legacy_xception`, from Keras
    model='xception',
    recognise=lambda names: 'block12.rep.1.pointwise.weight' in names,
    preprocessing='timm_333',
    name=_xception_name,
    ignored=('.num_batches_tracked',),
  ),
  Layout(  # the ONNX model zoo's, from Caffe
    model='inception_v2',
    recognise=lambda names: 'conv1/7x7_s2/bn_scale_0' in names,
    preprocessing='bvlc',
    name=_inception_v2_name,
    convert=_inception_v2_convert,
    prepare=_inception_v2_prepare,
    graph=_inception_v2_graph,
    ignored=('OC2_DUMMY_139',),
  ),
  Layout(  # the ONNX model zoo's, from Caffe
    model='vgg19',
    recognise=lambda names: 'conv5_4_w_0' in names,
    preprocessing='vgg',
    name=_layer_name,
    convert=_caffe_chain_convert('vgg19'),
    graph=lambda file: _chain_graph('vgg19'),
    ignored=('OC2_DUMMY_1',),
    classifier='fc8',
  ),
  Layout(  # the ONNX model zoo's, from Caffe
    model='alexnet_bvlc',
    recognise=lambda names: {'conv5_w_0', 'fc8_w_0'} <= set(names),
    preprocessing='caffe',
    name=_layer_name,
    convert=_caffe_chain_convert('alexnet_bvlc'),
    graph=lambda file: _chain_graph('alexnet_bvlc'),
    ignored=('OC2_DUMMY_1',),
    classifier='fc8',
  ),
  Layout(  # the ONNX model zoo's, from Caffe2
    model='zfnet_512',  # its preprocessing is not published: as Intel's neural-compressor feeds it
    recognise=lambda names: {'gpu_0/conv5_w_0', 'gpu_0/fc8_w_0'} <= set(names),
    preprocessing='vgg',
    name=lambda path: f'gpu_0/{_layer_name(path)}',
    convert=_caffe_chain_convert('zfnet_512'),
    graph=lambda file: _chain_graph('zfnet_512'),
    ignored=('OC2_DUMMY_1',),
    classifier='fc8',
  ),
  Layout(  # the ONNX model zoo's, from Caffe2
    model='resnet50',
    recognise=lambda names: 'gpu_0/res5_2_branch2c_w_0' in names,
    preprocessing='torchvision_v1',
    name=_resnet50_name,
    graph=_resnet50_graph,
    ignored=('OC2_DUMMY_1',),
  ),
)
