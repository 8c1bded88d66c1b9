"""ResNets: He et al., "Deep Residual Learning for Image Recognition", arXiv 1512.03385."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from googlenet_jax.errors import InputError
from googlenet_jax.models.layers import ConvBlock, Outputs, checked, initializer, max_pool, scaled

STEMS = ('imagenet', 'cifar')  # 7x7/2 and a pool; 3x3
SHORTCUTS = ('projection', 'pad', 'none')


class Block(nn.Module):
  """Convolutions, and their input added before the last activation (Figures 2 and 5).

  Attributes:
    features: channels of the 3x3 convolutions.
    stride: step of the block, pixels.
    bottleneck: 1x1, 3x3, 1x1 of four times the channels, else 3x3 twice.
    shortcut: 'projection' (1x1 where the shape changes, option B), 'pad' (zeros for the new
      channels, option A) or 'none' (a plain network).
    conv: the convolution block, a partial of `ConvBlock`.
  """

  features: int
  stride: int
  bottleneck: bool
  shortcut: str
  conv: Callable

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    last = nn.relu if self.shortcut == 'none' else None
    if self.bottleneck:  # the stride on the 3x3, as in torchvision and ResNets since
      y = self.conv(self.features, 1, name='conv1')(x, train=train)
      y = self.conv(self.features, 3, self.stride, name='conv2')(y, train=train)
      y = self.conv(4 * self.features, 1, activation=last, name='conv3')(y, train=train)
    else:
      y = self.conv(self.features, 3, self.stride, name='conv1')(x, train=train)
      y = self.conv(self.features, 3, activation=last, name='conv2')(y, train=train)
    if self.shortcut == 'none':
      return y
    if x.shape != y.shape:
      if self.shortcut == 'projection':
        projection = self.conv(y.shape[-1], 1, self.stride, activation=None, name='shortcut')
        x = projection(x, train=train)
      else:
        new = y.shape[-1] - x.shape[-1]
        x = x[:, :: self.stride, :: self.stride]
        x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (new // 2, new - new // 2)))
    return nn.relu(x + y)


class ResNet(nn.Module):
  """A residual network, or its plain twin.

  Attributes:
    blocks: number of blocks in each stage.
    features: channels of the first stage; every further one has twice as many.
    bottleneck, shortcut: see `Block`.
    stem: 'imagenet' (Table 1) or 'cifar' (section 4.2).
    num_classes: number of classes.
    width: multiplier of the channels, rounded to multiples of 8.
    dropout: share of the activations dropped before the classifier.
    dtype: type of the computation; parameters and outputs are float32.
    kernel_init: a key of `layers.KERNEL_INITS`.
    bn_axis: mapped axis over which batch statistics are averaged.
  """

  blocks: tuple[int, ...]
  features: int = 64
  bottleneck: bool = False
  shortcut: str = 'projection'
  stem: str = 'imagenet'
  num_classes: int = 1000
  width: float = 1.0
  dropout: float = 0.0
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
    dtype, init = jnp.dtype(self.dtype), initializer(self.kernel_init)
    conv = partial(
      ConvBlock,
      batch_norm=True,
      bn_epsilon=1e-5,
      bn_axis=self.bn_axis,
      kernel_init=init,
      dtype=dtype,
    )
    first = scaled(self.features, self.width)
    x = images.astype(dtype)
    if self.stem == 'imagenet':
      x = conv(first, 7, 2, name='conv1')(x, train=train)
      with jax.named_scope('pool1'):
        x = max_pool(x, 3, 2, 1)
    else:
      x = conv(first, 3, name='conv1')(x, train=train)
    for stage, blocks in enumerate(self.blocks):
      for i in range(blocks):
        x = Block(
          features=first * 2**stage,
          stride=2 if stage and not i else 1,
          bottleneck=self.bottleneck,
          shortcut=self.shortcut,
          conv=conv,
          name=f'conv{stage + 2}_{i + 1}',
        )(x, train=train)
    with jax.named_scope('pool5'):
      x = jnp.mean(x, axis=(1, 2))
    x = nn.Dropout(self.dropout, deterministic=not train)(x)
    logits = nn.Dense(self.num_classes, kernel_init=init, dtype=dtype, name='linear')(x)
    return Outputs(logits.astype(jnp.float32))

  def check(self) -> None:
    """Raises InputError for a field that has no such value."""
    if self.stem not in STEMS:
      raise InputError(f'model.stem={self.stem!r}: a ResNet takes one of {STEMS}')
    if self.shortcut not in SHORTCUTS:
      raise InputError(f'model.shortcut={self.shortcut!r}: a ResNet takes one of {SHORTCUTS}')
