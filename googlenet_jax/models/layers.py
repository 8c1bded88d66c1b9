"""The parts that the networks are made of: convolution block, pooling, LRN.

Geometry (where a window falls, how many pixels come out) is part of a network's
identity, so every layer here pads explicitly instead of through 'SAME'.
"""

import functools
import math
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from googlenet_jax.errors import InputError
from googlenet_jax.models import cpu_forms
from googlenet_jax.models.batch_norm import BatchNorm


class Outputs(NamedTuple):
  """What every network returns.

  Attributes:
    logits: `[B, classes]` float32 of the main classifier.
    aux: one `[B, classes]` float32 per auxiliary classifier in training, lowest
      first; `()` in evaluation and for networks that have none.
  """

  logits: jax.Array
  aux: tuple[jax.Array, ...] = ()


class TooSmall(InputError):
  """A window does not fit into a map: the images are too small."""


DTYPES = ('float32', 'bfloat16')

# Checks of the networks' common fields, and what an error says to use.
FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
  'num_classes': (lambda x: x >= 1 and x == operator.index(x), 'a whole number, at least 1'),
  'width': (lambda x: 0 < x < float('inf'), 'a number above 0'),
  'dropout': (lambda x: 0 <= x < 1, 'a share in [0, 1)'),
  'aux_dropout': (lambda x: 0 <= x < 1, 'a share in [0, 1)'),
  'dtype': (lambda x: jnp.dtype(x).name in DTYPES, f'one of {", ".join(DTYPES)}'),
}


def check_fields(network: nn.Module) -> None:
  """Raises InputError for a value that a field cannot have, by `FIELDS` and its own `check`."""
  for field, (test, text) in FIELDS.items():
    value = getattr(network, field, None)
    try:
      fine = value is None or test(value)
    except (TypeError, ValueError, OverflowError):  # a value of another type than the test's
      fine = False
    if not fine:
      raise InputError(f'{type(network).__name__}.{field}={value!r}: use {text}')
  if hasattr(network, 'check'):
    network.check()


def checked(call: Callable) -> Callable:
  """Wraps a network's `__call__`: unusable fields and images raise an InputError of one line."""

  @functools.wraps(call)
  def wrapped(self, images, *, train):
    check_fields(self)
    if images.ndim != 4:
      raise InputError(
        f'images of shape {images.shape}: {type(self).__name__} takes [B, H, W, C]'
        + (': one image is images[None]' if images.ndim == 3 else '')
      )
    try:
      return call(self, images, train=train)
    except TooSmall as error:
      where, others = 'this network', ''
      if hasattr(self, 'stem'):
        where = f'a {type(self).__name__} with the stem {self.stem!r}'
        others = ' or --config.model.stem=cifar'
      if hasattr(self, 'pool_rounding'):
        others = f', --config.model.pool_rounding=same{others}'
      if str(error).startswith('aux'):
        others = ', or leave the head out: --config.model.aux_heads="()"'
      raise InputError(
        f'images of {images.shape[1]}x{images.shape[2]} pixels are too small for {where}: {error}: '
        f'use larger images (--config.dataset.image_size enlarges them){others}'
      ) from error

  return wrapped


def _drawn(draw: Callable, factor: Callable[[int], float]) -> Callable:
  """An initialiser: `draw(key, shape, dtype)` times a function of the inputs of an output, fan_in.

  As many values are drawn as the next power of two, and the first ones kept: XLA then compiles one
  program for many shapes, which takes two thirds of the time for the digits. By default jax
  draws each value by its place alone, so they are those of the shape itself.
  """

  def init(key, shape, dtype=jnp.float32):
    size = math.prod(shape)
    values = draw(key, (1 << (size - 1).bit_length(),), dtype)[:size].reshape(shape)
    return values * jnp.array(factor(size // shape[-1]), dtype)

  return init


def _uniform(key, shape, dtype):
  return jax.random.uniform(key, shape, dtype, -1)  # up to 1: the variance is 1/3


def _truncated_normal(key, shape, dtype):
  deviation = 0.87962566103423978  # standard deviation of a normal cut off at -2 and 2
  return jax.random.truncated_normal(key, -2, 2, shape, dtype) / deviation


KERNEL_INITS: dict[str, Callable] = {
  # Caffe's "xavier": uniform in +-sqrt(3 / fan_in). What BVLC GoogLeNet used.
  'xavier': _drawn(_uniform, lambda fan_in: math.sqrt(3 / fan_in)),
  # He et al. (2015), arXiv 1502.01852: keeps the variance through a ReLU.
  'he': _drawn(_truncated_normal, lambda fan_in: math.sqrt(2 / fan_in)),
  # PyTorch's default: uniform in +-1 / sqrt(fan_in).
  'torch': _drawn(_uniform, lambda fan_in: 1 / math.sqrt(fan_in)),
  # torchvision's GoogLeNet.
  'normal': _drawn(jax.random.normal, lambda _: 0.01),
}


def initializer(kernel_init: str | Callable) -> Callable:
  """A key of `KERNEL_INITS`, or an initialiser itself; InputError for another."""
  if callable(kernel_init):
    return kernel_init
  if kernel_init not in KERNEL_INITS:
    raise InputError(f'model.kernel_init={kernel_init!r}: use one of {tuple(KERNEL_INITS)}')
  return KERNEL_INITS[kernel_init]


def scaled(channels: int, width: float) -> int:
  """`channels * width` rounded to the nearest multiple of 8, at least 8."""
  return max(8, int(channels * width / 8 + 0.5) * 8)


class ConvBlock(nn.Module):
  """Convolution, then a bias or batch norm, then an activation.

  The parameters `kernel` (HWIO) and `bias` lie directly below the block's name, so
  that `inception_3a/reduce_5x5/kernel` stays that path however the convolution is
  computed.

  Attributes:
    features: output channels.
    kernel_size: size of the window, pixels: a side, or (height, width).
    strides: step of the window, pixels.
    padding: pixels on every side; None for half the window, as in Caffe and torch.
    groups: parts of the channels that do not see each other.
    batch_norm: normalise with batch statistics instead of adding a bias.
    use_bias: add a bias where there is no batch norm.
    bn_epsilon: term added to the variance.
    bn_axis: mapped axis over which statistics are averaged; None for each device
      its own.
    activation: function of the result; None for none.
    kernel_init, bias_init: initialisers.
    dtype: type of the computation; parameters and statistics are float32.
  """

  features: int
  kernel_size: int | tuple[int, int] = 1
  strides: int = 1
  padding: int | None = None
  groups: int = 1
  batch_norm: bool = False
  use_bias: bool = True
  bn_epsilon: float = 1e-3
  bn_axis: str | None = None
  activation: Callable | None = nn.relu
  kernel_init: Callable = KERNEL_INITS['xavier']
  bias_init: Callable = nn.initializers.zeros
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self,
    x: jax.Array,
    *,
    train: bool,
    convolved: bool = False,
    pool: Callable | None = None,
  ) -> jax.Array:
    """`[B, H, W, C]` to `[B, H', W', features]`.

    Args:
      x: input, or the convolution's result where `convolved`.
      train: whether batch norm uses the batch's statistics.
      convolved: whether the caller has run the convolution, as `InceptionModule` does.
      pool: a max pool of the result, run before what gives the same values afterwards; None for
        none. The activation must be None or one that never falls.
    """
    x = x.astype(self.dtype) if convolved else self._convolve(x)
    if self.batch_norm:
      x = BatchNorm(
        use_running_average=not train,
        epsilon=self.bn_epsilon,
        axis_name=self.bn_axis,
        dtype=self.dtype,
        name='bn',
      )(x, pool)
    else:
      x = pool(x) if pool else x
      if self.use_bias:
        x = x + self.param('bias', self.bias_init, (self.features,)).astype(self.dtype)
    return self.activation(x) if self.activation else x

  @property
  def window(self) -> tuple[int, int]:
    """(height, width), pixels."""
    size = self.kernel_size
    return size if isinstance(size, tuple) else (size, size)

  @property
  def pads(self) -> tuple[int, int]:
    """Padding of both sides, pixels: (height, width)."""
    return tuple(n // 2 if self.padding is None else self.padding for n in self.window)

  def _convolve(self, x):
    window, padding = self.window, self.pads
    if any(n + 2 * pad < side for n, pad, side in zip(x.shape[1:3], padding, window, strict=True)):
      raise TooSmall(
        f'{"/".join(self.path)}, a window of {window[0]}x{window[1]} pixels, is left a map of '
        f'{x.shape[1]}x{x.shape[2]}'
      )
    shape = (*window, x.shape[-1] // self.groups, self.features)
    # Flax traces the initialiser wherever the kernel is looked up, to compare shapes.
    init = self.kernel_init if self.is_initializing() else nn.initializers.zeros
    kernel = self.param('kernel', init, shape)
    x, kernel = x.astype(self.dtype), kernel.astype(self.dtype)
    return cpu_forms.convolution(x, kernel, self.strides, padding, self.groups)


CLASSIFIERS = ('linear', 'fc5', 'fc8', 'cccp6')  # names of the layers that compute the logits
POOL_ROUNDINGS = ('same', 'ceil', 'floor')


def pool_padding(size: int, window: int, stride: int, pool_rounding: str | int) -> tuple[int, int]:
  """Padding (before, after) of one spatial axis for a pooling window.

  Args:
    size: pixels along the axis.
    window, stride: size and step of the pool, pixels.
    pool_rounding: 'same' gives ceil(size / stride) outputs with the padding split between
      the sides; 'ceil' starts at pixel 0 and lets the last window hang over the edge
      (Caffe); 'floor' only uses windows that fit (no padding); a number is that of pixels on
      every side.

  Raises:
    InputError: no window fits, or an unknown rounding.
  """
  if isinstance(pool_rounding, int):
    return pool_rounding, pool_rounding
  if pool_rounding == 'same':
    total = max((-(-size // stride) - 1) * stride + window - size, 0)
    return total // 2, total - total // 2
  if pool_rounding == 'ceil':
    outputs = max(-(-(size - window) // stride), 0) + 1
    if (outputs - 1) * stride >= size:  # Caffe: the last window must start inside
      outputs -= 1
    return 0, max((outputs - 1) * stride + window - size, 0)
  if pool_rounding == 'floor':
    if size < window:
      raise TooSmall(
        f'a {window}x{window} pool with pool_rounding "floor" leaves no pixels of a map {size} wide'
      )
    return 0, 0
  raise InputError(f'pool_rounding {pool_rounding!r}: use one of {POOL_ROUNDINGS}')


def max_pool(x: jax.Array, window: int, stride: int, pool_rounding: str | int) -> jax.Array:
  """Max pooling of `[B, H, W, C]`; padding never wins (see `pool_padding`)."""
  padding = tuple(pool_padding(n, window, stride, pool_rounding) for n in x.shape[1:3])
  return cpu_forms.max_pool(x, window, stride, padding)


def avg_pool(
  x: jax.Array, window: int, stride: int, pool_rounding: str | int, *, counts: bool = False
) -> jax.Array:
  """Average pooling of `[B, H, W, C]` (see `pool_padding`); the padding counts where asked."""
  padding = tuple(pool_padding(n, window, stride, pool_rounding) for n in x.shape[1:3])
  sides = (window, window), (stride, stride)
  return nn.avg_pool(x, *sides, padding, count_include_pad=counts)


def adaptive_avg_pool(x: jax.Array, size: int) -> jax.Array:
  """Average pooling of `[B, H, W, C]` to `[B, size, size, C]`, as torch defines it.

  Window `i` of `size` covers the pixels from floor(i n / size) to ceil((i + 1) n / size).
  """

  def windows(n):
    edges = np.arange(size)[:, None] * n, np.arange(1, size + 1)[:, None] * n
    pixels = np.arange(n)
    inside = (pixels >= edges[0] // size) & (pixels < -(-edges[1] // size))  # [size, n]
    return (inside / inside.sum(1, keepdims=True)).astype(x.dtype)

  rows, columns = windows(x.shape[1]), windows(x.shape[2])
  return jnp.einsum('bhwc,ih,jw->bijc', x, rows, columns, precision='highest')


def local_response_norm(
  x: jax.Array, *, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> jax.Array:
  """Local response normalisation across channels, as in Caffe.

  `x / (k + alpha / size * sum of squares of the `size` nearest channels) ** beta`
  (Krizhevsky et al. 2012, section 3.3, with Caffe's division of alpha by the size).

  Args:
    x: `[B, H, W, C]`.
  """
  # The sum of squares needs float32: bfloat16 has 8 bits, alpha / size is 2e-5.
  squares = jnp.square(x.astype(jnp.float32))
  half = size // 2
  sums = lax.reduce_window(
    squares, 0.0, lax.add, (1, 1, 1, size), (1, 1, 1, 1), [(0, 0)] * 3 + [(half, size - 1 - half)]
  )
  return (x * (k + alpha / size * sums) ** -beta).astype(x.dtype)
