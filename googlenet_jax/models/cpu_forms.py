"""Operations computed in another way on a CPU, because XLA's own way is slow there.

Each form equals the stock one (values and gradients, ties included; see the tests) and
is chosen when the step is compiled for a CPU, never elsewhere.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax


@partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def max_pool(x: jax.Array, window: int, stride: int, padding: tuple) -> jax.Array:
  """`nn.max_pool` of `[B, H, W, C]`; on a CPU first along the rows, then along the columns.

  XLA:CPU runs the stock gradient (select-and-scatter) one window at a time; comparing the
  `window**2` shifted views of the input with the maximum is plain vector work. Figures:
  README, "Speed". On a TPU the views cost 2.4 times the memory traffic of the stock form.

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


def _forward(x, window, stride, padding):
  y = max_pool(x, window, stride, padding)
  return y, (x, y)


def _backward(window, stride, padding, saved, cotangent):
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


max_pool.defvjp(_forward, _backward)
