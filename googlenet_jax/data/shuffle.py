"""The order of an epoch, as a function of the position: no permutation is ever written out."""

import jax
import jax.numpy as jnp
from jax import lax

ROUNDS = 64  # with half as many, orders pass the same tests of uniformity (tests/test_data.py)


def shuffled(key: jax.Array, positions: jax.Array, count: int) -> jax.Array:
  """Index of the example at each position: `permutation(p // count)[p % count]`.

  A swap-or-not network (Hoang, Morris, Rogaway 2012, "An Enciphering Scheme Based on a Card
  Shuffle"): each round pairs every index with its mirror image about a random point, and a coin
  of the pair decides whether the two change places. It is a bijection on any number of examples,
  and the work is that of the batch, not of the set.

  Args:
    key: key of the order.
    positions: `[B]` uint32; they may lie in several epochs.
    count: examples in an epoch, below 2**31.

  Returns:
    `[B]` int32.
  """
  keys = jax.vmap(jax.random.fold_in, (None, 0))(key, positions // count)
  words = jax.vmap(lambda k: jax.random.bits(k, (ROUNDS, 2)), out_axes=1)(keys)  # [ROUNDS, B, 2]
  count = jnp.uint32(count)

  def swap(index, words):
    point, salt = words[:, 0], words[:, 1]
    mirrored = lax.rem(lax.rem(point, count) + (count - index), count)
    coin = _mix(jnp.maximum(index, mirrored) ^ salt) >> 31
    return jnp.where(coin == 1, mirrored, index), None

  # All rounds in a row take XLA:CPU two seconds to compile; one at a time are many small kernels.
  index, _ = lax.scan(swap, lax.rem(positions, count), words, unroll=8)
  return index.astype(jnp.int32)


def _mix(x: jax.Array) -> jax.Array:
  """A hash of uint32: every bit of the input flips each of the output's with a chance of half.

  The constants are those of Wellons' search, "lowbias32".
  """
  x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
  x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
  return x ^ (x >> 16)
