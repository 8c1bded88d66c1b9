"""Inception v3: Szegedy et al., "Rethinking the Inception Architecture", arXiv 1512.00567.

As published with weights by TensorFlow and torchvision, whose names the modules have.
"""

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
  checked,
  initializer,
  max_pool,
  scaled,
)


class Conv(NamedTuple):
  """A convolution; None pads by half the window."""

  name: str
  features: int
  window: int | tuple[int, int] = 1
  stride: int = 1
  padding: int | None = None


class Split(NamedTuple):
  """Convolutions over one input, concatenated."""

  convs: tuple[Conv, ...]


# A module is its branches, a branch its layers in their order; 'avg' is a 3x3 pool of stride 1,
# 'max' a 3x3 pool of stride 2.
Branches = tuple[tuple[Conv | Split | str, ...], ...]


def module_a(pool_features: int) -> Branches:
  """35x35 (Figure 5)."""
  return (
    (Conv('branch1x1', 64),),
    (Conv('branch5x5_1', 48), Conv('branch5x5_2', 64, 5)),
    (
      Conv('branch3x3dbl_1', 64),
      Conv('branch3x3dbl_2', 96, 3),
      Conv('branch3x3dbl_3', 96, 3),
    ),
    ('avg', Conv('branch_pool', pool_features)),
  )


def module_c(features: int) -> Branches:
  """17x17, 7x7 factorised (Figure 6)."""
  c = features
  return (
    (Conv('branch1x1', 192),),
    (
      Conv('branch7x7_1', c),
      Conv('branch7x7_2', c, (1, 7)),
      Conv('branch7x7_3', 192, (7, 1)),
    ),
    (
      Conv('branch7x7dbl_1', c),
      Conv('branch7x7dbl_2', c, (7, 1)),
      Conv('branch7x7dbl_3', c, (1, 7)),
      Conv('branch7x7dbl_4', c, (7, 1)),
      Conv('branch7x7dbl_5', 192, (1, 7)),
    ),
    ('avg', Conv('branch_pool', 192)),
  )


def _both(branch: str) -> Split:
  return Split((Conv(f'{branch}a', 384, (1, 3)), Conv(f'{branch}b', 384, (3, 1))))


MODULE_E: Branches = (  # 8x8 (Figure 7)
  (Conv('branch1x1', 320),),
  (Conv('branch3x3_1', 384), _both('branch3x3_2')),
  (Conv('branch3x3dbl_1', 448), Conv('branch3x3dbl_2', 384, 3), _both('branch3x3dbl_3')),
  ('avg', Conv('branch_pool', 192)),
)

STEM = (  # 299x299 -> 35x35
  Conv('Conv2d_1a_3x3', 32, 3, 2, 0),
  Conv('Conv2d_2a_3x3', 32, 3, 1, 0),
  Conv('Conv2d_2b_3x3', 64, 3),
  'max',
  Conv('Conv2d_3b_1x1', 80),
  Conv('Conv2d_4a_3x3', 192, 3, 1, 0),
  'max',
)
MODULES: dict[str, Branches] = {
  'Mixed_5b': module_a(32),
  'Mixed_5c': module_a(64),
  'Mixed_5d': module_a(64),
  'Mixed_6a': (  # to 17x17
    (Conv('branch3x3', 384, 3, 2, 0),),
    (
      Conv('branch3x3dbl_1', 64),
      Conv('branch3x3dbl_2', 96, 3),
      Conv('branch3x3dbl_3', 96, 3, 2, 0),
    ),
    ('max',),
  ),
  'Mixed_6b': module_c(128),
  'Mixed_6c': module_c(160),
  'Mixed_6d': module_c(160),
  'Mixed_6e': module_c(192),
  'Mixed_7a': (  # to 8x8
    (Conv('branch3x3_1', 192), Conv('branch3x3_2', 320, 3, 2, 0)),
    (
      Conv('branch7x7x3_1', 192),
      Conv('branch7x7x3_2', 192, (1, 7)),
      Conv('branch7x7x3_3', 192, (7, 1)),
      Conv('branch7x7x3_4', 192, 3, 2, 0),
    ),
    ('max',),
  ),
  'Mixed_7b': MODULE_E,
  'Mixed_7c': MODULE_E,
}
AUX = 'Mixed_6e'  # the module that the auxiliary classifier follows


def branch_ends(module: str) -> list[str]:
  """Names of the convolutions that a module's branches end in, in the order of its output."""
  ends = [branch[-1] for branch in MODULES[module] if branch[-1] != 'max']
  return [conv.name for end in ends for conv in (end.convs if isinstance(end, Split) else (end,))]


class InceptionModule(nn.Module):
  """Parallel branches over one input, concatenated."""

  branches: Branches
  layer: Callable  # `(layer, x, train) -> x`

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    outputs = []
    for branch in self.branches:
      y = x
      for layer in branch:
        y = self.layer(layer, y, train)
      outputs.append(y)
    return jnp.concatenate(outputs, axis=-1)


class AuxHead(nn.Module):
  """The auxiliary classifier over the last 17x17 map (Figure 8)."""

  num_classes: int
  layer: Callable
  linear: Callable

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    with jax.named_scope('pool'):
      x = nn.avg_pool(x, (5, 5), (3, 3))  # [B, 5, 5, 768]
    x = self.layer(Conv('conv0', 128), x, train)
    x = self.layer(Conv('conv1', 768, 5, 1, 0), x, train)  # [B, 1, 1, 768]
    with jax.named_scope('pool2'):
      x = jnp.mean(x, axis=(1, 2))
    return self.linear(self.num_classes, name='linear')(x)


class InceptionV3(nn.Module):
  """Inception v3 for 299x299 images.

  Attributes:
    num_classes: number of classes.
    width: multiplier of the channels, rounded to multiples of 8.
    aux_heads: ('Mixed_6e',), the module that the auxiliary classifier follows, or ().
    dropout: share of the activations dropped before the classifier.
    dtype: type of the computation; parameters and outputs are float32.
    kernel_init: a key of `layers.KERNEL_INITS`.
    bn_axis: mapped axis over which batch statistics are averaged.
  """

  num_classes: int = 1000
  width: float = 1.0
  aux_heads: tuple[str, ...] = (AUX,)
  dropout: float = 0.5
  dtype: Any = jnp.float32
  kernel_init: str = 'he'
  bn_axis: str | None = None

  @nn.compact
  @checked
  def __call__(self, images: jax.Array, *, train: bool) -> Outputs:
    """Classifies `[B, H, W, C]` float32; see `GoogLeNet`.

    Raises:
      InputError: a field has no such value, or the image leaves no pixels.
    """
    if self.aux_heads not in ((), (AUX,)):
      raise InputError(f'model.aux_heads={self.aux_heads!r}: Inception v3 takes {(AUX,)} or ()')
    dtype, init = jnp.dtype(self.dtype), initializer(self.kernel_init)
    block = partial(ConvBlock, batch_norm=True, bn_axis=self.bn_axis, kernel_init=init, dtype=dtype)
    linear = partial(nn.Dense, kernel_init=init, dtype=dtype)

    def apply(layer, x, train):
      if layer == 'avg':  # torch counts the padding
        with jax.named_scope('pool'):
          return nn.avg_pool(x, (3, 3), (1, 1), ((1, 1), (1, 1)))
      if layer == 'max':
        with jax.named_scope('pool'):
          return max_pool(x, 3, 2, 'floor')
      if isinstance(layer, Split):
        return jnp.concatenate([apply(conv, x, train) for conv in layer.convs], axis=-1)
      name, features, window, stride, padding = layer
      conv = block(scaled(features, self.width), window, stride, padding, name=name)
      return conv(x, train=train)

    x, aux = images.astype(dtype), ()
    for layer in STEM:
      x = apply(layer, x, train)
    for name, branches in MODULES.items():
      x = InceptionModule(branches, apply, name=name)(x, train=train)
      if name in self.aux_heads and (train or self.is_initializing()):
        head = AuxHead(self.num_classes, apply, linear, name='aux1')
        aux = (head(x, train=train).astype(jnp.float32),)
    with jax.named_scope('pool8'):
      x = jnp.mean(x, axis=(1, 2))  # [B, 2048]
    x = nn.Dropout(self.dropout, deterministic=not train)(x)
    logits = linear(self.num_classes, name='linear')(x)
    return Outputs(logits.astype(jnp.float32), aux if train else ())
