"""What a training run carries from step to step, and what a checkpoint holds."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from googlenet_jax import models, nonfinite

AVERAGES = ('none', 'ema', 'polyak')


class TrainState(flax.struct.PyTreeNode):
  """The state of a run; every field is a tree of arrays.

  Attributes:
    step: steps done, int32. With the seed and `skipped_batches` it fixes the position in the data.
    params: parameters, float32.
    batch_stats: running means and variances of batch norm, averaged over devices in each step.
    opt_state: state of the optimizer, for the layers that are trained.
    average: averaged `params` and `batch_stats`, and the number of updates in them
      (`count`); `{}` without averaging.
    log_sums: sums since the last log record. They are kept here so that a run that was
      interrupted between two records logs the same as one that was not.
    nonfinite: counts of the steps that were not finite.
    skipped_batches: number of batches passed over, int32: after a step that was not finite, a run
      that goes back to a checkpoint goes on with the batch after the one of that step.
  """

  step: jax.Array
  params: Any
  batch_stats: Any
  opt_state: Any
  average: Any
  log_sums: dict[str, jax.Array]
  nonfinite: nonfinite.Counts
  skipped_batches: jax.Array


def variables(state: TrainState, *, averaged: bool = False) -> dict[str, Any]:
  """What `model.apply` takes: the last or the averaged parameters."""
  source = state.average if averaged else {'params': state.params, 'batch_stats': state.batch_stats}
  return {'params': source['params'], 'batch_stats': source['batch_stats']}


def abstract_variables(model, image_shape: tuple[int, int, int]) -> dict[str, Any]:
  """Shapes and types of a network's `params` (auxiliary heads included) and `batch_stats`."""
  rngs = {'params': jax.random.key(0), 'dropout': jax.random.key(0)}
  images, model = jnp.zeros((1, *image_shape)), models.with_zero_kernels(model)
  shapes = jax.eval_shape(lambda: model.init(rngs, images, train=True))
  return {'params': shapes.get('params', {}), 'batch_stats': shapes.get('batch_stats', {})}


def trainable(params: dict, frozen: tuple[str, ...]) -> dict:
  """The layers that are trained: those whose names begin with none of `frozen`."""
  return {layer: x for layer, x in params.items() if not layer.startswith(tuple(frozen))}


def create(
  model,
  key: jax.Array,
  image_shape: tuple,
  optimizer,
  average: str,
  sums: tuple[str, ...],
  heads: tuple[str, ...],
  frozen: tuple[str, ...] = (),
) -> TrainState:
  """The state before the first step.

  Args:
    model: network.
    key: key of the initial parameters.
    image_shape: (H, W, C).
    optimizer: optax transformation.
    average: one of `AVERAGES`.
    sums: names of the sums that a step adds to.
    heads: names of the network's heads.
    frozen: see `trainable`.
  """
  key_params, key_dropout = jax.random.split(key)
  initial = model.init(
    {'params': key_params, 'dropout': key_dropout}, jnp.zeros((1, *image_shape)), train=True
  )
  params, batch_stats = initial['params'], initial.get('batch_stats', {})
  averages = {'params': params, 'batch_stats': batch_stats, 'count': jnp.zeros((), jnp.int32)}
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    params=params,
    batch_stats=batch_stats,
    opt_state=optimizer.init(trainable(params, frozen)),
    average={} if average == 'none' else averages,
    log_sums={name: jnp.zeros(()) for name in sums},
    nonfinite=nonfinite.zeros(heads),
    skipped_batches=jnp.zeros((), jnp.int32),
  )


def update_average(average, new, kind: str, decay: float, begun: jax.Array):
  """The average with one more update in it.

  Args:
    average: `{'params', 'batch_stats', 'count'}`.
    new: `{'params', 'batch_stats'}` after the update.
    kind: 'ema', with decay min(decay, (1 + n) / (10 + n)) after n updates, so that the
      start is soon forgotten; or 'polyak', the mean over all updates since averaging began
      (section 6).
    decay: see 'ema'.
    begun: bool, whether averaging has begun; until then the average is the last value.
  """
  n = average['count']
  weight = 1 / (n + 1) if kind == 'polyak' else 1 - jnp.minimum(decay, (1 + n) / (10 + n))
  weight = jnp.where(begun, weight, 1.0)
  old = {'params': average['params'], 'batch_stats': average['batch_stats']}

  def move(old, new):
    # In this form a value that does not change is its own average to the last bit.
    return jnp.where(weight == 1, new, old + weight * (new - old))

  return jax.tree.map(move, old, new) | {'count': jnp.where(begun, n + 1, 0)}
