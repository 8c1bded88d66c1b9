"""Networks without branches, as tables: LeNet-5, AlexNet, ZFNet, Network in Network, VGG."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from googlenet_jax.errors import InputError
from googlenet_jax.models.layers import (
  ConvBlock,
  Outputs,
  avg_pool,
  checked,
  initializer,
  local_response_norm,
  max_pool,
  scaled,
)

CLASSES = 0  # as features of a layer: as many as there are classes


class Conv(NamedTuple):
  """A convolution and its activation; `padding` as of `ConvBlock`."""

  name: str
  features: int
  window: int
  stride: int = 1
  padding: int | None = None
  groups: int = 1
  bias: float | None = None  # initial; None for the network's


class Pool(NamedTuple):
  """A pool, 'max' or 'avg'; `pool_rounding` as of `layers.pool_padding`."""

  name: str
  window: int = 3
  stride: int = 2
  pool_rounding: str = 'floor'
  kind: str = 'max'


class Norm(NamedTuple):
  """Local response normalisation; `alpha` and `k` are those of AlexNet's paper (section 3.3)."""

  name: str
  alpha: float = 5e-4
  k: float = 2.0


class Dropout(NamedTuple):
  """Dropout at the network's rate."""


class Mean(NamedTuple):
  """Global average pool."""

  name: str


class Linear(NamedTuple):
  """A fully connected layer of the flattened map; an activation follows all but the classes."""

  name: str
  features: int
  bias: float | None = None  # initial; None for the network's


# LeCun et al. (1998), "Gradient-based learning applied to document recognition", as it is built
# today: full connections, pools without weights, 32x32x1.
LENET5 = (
  Conv('conv1', 6, 5, padding=0),
  Pool('pool1', 2, kind='avg'),
  Conv('conv2', 16, 5, padding=0),
  Pool('pool2', 2, kind='avg'),
  Linear('fc3', 120),
  Linear('fc4', 84),
  Linear('fc5', CLASSES),
)


# Of AlexNet (2012) and those after it.
CLASSIFIER = (
  Linear('fc6', 4096),
  Dropout(),
  Linear('fc7', 4096),
  Dropout(),
  Linear('fc8', CLASSES),
)

# Krizhevsky (2014), "One weird trick", arXiv 1404.5997, as torchvision has it.
ALEXNET = (
  Conv('conv1', 64, 11, 4, padding=2),
  Pool('pool1'),
  Conv('conv2', 192, 5),
  Pool('pool2'),
  Conv('conv3', 384, 3),
  Conv('conv4', 256, 3),
  Conv('conv5', 256, 3),
  Pool('pool5'),
  Dropout(),
  Linear('fc6', 4096),
  Dropout(),
  Linear('fc7', 4096),
  Linear('fc8', CLASSES),
)


def alexnet_grouped(bias: float, pool5: str = 'floor', **norm) -> tuple:
  """Krizhevsky et al. (2012), sections 3 and 5: two GPUs, so two groups; 227x227.

  Args:
    bias: initial biases of the layers that have any.
    pool5: rounding of the last pool.
    norm: constants of the local response normalisation, where they are not the paper's.
  """
  return (
    Conv('conv1', 96, 11, 4, padding=0),
    Norm('norm1', **norm),
    Pool('pool1'),
    Conv('conv2', 256, 5, groups=2, bias=bias),
    Norm('norm2', **norm),
    Pool('pool2'),
    Conv('conv3', 384, 3),
    Conv('conv4', 384, 3, groups=2, bias=bias),
    Conv('conv5', 256, 3, groups=2, bias=bias),
    Pool('pool5', pool_rounding=pool5),
    Linear('fc6', 4096, bias=bias),
    Dropout(),
    Linear('fc7', 4096, bias=bias),
    Dropout(),
    Linear('fc8', CLASSES),
  )


ALEXNET_GROUPED = alexnet_grouped(1.0)
# Caffe's, of the published weights. It draws fc6 and fc7 with a deviation of 0.005, here 0.01 like
# the rest. On 227 pixels every pool fits; on the ONNX file's 224 only the last hangs over the edge.
ALEXNET_BVLC = alexnet_grouped(0.1, pool5='ceil', alpha=1e-4, k=1.0)


def zfnet(conv3: int, conv4: int, conv5: int) -> tuple:
  """Zeiler and Fergus (2013), arXiv 1311.2901, Figure 3, with as many filters in conv3 to 5."""
  return (
    Conv('conv1', 96, 7, 2, padding=1),
    Pool('pool1', pool_rounding='ceil'),
    Norm('norm1'),
    Conv('conv2', 256, 5, 2, padding=0),
    Pool('pool2', pool_rounding='ceil'),
    Norm('norm2'),
    Conv('conv3', conv3, 3),
    Conv('conv4', conv4, 3),
    Conv('conv5', conv5, 3),
    Pool('pool5'),
    *CLASSIFIER,
  )


# ZFNet-512 of the ONNX model zoo, from Caffe2: LRN before the pools, which drop what does not fit,
# and smaller layers where the paper's best network has 1024 filters and 4096 features.
ZFNET_512 = (
  Conv('conv1', 96, 7, 2, padding=0),
  Norm('norm1'),
  Pool('pool1'),
  Conv('conv2', 256, 5, 2, padding=0),
  Norm('norm2'),
  Pool('pool2'),
  Conv('conv3', 512, 3),
  Conv('conv4', 512, 3),
  Conv('conv5', 512, 3),
  Pool('pool5', 2),
  Linear('fc6', 4096),
  Dropout(),
  Linear('fc7', 1024),
  Dropout(),
  Linear('fc8', CLASSES),
)

# Lin et al. (2013), "Network in Network", arXiv 1312.4400, as published for CIFAR-10.
NIN = (
  Conv('conv1', 192, 5),
  Conv('cccp1', 160, 1),
  Conv('cccp2', 96, 1),
  Pool('pool1', pool_rounding='ceil'),
  Dropout(),
  Conv('conv2', 192, 5),
  Conv('cccp3', 192, 1),
  Conv('cccp4', 192, 1),
  Pool('pool2', pool_rounding='ceil', kind='avg'),
  Dropout(),
  Conv('conv3', 192, 3),
  Conv('cccp5', 192, 1),
  Conv('cccp6', CLASSES, 1),
  Mean('pool3'),
)


def vgg(*depths: int) -> tuple:
  """Simonyan and Zisserman (2014), arXiv 1409.1556, Table 1, of so many convolutions a stage."""
  layers = []
  for stage, (depth, features) in enumerate(zip(depths, (64, 128, 256, 512, 512), strict=True), 1):
    layers += [Conv(f'conv{stage}_{i}', features, 3) for i in range(1, depth + 1)]
    layers.append(Pool(f'pool{stage}', 2))
  return (*layers, *CLASSIFIER)


class Chain(nn.Module):
  """A network whose layers follow each other.

  Attributes:
    layers: the table.
    num_classes: number of classes.
    width: multiplier of all channel counts but the input's and the classes', rounded to
      multiples of 8.
    norm: 'none', or 'batch' after every convolution in place of its bias.
    activation: function after every layer but a last linear one.
    dropout: share of the activations dropped where the table says so.
    dtype: type of the computation; parameters and outputs are float32.
    kernel_init: a key of `layers.KERNEL_INITS`.
    bias_init: constant that biases start from.
    bn_axis: mapped axis over which batch statistics are averaged.
  """

  layers: tuple
  num_classes: int = 1000
  width: float = 1.0
  norm: str = 'none'
  activation: Callable = nn.relu
  dropout: float = 0.5
  dtype: Any = jnp.float32
  kernel_init: str = 'he'
  bias_init: float = 0.0
  bn_axis: str | None = None

  @nn.compact
  @checked
  def __call__(self, images: jax.Array, *, train: bool) -> Outputs:
    """Classifies `[B, H, W, C]` float32; see `GoogLeNet`.

    Raises:
      InputError: a field has no such value, or the image leaves no pixels.
    """
    dtype, init = jnp.dtype(self.dtype), initializer(self.kernel_init)
    conv = partial(
      ConvBlock,
      batch_norm=self.norm == 'batch',
      bn_epsilon=1e-5,
      bn_axis=self.bn_axis,
      activation=self.activation,
      kernel_init=init,
      dtype=dtype,
    )

    def features(layer):
      if layer.features == CLASSES:
        return self.num_classes
      return layer.features if self.width == 1 else scaled(layer.features, self.width)

    def constant(bias):
      return nn.initializers.constant(self.bias_init if bias is None else bias)

    x = images.astype(dtype)
    for layer in self.layers:
      match layer:
        case Conv(name, _, window, stride, padding, groups, bias):
          shape = features(layer), window, stride, padding, groups
          x = conv(*shape, bias_init=constant(bias), name=name)(x, train=train)
        case Pool(name, window, stride, pool_rounding, kind):
          with jax.named_scope(name):
            pool = max_pool if kind == 'max' else avg_pool
            x = pool(x, window, stride, pool_rounding)
        case Norm(name, alpha, k):
          with jax.named_scope(name):
            x = local_response_norm(x, alpha=alpha, k=k)
        case Mean(name):
          with jax.named_scope(name):
            x = jnp.mean(x, axis=(1, 2))
        case Dropout():
          x = nn.Dropout(self.dropout, deterministic=not train)(x)
        case Linear(name, _, bias):
          x = x.reshape(len(x), -1)
          linear = nn.Dense(
            features(layer), dtype=dtype, kernel_init=init, bias_init=constant(bias), name=name
          )
          x = linear(x) if layer.features == CLASSES else self.activation(linear(x))
    return Outputs(x.astype(jnp.float32))

  def check(self) -> None:
    """Raises InputError for a field that has no such value."""
    if self.norm not in ('none', 'batch'):
      raise InputError(f"model.norm={self.norm!r}: this network takes 'none' or 'batch'")
