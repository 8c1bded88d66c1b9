"""Bricks of the Inception networks after GoogLeNet: a branch is rows of a table, a module branches.

Factorised convolutions are rows with windows such as (1, 7); residual modules scale what they add
(arXiv 1602.07261, section 3.3); separable convolutions are rows too (arXiv 1610.02357).
"""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from googlenet_jax.models.layers import avg_pool, max_pool, scaled


class Conv(NamedTuple):
  """A convolution, batch norm and ReLU.

  Attributes:
    name: name of the layer.
    features: channels of the output.
    window: side in pixels, or (height, width).
    stride: pixels.
    padding: pixels on every side; None for half the window.
    relu: whether a ReLU follows.
  """

  name: str
  features: int
  window: int | tuple[int, int] = 1
  stride: int = 1
  padding: int | None = None
  relu: bool = True


class Separable(NamedTuple):
  """A 3x3 convolution of each channel alone, one of 1x1, and batch norm.

  Attributes:
    name: name of the layer.
    features: channels of the output.
    relu: place of the ReLU: 'before', 'after' or 'none'.
  """

  name: str
  features: int
  relu: str = 'before'


class Pool(NamedTuple):
  """A pool.

  Attributes:
    kind: 'max' or 'avg'.
    window, stride: pixels.
    padding: pixels on every side, or a rounding (`layers.pool_padding`).
    counts: whether an average counts the padding, as torch does.
  """

  kind: str
  window: int = 3
  stride: int = 1
  padding: int | str = 'same'
  counts: bool = False


class Split(NamedTuple):
  """Convolutions over one input, concatenated."""

  convs: tuple[Conv, ...]


class Nested(NamedTuple):
  """A module in the place of a layer."""

  name: str
  module: 'Module'


Layer = Conv | Separable | Pool | Split | Nested
Branches = tuple[tuple[Layer, ...], ...]  # over one input, concatenated


class Residual(NamedTuple):
  """Branches whose result is added to what goes around them.

  Attributes:
    branches: the branches.
    scale: factor on their result.
    up: name of a 1x1 convolution, with a bias and without batch norm, that brings their result to
      the channels of the input; '' for none.
    shortcut: convolution around the branches; None for the input itself.
    relu: whether a ReLU follows the sum.
  """

  branches: Branches
  scale: float = 1.0
  up: str = ''
  shortcut: Conv | None = None
  relu: bool = True


Module = Branches | Residual


def ends(module: Module) -> list[str]:
  """Names of the layers that a module's branches end in, in the order of its output."""
  branches = module.branches if isinstance(module, Residual) else module
  found = []
  for *_, end in branches:
    layers = end.convs if isinstance(end, Split) else (end,)
    found += [layer.name for layer in layers if not isinstance(layer, Pool)]
  return found


class Builder(NamedTuple):
  """What the rows of a table need to become layers.

  Attributes:
    conv: `layers.ConvBlock` with the network's fields.
    width: multiplier of the channels.
  """

  conv: Callable
  width: float

  def __call__(self, row: Layer, x: jax.Array, train: bool) -> jax.Array:
    """What a row makes of `[B, H, W, C]`; its layers are those of the module that calls this."""
    match row:
      case Conv(name, features, window, stride, padding, relu):
        more = {} if relu else {'activation': None}
        features = scaled(features, self.width)
        return self.conv(features, window, stride, padding, name=name, **more)(x, train=train)
      case Separable(name, features, relu):
        features = scaled(features, self.width)
        return SeparableConv(features, relu, self.conv, name=name)(x, train=train)
      case Split(convs):
        return jnp.concatenate([self(conv, x, train) for conv in convs], axis=-1)
      case Nested(name, module):
        return Brick(module, self, name=name)(x, train=train)
      case Pool():
        with jax.named_scope('pool'):
          return pool(row, x)
    raise TypeError(f'no layer: {row!r}')


def pool(row: Pool, x: jax.Array) -> jax.Array:
  """Pools `[B, H, W, C]`."""
  shape = row.window, row.stride, row.padding
  return max_pool(x, *shape) if row.kind == 'max' else avg_pool(x, *shape, counts=row.counts)


class SeparableConv(nn.Module):
  """See `Separable`; the parameters are `depthwise/kernel`, `pointwise/kernel`, `pointwise/bn`."""

  features: int
  relu: str
  conv: Callable

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """`[B, H, W, C]` to `[B, H, W, features]`."""
    x = nn.relu(x) if self.relu == 'before' else x
    channels = x.shape[-1]
    alone = {'groups': channels, 'batch_norm': False, 'use_bias': False, 'activation': None}
    x = self.conv(channels, 3, name='depthwise', **alone)(x, train=train)
    activation = nn.relu if self.relu == 'after' else None
    return self.conv(self.features, name='pointwise', activation=activation)(x, train=train)


class Brick(nn.Module):
  """A module of a network.

  Attributes:
    module: its table.
    builder: maker of its layers.
  """

  module: Module
  builder: Builder

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """`[B, H, W, C]` to what the branches make, concatenated, or to the sum of a `Residual`."""
    residual = self.module if isinstance(self.module, Residual) else None
    outputs = []
    for branch in residual.branches if residual else self.module:
      y = x
      for row in branch:
        y = self.builder(row, y, train)
      outputs.append(y)
    y = jnp.concatenate(outputs, axis=-1)
    if not residual:
      return y
    if residual.up:
      linear = {'batch_norm': False, 'activation': None}
      y = self.builder.conv(x.shape[-1], name=residual.up, **linear)(y, train=train)
    around = self.builder(residual.shortcut, x, train) if residual.shortcut else x
    y = around + residual.scale * y
    return nn.relu(y) if residual.relu else y
