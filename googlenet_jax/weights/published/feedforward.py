"""Published weights of networks whose layers follow each other: AlexNet, ZFNet, VGG."""

import math
import re

from googlenet_jax.models import MODELS, feedforward
from googlenet_jax.weights.graph import INPUT, Wiring
from googlenet_jax.weights.published.layout import (
  BATCH_NORM,
  CAFFE_WEIGHT,
  PADS,
  WEIGHT,
  Layout,
  rgb,
)


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
  *_, last = (x for x in MODELS[model].fields['layers'] if isinstance(x, feedforward.Conv))

  def convert(path, array):
    if path[1:] == ('fc6', 'kernel') and array.ndim == 2:
      side = math.isqrt(array.shape[1] // last.features)
      maps = array.reshape(len(array), last.features, side, side)
      return maps.transpose(0, 2, 3, 1).reshape(len(array), -1)
    return array

  return convert


def _layer_name(path):
  layer, leaf = path[1:]
  return f'{layer}_{CAFFE_WEIGHT[leaf]}_0'


def _caffe_chain_convert(model):
  """Caffe's networks without branches: the first layer takes BGR."""
  first, of_linear = MODELS[model].fields['layers'][0].name, _first_linear(model)
  return lambda path, array: of_linear(path, rgb(path, array, first))


LAYOUTS = (
  *(_chain(model, False) for model in ('alexnet', 'vgg11', 'vgg13', 'vgg16', 'vgg19')),
  *(_chain(model, True) for model in ('vgg11', 'vgg13', 'vgg16', 'vgg19')),
  Layout(  # the ONNX model zoo's, from Caffe
    model='vgg19',
    recognise=lambda names: 'conv5_4_w_0' in names,
    preprocessing='vgg',
    name=_layer_name,
    convert=_caffe_chain_convert('vgg19'),
    graph=lambda file: _chain_graph('vgg19'),
    classifier='fc8',
  ),
  Layout(  # the ONNX model zoo's, from Caffe
    model='alexnet_bvlc',
    recognise=lambda names: {'conv5_w_0', 'fc8_w_0'} <= set(names),
    preprocessing='caffe',
    name=_layer_name,
    convert=_caffe_chain_convert('alexnet_bvlc'),
    graph=lambda file: _chain_graph('alexnet_bvlc'),
    classifier='fc8',
  ),
  Layout(  # the ONNX model zoo's, from Caffe2
    model='zfnet_512',  # its preprocessing is not published: as Intel's neural-compressor feeds it
    recognise=lambda names: {'gpu_0/conv5_w_0', 'gpu_0/fc8_w_0'} <= set(names),
    preprocessing='vgg',
    name=lambda path: f'gpu_0/{_layer_name(path)}',
    convert=_caffe_chain_convert('zfnet_512'),
    graph=lambda file: _chain_graph('zfnet_512'),
    classifier='fc8',
  ),
)
