"""The networks: `create(name, **fields)` makes any of them.

All keep one contract: a flax module with the field `num_classes`, called as
`model(images [B, H, W, C], *, train) -> Outputs(logits, aux)`. Other code knows layers by name: the
one that computes the logits is 'linear' (or another of `layers.CLASSIFIERS`), and the names of
auxiliary heads begin with 'aux'.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import flax.linen as nn

from googlenet_jax import registry
from googlenet_jax.errors import InputError
from googlenet_jax.models import feedforward
from googlenet_jax.models.feedforward import Chain
from googlenet_jax.models.googlenet import GoogLeNet
from googlenet_jax.models.inception_resnet_v2 import InceptionResNetV2
from googlenet_jax.models.inception_v2 import InceptionV2
from googlenet_jax.models.inception_v3 import InceptionV3
from googlenet_jax.models.inception_v4 import InceptionV4
from googlenet_jax.models.layers import Outputs, check_fields
from googlenet_jax.models.resnet import ResNet
from googlenet_jax.models.xception import Xception

__all__ = ['MODELS', 'Model', 'Outputs', 'create', 'find', 'with_zero_kernels']


class Model(NamedTuple):
  """A network by name.

  Attributes:
    module: class of the network.
    fields: values that make it this one.
    image_shape: (H, W, C) of the images that it was published for.
  """

  module: Callable[..., nn.Module]
  fields: Mapping[str, Any] = MappingProxyType({})
  image_shape: tuple[int, int, int] = (224, 224, 3)


CIFAR, LARGE = (32, 32, 3), (299, 299, 3)
VGGS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
RESNETS = {  # blocks a stage, bottlenecks; arXiv 1512.03385, Table 1
  18: ((2, 2, 2, 2), False),
  34: ((3, 4, 6, 3), False),
  50: ((3, 4, 6, 3), True),
  101: ((3, 4, 23, 3), True),
  152: ((3, 8, 36, 3), True),
}
CIFAR_RESNETS = (20, 32, 44, 56, 110)  # layers: 2 and 6n, section 4.2


def _cifar_resnet(layers: int, shortcut: str) -> Model:
  fields = {
    'blocks': 3 * ((layers - 2) // 6,),
    'features': 16,
    'stem': 'cifar',
    'shortcut': shortcut,
    'num_classes': 10,
  }
  return Model(ResNet, fields, CIFAR)


MODELS: dict[str, Model] = {
  'googlenet': Model(GoogLeNet),  # the paper's
  # Caffe's, of the published weights: pools whose last window hangs over the edge.
  'googlenet_bvlc': Model(GoogLeNet, {'pool_rounding': 'ceil'}),
  # Batch norm after every convolution in place of its bias, 5x5 as in the paper.
  'googlenet_bn': Model(GoogLeNet, {'norm': 'batch'}),
  # Without the 1x1 reductions (Figure 2a).
  'googlenet_naive': Model(GoogLeNet, {'module': 'naive'}),
  # torchvision's: 3x3 for 5x5, a 2x2 last pool, and input normalised once more.
  'googlenet_torchvision': Model(
    GoogLeNet,
    {
      'norm': 'batch',
      'kernel_5x5': 3,
      'pool_rounding': 'ceil',
      'last_pool': 2,
      'aux_pool': 'adaptive',
      'transform_input': True,
      'dropout': 0.2,
      'kernel_init': 'normal',
      'bias_init': 0.0,
    },
  ),
  'lenet5': Model(
    Chain,
    {
      'layers': feedforward.LENET5,
      'num_classes': 10,
      'activation': nn.tanh,
      'kernel_init': 'xavier',
    },
    (32, 32, 1),
  ),
  'alexnet': Model(Chain, {'layers': feedforward.ALEXNET}),
  'alexnet_grouped': Model(
    Chain, {'layers': feedforward.ALEXNET_GROUPED, 'kernel_init': 'normal'}, (227, 227, 3)
  ),
  'alexnet_bvlc': Model(
    Chain, {'layers': feedforward.ALEXNET_BVLC, 'kernel_init': 'normal'}, (227, 227, 3)
  ),
  'zfnet': Model(Chain, {'layers': feedforward.zfnet(384, 384, 256), 'kernel_init': 'normal'}),
  'zfnet_wide': Model(
    Chain, {'layers': feedforward.zfnet(512, 1024, 512), 'kernel_init': 'normal'}
  ),
  'zfnet_512': Model(Chain, {'layers': feedforward.ZFNET_512, 'kernel_init': 'normal'}),
  'nin': Model(Chain, {'layers': feedforward.NIN, 'num_classes': 10}, CIFAR),
  **{f'vgg{n}': Model(Chain, {'layers': feedforward.vgg(*depths)}) for n, depths in VGGS.items()},
  **{
    f'resnet{n}': Model(ResNet, {'blocks': blocks, 'bottleneck': bottleneck})
    for n, (blocks, bottleneck) in RESNETS.items()
  },
  **{f'resnet{n}': _cifar_resnet(n, 'pad') for n in CIFAR_RESNETS},
  **{f'plain{n}': _cifar_resnet(n, 'none') for n in CIFAR_RESNETS},
  'inception_v2': Model(InceptionV2),
  'inception_v3': Model(InceptionV3, image_shape=LARGE),
  'inception_v4': Model(InceptionV4, image_shape=LARGE),
  'inception_resnet_v2': Model(InceptionResNetV2, image_shape=LARGE),
  'xception': Model(Xception, image_shape=LARGE),
}


def find(name: str) -> Model:
  """A network by name, or a user's own by 'module:attribute': a flax module, or what makes one.

  Raises:
    InputError: no such network.
  """
  found = registry.find(name, MODELS, 'model.name')
  return found if isinstance(found, Model) else Model(found)


def create(name: str, fields: Mapping[str, Any] = MappingProxyType({}), **given) -> nn.Module:
  """A network by name, its fields overridden; None leaves a field as the network has it.

  Args:
    name: key of `MODELS`, or 'module:attribute'.
    fields: fields of the network.
    given: further fields.

  Raises:
    InputError: no such network, it has no such field, or a field has no such value.
  """
  module, preset, _ = find(name)
  given = {field: value for field, value in (given | dict(fields)).items() if value is not None}
  if given.get('aux_heads') == () and not registry.takes(module, 'aux_heads'):
    del given['aux_heads']  # it has none
  # A network of a user's may leave the number of classes without a default.
  preset = {'num_classes': 1000} | dict(preset) if _needs_classes(module) else preset
  network = registry.call(module, 'model.fields', given, offered=preset)
  if not isinstance(network, nn.Module):
    raise InputError(f'config.model.name={name!r}: it gives {network!r}, not a flax module')
  check_fields(network)
  return network


def with_zero_kernels(model: nn.Module) -> nn.Module:
  """The network with kernels initialised to zeros, where only shapes matter.

  Random initialisers take half the time of a trace. A network of a user's stays as it is.
  """
  ours = type(model) in {x.module for x in MODELS.values()}
  return model.clone(kernel_init=nn.initializers.zeros) if ours else model


def _needs_classes(module):
  parameter = registry.parameters(module).get('num_classes')
  return parameter is not None and parameter.default is parameter.empty
