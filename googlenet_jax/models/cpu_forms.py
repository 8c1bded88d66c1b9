"""Operations computed in another way on a CPU, because XLA's own way is slow there.

Each form equals the stock one (values and gradients, ties included; see the tests) and
is chosen when the step is compiled for a CPU, never elsewhere.
"""

import itertools
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax


def convolution(
  x: jax.Array, kernel: jax.Array, stride: int, padding: tuple[int, int], groups: int
) -> jax.Array:
  """The convolution of `[B, H, W, C]` with an HWIO kernel; on a CPU three kinds in another form.

  - 1x1: the gradients are products of matrices. XLA:CPU transposes both maps for that of the
    kernel, which takes twice as long, and computes what leads to the result's gradient twice.
  - A window larger than the map, as 5x5 on 4x4: the map is padded beforehand. XLA:CPU computes
    these one value at a time, twelve times as slowly.
  - Each channel by itself: products with the shifted views of the map, added. XLA:CPU computes
    these one value at a time too, and their gradients, ten times as slowly and more.

  Args:
    x: `[B, H, W, C]`.
    kernel: `[height, width, C / groups, features]`.
    stride: pixels.
    padding: zeros on both sides of (height, width), pixels.
    groups: parts of the channels that do not see each other.
  """
  window = kernel.shape[:2]
  sides = list(zip(window, x.shape[1:3], padding, strict=True))
  if stride == groups == 1 and window == (1, 1) and padding == (0, 0):
    return _pointwise(x, kernel)
  if stride == 1 and all(n > p for n, _, p in sides):
    if groups == 1 and any(n > m for n, m, _ in sides):
      return _overhanging(x, kernel, padding)
    if 1 < groups == x.shape[-1] == kernel.shape[-1]:
      return _depthwise(x, kernel, padding)
  return stock_convolution(x, kernel, stride, padding, groups)


def stock_convolution(x, kernel, stride=1, padding=(0, 0), groups=1):
  """XLA's own, of the same arguments."""
  return lax.conv_general_dilated(
    x,
    kernel,
    window_strides=(stride, stride),
    padding=[(pad, pad) for pad in padding],
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    feature_group_count=groups,
  )


@jax.custom_vjp
def _pointwise(x, kernel):
  return stock_convolution(x, kernel)


def _pointwise_forward(x, kernel):
  return stock_convolution(x, kernel), (x, kernel)


def _pointwise_backward(saved, cotangent):
  def products(x, kernel, cotangent):
    inputs, rows = (y.reshape(-1, y.shape[-1]) for y in (x, cotangent))  # else XLA transposes
    return (rows @ kernel[0, 0].T).reshape(x.shape), (inputs.T @ rows)[None, None]

  def stock(x, kernel, cotangent):
    return jax.vjp(stock_convolution, x, kernel)[1](cotangent)

  return lax.platform_dependent(*saved, cotangent, cpu=products, default=stock)


_pointwise.defvjp(_pointwise_forward, _pointwise_backward)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _overhanging(x, kernel, padding):
  def padded(x, kernel):
    x = jnp.pad(x, ((0, 0), *((pad, pad) for pad in padding), (0, 0)))
    return stock_convolution(lax.optimization_barrier(x), kernel)  # else XLA joins the two again

  return lax.platform_dependent(
    x, kernel, cpu=padded, default=partial(stock_convolution, padding=padding)
  )


def _overhanging_forward(x, kernel, padding):
  return _overhanging(x, kernel, padding), (x, kernel)


def _overhanging_backward(padding, saved, cotangent):
  x, kernel = saved

  def turned(cotangent, kernel):  # the gradient of a convolution is the one with the turned kernel
    rest = tuple(n - 1 - pad for n, pad in zip(kernel.shape[:2], padding, strict=True))
    return _overhanging(cotangent, kernel[::-1, ::-1].swapaxes(2, 3), rest)

  def stock(cotangent, kernel):
    return jax.vjp(lambda x: stock_convolution(x, kernel, 1, padding), x)[1](cotangent)[0]

  of_x = lax.platform_dependent(cotangent, kernel, cpu=turned, default=stock)
  of_kernel = jax.vjp(partial(stock_convolution, x, padding=padding), kernel)[1](cotangent)[0]
  return of_x, of_kernel


_overhanging.defvjp(_overhanging_forward, _overhanging_backward)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _depthwise(x, kernel, padding):
  def shifted(x, kernel):
    views = _views(x, kernel.shape[:2], padding)
    return sum(y * kernel[row, column, 0] for (row, column), y in views).astype(x.dtype)

  stock = partial(stock_convolution, padding=padding, groups=x.shape[-1])
  return lax.platform_dependent(x, kernel, cpu=shifted, default=stock)


def _views(x, window, padding):
  """What each place of a window sees of the padded map: ((row, column), float32 map)."""
  sides = zip(x.shape[1:3], padding, window, strict=True)
  height, width = (n + 2 * pad - k + 1 for n, pad, k in sides)
  x = jnp.pad(x, ((0, 0), *((pad, pad) for pad in padding), (0, 0))).astype(jnp.float32)
  places = itertools.product(*map(range, window))
  return [((i, j), x[:, i : i + height, j : j + width]) for i, j in places]


def _depthwise_forward(x, kernel, padding):
  return _depthwise(x, kernel, padding), (x, kernel)


def _depthwise_backward(padding, saved, cotangent):
  x, kernel = saved
  rest = tuple(n - 1 - pad for n, pad in zip(kernel.shape[:2], padding, strict=True))
  of_x = _depthwise(cotangent, kernel[::-1, ::-1], rest)

  def shifted(x, cotangent):
    views = _views(x, kernel.shape[:2], padding)
    sums = [(view * cotangent).sum((0, 1, 2)) for _, view in views]
    return jnp.stack(sums).reshape(kernel.shape).astype(kernel.dtype)

  def stock(x, cotangent):
    convolve = partial(stock_convolution, x, padding=padding, groups=x.shape[-1])
    return jax.vjp(convolve, kernel)[1](cotangent)[0]

  return of_x, lax.platform_dependent(x, cotangent, cpu=shifted, default=stock)


_depthwise.defvjp(_depthwise_forward, _depthwise_backward)


@partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def max_pool(x: jax.Array, window: int, stride: int, padding: tuple) -> jax.Array:
  """`nn.max_pool` of `[B, H, W, C]`; on a CPU first along the rows, then along the columns.

  XLA:CPU runs the stock gradient (select-and-scatter) one window at a time; comparing the
  `window**2` shifted views of the input with the maximum is plain vector work. Figures:
  docs/speed.md. On a TPU the views cost 2.4 times the memory traffic of the stock form.

  Args:
    x: `[B, H, W, C]`.
    window, stride: pixels.
    padding: ((top, bottom), (left, right)) pixels, of minus infinity.
  """

  def separable(x):
    x = nn.max_pool(x, (1, window), (1, stride), ((0, 0), padding[1]))
    return nn.max_pool(x, (window, 1), (stride, 1), (padding[0], (0, 0)))

  def stock(x):
    return nn.max_pool(x, (window, window), (stride, stride), padding)

  return lax.platform_dependent(x, cpu=separable, default=stock)


def _max_pool_forward(x, window, stride, padding):
  y = max_pool(x, window, stride, padding)
  return y, (x, y)


def _max_pool_backward(window, stride, padding, saved, cotangent):
  x, y = saved

  def stock(x, y, cotangent):
    del y
    pool = partial(nn.max_pool, window_shape=(window,) * 2, strides=(stride,) * 2, padding=padding)
    return jax.vjp(pool, x)[1](cotangent)[0]

  def views(x, y, cotangent):
    batch, height, width, channels = x.shape
    minus_infinity = jnp.array(-jnp.inf, x.dtype)
    x = lax.pad(x, minus_infinity, [(0, 0, 0), *((*sides, 0) for sides in padding), (0, 0, 0)])
    spans = [(n - 1) * stride + 1 for n in y.shape[1:3]]
    offsets = [(row, column) for row in range(window) for column in range(window)]
    winner = jnp.full(y.shape, -1, jnp.int8)  # offset of each window's maximum
    for k, (row, column) in reversed(list(enumerate(offsets))):  # the first of equals wins
      ends = (batch, row + spans[0], column + spans[1], channels)
      view = lax.slice(x, (0, row, column, 0), ends, (1, stride, stride, 1))
      winner = jnp.where(view == y, jnp.int8(k), winner)

    def spread(z, fill):  # to the input's grid, so that every pixel sees its windows
      sides = [(window - 1, x.shape[i + 1] - spans[i], stride - 1) for i in range(2)]
      return lax.pad(z, jnp.array(fill, z.dtype), [(0, 0, 0), *sides, (0, 0, 0)])

    winner, cotangent = spread(winner, -1), spread(cotangent, 0)
    gradient = jnp.zeros((batch, height, width, channels), cotangent.dtype)
    for k, (row, column) in enumerate(offsets):
      top, left = padding[0][0] + window - 1 - row, padding[1][0] + window - 1 - column
      at = (slice(None), slice(top, top + height), slice(left, left + width))
      gradient += jnp.where(winner[at] == k, cotangent[at], 0)
    return gradient

  return (lax.platform_dependent(x, y, cotangent, cpu=views, default=stock),)


max_pool.defvjp(_max_pool_forward, _max_pool_backward)
