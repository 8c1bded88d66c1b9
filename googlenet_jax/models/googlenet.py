"""GoogLeNet: Szegedy et al., "Going Deeper with Convolutions", arXiv 1409.4842."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from googlenet_jax.errors import InputError
from googlenet_jax.models.inception import MODULES, POOL_BRANCHES, InceptionModule, Widths
from googlenet_jax.models.layers import (
  POOL_ROUNDINGS,
  ConvBlock,
  Outputs,
  adaptive_avg_pool,
  checked,
  initializer,
  local_response_norm,
  max_pool,
  scaled,
)

# (layer, channels, window, stride); pools have no channels.
STEMS: dict[str, tuple[tuple[str, int, int, int], ...]] = {
  # Table 1: 224 pixels come out as 28.
  'imagenet': (
    ('conv1', 64, 7, 2),
    ('pool1', 0, 3, 2),
    ('norm1', 0, 0, 0),
    ('conv2_reduce', 64, 1, 1),
    ('conv2', 192, 3, 1),
    ('norm2', 0, 0, 0),
    ('pool2', 0, 3, 2),
  ),
  # For 32x32 images: 32 pixels stay 32, the modules run at 32, 16 and 8.
  'cifar': (
    ('conv1', 64, 3, 1),
    ('norm1', 0, 0, 0),
    ('conv2_reduce', 64, 1, 1),
    ('conv2', 192, 3, 1),
    ('norm2', 0, 0, 0),
  ),
  # The same at a quarter of the cost: the modules run at 16, 8 and 4 pixels.
  'compact': (
    ('conv1', 96, 3, 1),
    ('pool1', 0, 3, 2),
    ('norm1', 0, 0, 0),
    ('conv2', 192, 3, 1),
    ('norm2', 0, 0, 0),
  ),
  # That of a tutorial (configs/tutorial.py): Table 1's without norms and conv2_reduce.
  'tutorial': (
    ('conv1', 64, 7, 2),
    ('pool1', 0, 3, 2),
    ('conv2', 192, 3, 1),
    ('pool2', 0, 3, 2),
  ),
}
LINEAR_STEMS = ('tutorial',)  # whose convolutions no ReLU follows


# What the fields of GoogLeNet may be.
CHOICES: dict[str, tuple] = {
  'module': ('reduced', 'naive'),
  'norm': ('none', 'lrn', 'batch'),
  'kernel_5x5': (5, 3),
  'stem': tuple(STEMS),
  'classifier': ('avgpool', 'fc', 'linear'),
  'pool_branch': tuple(POOL_BRANCHES),
  'pool_rounding': POOL_ROUNDINGS,
  'last_pool': (3, 2),
  'aux_pool': ('5x5', 'adaptive'),
}

# ImageNet's statistics of RGB in [0, 1], as torchvision normalises with.
TORCHVISION_MEAN, TORCHVISION_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class AuxHead(nn.Module):
  """Auxiliary classifier (section 5): average pool 5x5/3, 1x1 conv, two linear layers.

  A map below 5 pixels is averaged whole. With `pool='adaptive'`, torchvision's, any map is
  averaged to 4x4.
  """

  num_classes: int
  pool: str
  conv_features: int
  fc_features: int
  dropout: float
  conv: Callable
  linear: Callable

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """`[B, H, W, C]` to `[B, classes]`; the shapes below are those of the paper's network."""
    if self.pool == 'adaptive':
      x = adaptive_avg_pool(x, 4)
    else:
      window = (5, 5) if min(x.shape[1:3]) >= 5 else x.shape[1:3]
      with jax.named_scope('pool'):
        x = nn.avg_pool(x, window, (3, 3))  # [B, 4, 4, C] of 14x14
    x = self.conv(self.conv_features, 1, name='conv')(x, train=train)
    x = x.reshape(x.shape[0], -1)  # [B, 2048]
    x = nn.relu(self.linear(self.fc_features, name='fc')(x))  # [B, 1024]
    x = nn.Dropout(self.dropout, deterministic=not train)(x)
    return self.linear(self.num_classes, bias_init=nn.initializers.zeros, name='linear')(x)


class GoogLeNet(nn.Module):
  """GoogLeNet and its variants; the defaults are the paper's network.

  Where the paper is silent (initialisation), the defaults are those of the published
  BVLC weights.

  Attributes:
    num_classes: number of classes.
    width: multiplier of all channel counts but the input's and the classes', rounded
      to multiples of 8.
    modules: channels of each module, exactly: `width` does not scale these; None for Table 1's.
      `{'3a': (64, 96, 128, 16, 32, 32), ...}`, in the order of `Widths`; a 0 leaves a branch out.
    module: 'reduced' (Figure 2b) or 'naive' (Figure 2a).
    norm: 'none', 'lrn' (twice in the stem, Figure 3) or 'batch' (after every
      convolution, in place of its bias).
    kernel_5x5: window of the "5x5" branch: 5, or 3 as in torchvision.
    stacked, reduction_relu, pool_branch: see `InceptionModule`.
    stem: a key of `STEMS`.
    aux_heads: modules that an auxiliary classifier follows; () for none.
    classifier: 'avgpool' (global average pool, dropout, linear), 'fc' (the flattened
      map through a hidden linear layer of 1024, dropout, linear) or 'linear' (the flattened map,
      dropout, linear).
    dropout, aux_dropout: share of the activations dropped, main and auxiliary.
    pool_rounding: rounding of the max pools' sizes: 'same', 'ceil' or 'floor'
      (`layers.pool_padding`).
    last_pool: window of the pool before stage 5, stride 2: 3, or 2 as in torchvision.
    aux_pool: pool of the auxiliary heads: '5x5' with stride 3, or 'adaptive' to 4x4.
    transform_input: take images normalised with ImageNet's statistics and bring them to
      [-1, 1], as torchvision's network does.
    dtype: type of the computation; parameters and outputs are float32.
    kernel_init: a key of `layers.KERNEL_INITS`, or an initialiser.
    bias_init: constant that biases start from (classifiers: 0).
    bn_axis: mapped axis over which batch statistics are averaged.
  """

  num_classes: int = 1000
  width: float = 1.0
  modules: Mapping[str, Sequence[int]] | None = None
  module: str = 'reduced'
  norm: str = 'lrn'
  kernel_5x5: int = 5
  stacked: bool = False
  reduction_relu: bool = True
  pool_branch: str = 'max'
  stem: str = 'imagenet'
  aux_heads: tuple[str, ...] = ('4a', '4d')
  classifier: str = 'avgpool'
  dropout: float = 0.4
  aux_dropout: float = 0.7
  pool_rounding: str = 'same'
  last_pool: int = 3
  aux_pool: str = '5x5'
  transform_input: bool = False
  dtype: Any = jnp.float32
  kernel_init: str | Callable = 'xavier'
  bias_init: float = 0.2
  bn_axis: str | None = None

  @nn.compact
  @checked
  def __call__(self, images: jax.Array, *, train: bool) -> Outputs:
    """Classifies images.

    Args:
      images: `[B, H, W, C]` float32, normalised.
      train: whether auxiliary logits are returned, dropout is applied (needs the rng 'dropout') and
        batch norm uses this batch's statistics (needs the collection 'batch_stats' mutable).

    Raises:
      InputError: a field has no such value, or the image leaves no pixels.
    """
    dtype = jnp.dtype(self.dtype)
    init = initializer(self.kernel_init)
    bias_init = nn.initializers.constant(self.bias_init)
    conv = partial(
      ConvBlock,
      batch_norm=self.norm == 'batch',
      bn_axis=self.bn_axis,
      kernel_init=init,
      bias_init=bias_init,
      dtype=dtype,
    )
    linear = partial(nn.Dense, kernel_init=init, bias_init=bias_init, dtype=dtype)
    x = self._stem(self._transformed(images).astype(dtype), conv, train)
    x, aux = self._modules(x, conv, linear, train)
    if self.classifier == 'avgpool':
      with jax.named_scope('pool5'):
        x = jnp.mean(x, axis=(1, 2))  # [B, 1024]
    else:
      x = x.reshape(x.shape[0], -1)  # [B, 50176]
    if self.classifier == 'fc':
      x = nn.relu(linear(scaled(1024, self.width), name='fc')(x))
    x = nn.Dropout(self.dropout, deterministic=not train)(x)
    logits = linear(self.num_classes, bias_init=nn.initializers.zeros, name='linear')(x)
    # Initialisation runs the auxiliary heads too, for their parameters; only training returns them.
    outputs = Outputs(logits, aux if train else ())
    return jax.tree.map(lambda y: y.astype(jnp.float32), outputs)

  def _transformed(self, images):
    if not self.transform_input:
      return images
    if images.shape[-1] != 3:
      raise InputError(f'transform_input needs RGB, not {images.shape[-1]} channels')
    mean, std = jnp.array(TORCHVISION_MEAN), jnp.array(TORCHVISION_STD)
    return (images * std + mean - 0.5) / 0.5

  def _stem(self, x, conv, train):
    if self.stem in LINEAR_STEMS:
      conv = partial(conv, activation=None)
    rows = [row for row in STEMS[self.stem] if self.norm == 'lrn' or not row[0].startswith('norm')]
    while rows:
      name, features, window, stride = rows.pop(0)
      if name.startswith('conv'):
        pool = None
        if self._pools_early(train) and rows and rows[0][0].startswith('pool'):
          pool = self._max_pool(*rows.pop(0)[2:])
        block = conv(scaled(features, self.width), window, stride, name=name)
        x = block(x, train=train, pool=pool)
        continue
      with jax.named_scope(name):
        x = self._max_pool(window, stride)(x) if name.startswith('pool') else local_response_norm(x)
    return x

  def _max_pool(self, window, stride):
    return partial(max_pool, window=window, stride=stride, pool_rounding=self.pool_rounding)

  def _pool_before(self, name):
    """The pool between two stages, before the module of this name."""
    return self._max_pool(self.last_pool if name[0] == '5' else 3, 2)

  def _pools_early(self, train):
    """Whether max pools run inside the layers before them, on what is not yet normalised.

    A training step then moves a fifth less in a TPU's memory. Elsewhere each layer returns what it
    is named for, which the tables of costs and of shapes show.
    """
    return train and not self.is_initializing()

  def _modules(self, x, conv, linear, train):
    """The Inception modules of stages 3 to 5, and the logits of the auxiliary heads."""
    aux, widths_of = [], self.widths()
    heads = [name for name in widths_of if name in self.aux_heads]
    names = [*widths_of]
    stage, pooled = '3', False
    for name, following in zip(names, names[1:] + names[-1:], strict=True):
      if name[0] != stage and not pooled:  # 28x28 -> 14x14 -> 7x7
        with jax.named_scope(f'pool{stage}'):
          x = self._pool_before(name)(x)
      stage = name[0]
      pooled = following[0] != stage and name not in heads and self._pools_early(train)
      module = InceptionModule(
        widths=widths_of[name],
        reduced=self.module == 'reduced',
        kernel_5x5=self.kernel_5x5,
        stacked=self.stacked,
        reduction_relu=self.reduction_relu,
        pool_branch=self.pool_branch,
        conv=conv,
        name=f'inception_{name}',
      )
      x = module(x, train=train, pool=self._pool_before(following) if pooled else None)
      if name in heads and (train or self.is_initializing()):
        head = AuxHead(
          num_classes=self.num_classes,
          pool=self.aux_pool,
          conv_features=scaled(128, self.width),
          fc_features=scaled(1024, self.width),
          dropout=self.aux_dropout,
          conv=conv,
          linear=linear,
          name=f'aux{heads.index(name) + 1}',
        )
        aux.append(head(x, train=train))
    return x, tuple(aux)

  def widths(self) -> dict[str, Widths]:
    """Channels of each module."""
    if self.modules is None:
      return {
        name: Widths(*(scaled(w, self.width) for w in widths)) for name, widths in MODULES.items()
      }
    return {name: Widths(*widths) for name, widths in sorted(self.modules.items())}

  def check(self) -> None:
    """Raises InputError for a field that has no such value."""
    for field, allowed in CHOICES.items():
      if getattr(self, field) not in allowed:
        raise InputError(f'GoogLeNet.{field}={getattr(self, field)!r}: use one of {allowed}')
    modules = self.modules or {}
    if not isinstance(modules, Mapping):
      raise InputError(f'GoogLeNet.modules={modules!r}: use a dict of modules')
    for name, widths in modules.items():
      whole = isinstance(widths, Sequence) and all(isinstance(w, int) and w >= 0 for w in widths)
      six = whole and len(widths) == len(Widths._fields)
      if not six or not re.fullmatch('[345][a-z]', name):
        raise InputError(
          f'GoogLeNet.modules={{{name!r}: {widths}}}: name modules 3a to 5z, and give each '
          f'six channel counts: {", ".join(Widths._fields)}'
        )
      if missing := Widths(*widths).missing(reduced=self.module == 'reduced'):
        raise InputError(f'GoogLeNet.modules={{{name!r}: {widths}}}: {missing}')
    modules = modules or MODULES
    if set(self.aux_heads) - set(modules):
      raise InputError(f'GoogLeNet.aux_heads={self.aux_heads!r}: use modules of {tuple(modules)}')
