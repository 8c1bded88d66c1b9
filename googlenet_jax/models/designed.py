"""The network that a table describes: what Inception v2 to v4 and Xception have in common."""

from functools import partial
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from googlenet_jax.errors import InputError
from googlenet_jax.models.bricks import Brick, Builder, Conv, Layer, Module, Pool
from googlenet_jax.models.layers import ConvBlock, Outputs, checked, initializer

# For 32x32 images: the modules run at about 32, 16 and 8 pixels, or at 16, 8 and 4.
SMALL_STEMS: dict[str, tuple[Layer, ...]] = {
  'cifar': (Conv('conv1', 64, 3), Conv('conv2_reduce', 64), Conv('conv2', 192, 3)),
  'compact': (Conv('conv1', 96, 3), Pool('max', 3, 2), Conv('conv2', 192, 3)),
}


class Design(NamedTuple):
  """The table of a network.

  Attributes:
    stems: layers before the first module, by `model.stem`.
    modules: modules by name, in order.
    head_after: module that an auxiliary head may follow; '' for none.
    last: layers after the last module.
    epsilon: term that batch norm adds to the variance.
  """

  stems: dict[str, tuple[Layer, ...]]
  modules: dict[str, Module]
  head_after: str = ''
  last: tuple[Layer, ...] = ()
  epsilon: float = 1e-3


class AuxHead(nn.Module):
  """The auxiliary classifier over a 17x17 map: TF-slim's, after arXiv 1512.00567, Figure 8.

  Its Inception v4 and Inception-ResNet-v2 have the same.
  """

  num_classes: int
  builder: Builder
  linear: Any

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """`[B, H, W, C]` to `[B, classes]`."""
    with jax.named_scope('pool'):
      x = nn.avg_pool(x, (5, 5), (3, 3))  # [B, 5, 5, C]
    x = self.builder(Conv('conv0', 128), x, train)
    side = min(5, *x.shape[1:3])  # smaller for small images only
    x = self.builder(Conv('conv1', 768, side, 1, 0), x, train)  # [B, 1, 1, 768]
    with jax.named_scope('pool2'):
      x = jnp.mean(x, axis=(1, 2))
    return self.linear(self.num_classes, name='linear')(x)


class Designed(nn.Module):
  """A network made from its class's table, `design`.

  Attributes:
    num_classes: number of classes.
    width: multiplier of the channels, rounded to multiples of 8.
    stem: layers before the first module: 'imagenet', or 'cifar' or 'compact' for 32x32 images.
    aux_heads: the module that the auxiliary classifier follows, `(design.head_after,)`, or ().
    dropout: share of the activations dropped before the classifier.
    dtype: type of the computation; parameters and outputs are float32.
    kernel_init: a key of `layers.KERNEL_INITS`.
    bn_axis: mapped axis over which batch statistics are averaged.
  """

  design: ClassVar[Design]

  num_classes: int = 1000
  width: float = 1.0
  stem: str = 'imagenet'
  aux_heads: tuple[str, ...] = ()
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
    block = partial(
      ConvBlock,
      batch_norm=True,
      bn_epsilon=self.design.epsilon,
      bn_axis=self.bn_axis,
      kernel_init=init,
      dtype=dtype,
    )
    linear = partial(nn.Dense, kernel_init=init, dtype=dtype)
    build = Builder(block, self.width)

    x, aux = images.astype(dtype), ()
    for row in self.design.stems[self.stem]:
      x = build(row, x, train)
    for name, module in self.design.modules.items():
      x = Brick(module, build, name=name)(x, train=train)
      if name in self.aux_heads and (train or self.is_initializing()):
        head = AuxHead(self.num_classes, build, linear, name='aux1')
        aux = (head(x, train=train).astype(jnp.float32),)
    for row in self.design.last:
      x = build(row, x, train)
    with jax.named_scope('last_pool'):
      x = jnp.mean(x, axis=(1, 2))
    x = nn.Dropout(self.dropout, deterministic=not train)(x)
    logits = linear(self.num_classes, name='linear')(x)
    return Outputs(logits.astype(jnp.float32), aux if train else ())

  def check(self) -> None:
    """Raises InputError for a field that has no such value."""
    name, stems, head = type(self).__name__, tuple(self.design.stems), self.design.head_after
    if self.stem not in stems:
      raise InputError(f'{name}.stem={self.stem!r}: use one of {stems}')
    if self.aux_heads not in ((), (head,)) or self.aux_heads == ('',):
      takes = f'{(head,)} or ()' if head else '()'
      raise InputError(f'model.aux_heads={self.aux_heads!r}: {name} takes {takes}')
