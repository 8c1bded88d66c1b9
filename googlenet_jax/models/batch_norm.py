"""Batch normalisation (Ioffe and Szegedy 2015, arXiv 1502.03167)."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax


class BatchNorm(nn.Module):
  """`nn.BatchNorm` over the last axis: the same variables and values, but faster to trace.

  Its gradient is written out, and jax traces each of its functions once for all layers of a shape.
  With Flax's, a training step takes a fifth more Python calls to trace and has a ninth more
  kernels. No gradient passes through the running statistics; forward mode (`jax.jvp`) is missing.
  Where it pools too, jax derives the gradient.

  Attributes:
    use_running_average: whether to normalise by the running statistics, not the batch's.
    momentum: share that the running statistics keep.
    epsilon: term added to the variance.
    axis_name: mapped axis over which the batch's statistics are averaged; None for each device its
      own.
    dtype: type of the result; parameters and statistics are float32.
  """

  use_running_average: bool
  momentum: float = 0.9
  epsilon: float = 1e-3
  axis_name: str | None = None
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, pool: Callable | None = None) -> jax.Array:
    """`[..., C]` normalised.

    Args:
      x: what is normalised.
      pool: a max pool of the result; None for none. With the batch's statistics it comes before the
        normalisation, which then takes fewer pixels, and gives the same values: a channel keeps its
        order, or turns it round where its scale is below 0. Of pixels that only the normalisation
        makes equal, not the first one then has the gradient, but the greatest.
    """
    shape = x.shape[-1:]
    mean = self.variable('batch_stats', 'mean', jnp.zeros, shape)
    var = self.variable('batch_stats', 'var', jnp.ones, shape)
    scale = self.param('scale', nn.initializers.ones, shape)
    bias = self.param('bias', nn.initializers.zeros, shape)
    if self.use_running_average:
      y = _normalised(x, mean.value, var.value, scale, bias, self.epsilon, self.dtype)
      return pool(y) if pool else y
    axis_name = None if self.is_initializing() else self.axis_name
    how = self.epsilon, self.dtype, axis_name
    if pool:
      y, *moments = _pooled_and_normalised(x, scale, bias, pool, *how)
    else:
      y, *moments = _normalised_by_batch(x, scale, bias, *how)
    if not self.is_initializing():
      for kept, new in zip((mean, var), moments, strict=True):
        kept.value = self.momentum * kept.value + (1 - self.momentum) * new
    return y


@partial(jax.jit, static_argnums=(5, 6))
def _normalised(x, mean, var, scale, bias, epsilon, dtype):
  x = (x - mean) * (lax.rsqrt(var + epsilon) * scale) + bias
  return x.astype(dtype)


def _pooled_and_normalised(x, scale, bias, pool, epsilon, dtype, axis_name):
  """As `_normalised_by_batch`, and pooled."""
  sign = jnp.where(scale < 0, -1, 1).astype(x.dtype)
  turned = sign * x
  mean, var = _moments(turned, axis_name)  # not of x, which would be kept too
  mean *= sign
  y = _normalised(sign * pool(turned), mean, var, scale, bias, epsilon, dtype)
  return y, *lax.stop_gradient((mean, var))


@partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def _normalised_by_batch(x, scale, bias, epsilon, dtype, axis_name):
  """`x` normalised, and the batch's mean and variance `[C]`, float32, which pass no gradient."""
  return _forward(x, scale, bias, epsilon, dtype, axis_name)[0]


@partial(jax.jit, static_argnums=(3, 4, 5))
def _forward(x, scale, bias, epsilon, dtype, axis_name):
  mean, var = _moments(x, axis_name)
  y = _normalised(x, mean, var, scale, bias, epsilon, dtype)
  return (y, mean, var), (x, scale, mean, var)


def _moments(x, axis_name):
  """Mean and variance `[C]` of `[..., C]`, float32."""
  pixels, axes = x.astype(jnp.float32), tuple(range(x.ndim - 1))
  mean, mean_square = _averaged(pixels.mean(axes), lax.square(pixels).mean(axes), axis_name)
  var = mean_square - lax.square(mean)
  return mean, jnp.where(var < 0, 0, var)  # rounding goes below 0


@partial(jax.jit, static_argnums=(0, 1, 2))
def _backward(epsilon, dtype, axis_name, saved, cotangents):
  del dtype
  x, scale, mean, var = saved
  dy, axes = cotangents[0].astype(jnp.float32), tuple(range(x.ndim - 1))
  inverse_std = lax.rsqrt(var + epsilon)
  dbias = dy.sum(axes)
  # Not of x - mean: XLA:CPU would store that from the forward pass on, a map for each layer.
  dscale = ((dy * x).sum(axes) - mean * dbias) * inverse_std
  share = dbias.size / dy.size  # share of one value in its channel's mean
  mean_dbias, mean_dscale = _averaged(dbias * share, dscale * share, axis_name)
  # dx = (dy - mean_dbias - (x - mean) * inverse_std * mean_dscale) * inverse_std * scale, with the
  # terms `[C]` collected: arrays as large as the map are read once, and none is stored.
  slope = jnp.where(var > 0, mean_dscale * inverse_std, 0)  # 0 where the variance was clipped
  dx = (dy - x * slope - (mean_dbias - mean * slope)) * (inverse_std * scale)
  return dx.astype(x.dtype), dscale, dbias


_normalised_by_batch.defvjp(_forward, _backward)


def _averaged(x, y, axis_name):
  """Means over a mapped axis, in one collective; the values themselves without an axis."""
  return (x, y) if axis_name is None else lax.pmean(jnp.stack([x, y]), axis_name)
