"""Published weights of ResNets: torchvision's, and ResNet-50 of the ONNX zoo."""

from googlenet_jax.models import MODELS
from googlenet_jax.models.resnet import ResNet
from googlenet_jax.weights.graph import INPUT, Wiring
from googlenet_jax.weights.published.layout import BATCH_NORM, CAFFE_WEIGHT, WEIGHT, Layout


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
  )


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
  *(
    _resnet(name)
    for name, model in MODELS.items()
    if model.module is ResNet and 'stem' not in model.fields
  ),
  Layout(  # the ONNX model zoo's, from Caffe2
    model='resnet50',
    recognise=lambda names: 'gpu_0/res5_2_branch2c_w_0' in names,
    preprocessing='torchvision_v1',
    name=_resnet50_name,
    graph=_resnet50_graph,
  ),
)
