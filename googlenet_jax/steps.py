"""One training step and one evaluation step, as pure functions of one device's part."""

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import lax

from googlenet_jax import losses, metrics, optim, train_state
from googlenet_jax.losses import Loss
from googlenet_jax.metrics import Metric
from googlenet_jax.parallel import AXIS, positions

ON_NONFINITE = ('stop', 'skip', 'rollback')


def train_metrics(
  head_names: tuple[str, ...], groups: tuple[str, ...], learnt: tuple[str, ...] = ()
) -> tuple[str, ...]:
  """Names of the sums that a training step adds to; 'nonfinite/...' count steps, 'row' the last
  ones without a break; 'learning_rate' is no sum but the rate of the last update.

  Args:
    head_names: of the network.
    groups: layers whose parameters' norms are summed.
    learnt: those whose gradients' norms are.
  """
  per_head = [f'{head}_{what}' for head in head_names for what in ('loss', 'top1')]
  norms = [f'parameter_norm/{group}' for group in groups]
  norms += [f'gradient_norm/{group}' for group in learnt]
  nonfinite = [f'nonfinite/{what}' for what in ('step', 'row', *head_names, 'update')]
  return ('examples', 'steps', 'learning_rate', 'loss', *per_head, *norms, *nonfinite)


def as_in_evaluation(frozen: tuple[str, ...]) -> contextlib.AbstractContextManager:
  """A context in which layers whose names begin with one of `frozen` compute as in evaluation.

  They normalise by their stored statistics and drop nothing, so that what is not learnt does not
  move either. Meant for `model.apply`; reaches modules that take `train` as a keyword.
  """

  def intercept(call, args, kwargs, context):
    layer, *_ = (*context.module.path, '')
    if 'train' in kwargs and layer.startswith(tuple(frozen)):
      kwargs = kwargs | {'train': False}
    return call(*args, **kwargs)

  return nn.intercept_methods(intercept) if frozen else contextlib.nullcontext()


def make_gradients(
  model, *, loss: Loss, aux_weight: float, label_smoothing: float, frozen: tuple[str, ...] = ()
) -> Callable:
  """The loss's gradient over all devices; the labels are smoothed for any loss.

  Returns:
    `(params, batch_stats, batch, key) -> (gradients, batch_stats, sums)`: the gradients (of the
    layers that are learnt, `train_state.learnt`) and sums are those of the whole batch, the same
    on every device; `batch_stats` are averaged.
  """

  def loss_fn(learnt, params, batch_stats, batch, key, examples):
    with as_in_evaluation(frozen):
      outputs, updated = model.apply(
        {'params': params | learnt, 'batch_stats': batch_stats},
        batch.image,
        train=True,
        rngs={'dropout': key},
        mutable=['batch_stats'],
      )
    labels = optax.smooth_labels(batch.label, label_smoothing)
    by_head, sums = {}, {}
    for head, logits in losses.heads(outputs).items():
      each = loss(logits, labels) * batch.mask
      by_head[head] = each.sum()
      sums[f'{head}_loss'] = each.sum()
      sums[f'{head}_top1'] = jnp.sum(metrics.correct(logits, batch.label) * batch.mask)
    total = by_head.pop('main') + aux_weight * sum(by_head.values())
    sums['loss'] = total
    # Divided by the mean number of examples a device: the mean over devices is exact then.
    return total / jnp.where(examples > 0, examples, 1.0), (updated.get('batch_stats', {}), sums)

  def gradients(params, batch_stats, batch, key):
    examples = lax.pmean(batch.mask.sum(), AXIS)
    grads, (updated, sums) = jax.grad(loss_fn, has_aux=True)(
      train_state.learnt(params, frozen), params, batch_stats, batch, key, examples
    )
    # A mean of equal values may differ from them in the last bit: frozen statistics are left out.
    grads, updated = lax.pmean((grads, train_state.learnt(updated, frozen)), AXIS)
    batch_stats = batch_stats | updated
    sums = lax.psum(sums | {'examples': batch.mask.sum()}, AXIS)
    return grads, batch_stats, sums

  return gradients


def make_train_step(
  model,
  optimizer: optax.GradientTransformationExtraArgs,
  schedule: Callable,
  make_batch: Callable,
  *,
  total_steps: int,
  batch_size: int,
  loss: Loss,
  aux_weight: float,
  label_smoothing: float,
  average: str,
  average_decay: float,
  average_from: int,
  log_norms: bool,
  looped: bool,
  frozen: tuple[str, ...] = (),
  on_nonfinite: str = 'stop',
) -> Callable:
  """A training step.

  Args:
    model: a network.
    optimizer: of a learning rate of 1 (`optim.create`).
    schedule: the learning rate by step.
    make_batch: of a pipeline.
    total_steps: of the training.
    batch_size: examples, over all devices.
    loss: of each head (`losses.LOSSES`).
    aux_weight: factor on each auxiliary loss (the paper's 0.3).
    label_smoothing: share of the label spread evenly over all classes (arXiv 1512.00567).
    average, average_decay: see `train_state.update_average`.
    average_from: first step that is averaged.
    log_norms: sum the norms of gradients and parameters a group.
    looped: do any number of steps a call. XLA:CPU runs a convolution in a loop 8 times
      slower than outside (jax 0.10), so one step a call is a program of its own.
    frozen: beginnings of the names of layers that are not learnt; see `as_in_evaluation`.
    on_nonfinite: one of `ON_NONFINITE`. A step whose loss, gradients or new parameters are not
      finite changes nothing but the sums 'nonfinite/...'. With 'skip' it counts as a step; else
      `state.step` stays, and later calls do nothing until these sums are back at zero.

  Returns:
    `(state, host_batch, device_data, key, count) -> state`, which does `count` steps if looped,
    else one. `count` is traced: one program serves any, but a `host_batch` that is not `()` has a
    leading axis of `count` steps, and each such shape is compiled.
  """
  gradients = make_gradients(
    model, loss=loss, aux_weight=aux_weight, label_smoothing=label_smoothing, frozen=frozen
  )

  def step(state, host_batch, device_data, key):
    key_data, key_dropout = jax.random.split(key)
    start = (state.step + state.skipped_batches).astype(jnp.uint32) * jnp.uint32(batch_size)
    batch = make_batch(device_data, host_batch, positions(start, batch_size), key_data)
    key_dropout = jax.random.fold_in(key_dropout, state.step)
    key_dropout = jax.random.fold_in(key_dropout, lax.axis_index(AXIS))

    grads, batch_stats, sums = gradients(state.params, state.batch_stats, batch, key_dropout)
    learnt = train_state.learnt(state.params, frozen)
    last = state.step + 1 == total_steps
    updates, opt_state = optimizer.update(grads, state.opt_state, learnt, last=last)
    updated, rate = optim.pending(opt_state) == 0, schedule(state.step)
    learnt = jax.tree.map(lambda p, u: p + rate * u, learnt, updates)
    params = state.params | learnt

    each = jax.tree.map(lambda g, p: jnp.all(jnp.isfinite(g) & jnp.isfinite(p)), grads, learnt)
    nonfinite = {x.removesuffix('_loss'): ~jnp.isfinite(sums[x]) for x in sums if '_loss' in x}
    nonfinite['update'] = ~jnp.stack(jax.tree.leaves(each)).all()
    fine = ~jnp.stack(list(nonfinite.values())).any()
    nonfinite['step'] = ~fine
    if on_nonfinite != 'skip':
      fine &= state.log_sums['nonfinite/step'] == 0

    sums['steps'] = jnp.ones(())
    if log_norms:
      for what, tree in (('gradient', grads), ('parameter', params)):
        for group, norm in optim.group_norms(tree).items():
          sums[f'{what}_norm/{group}'] = norm
    done = state.step + (fine | (on_nonfinite == 'skip'))
    averaged = state.average
    if averaged:
      new = {'params': params, 'batch_stats': batch_stats}
      moved = train_state.update_average(averaged, new, average, average_decay, done > average_from)
      # Between two updates the parameters are the same: these count once.
      averaged = jax.tree.map(lambda old, new: jnp.where(updated, new, old), averaged, moved)
    log_sums = {name: state.log_sums[name] + x for name, x in sums.items()}
    log_sums['learning_rate'] = jnp.where(updated, rate, state.log_sums['learning_rate'])
    changed = state.replace(
      params=params,
      batch_stats=batch_stats,
      opt_state=opt_state,
      average=averaged,
      log_sums=state.log_sums | log_sums,
    )
    # By `where` an array, XLA:CPU takes ten times as long to compile.
    state = lax.cond(fine, lambda: changed, lambda: state)
    counts = {f'nonfinite/{name}': x.astype(jnp.float32) for name, x in nonfinite.items()}
    counts = {name: state.log_sums[name] + x for name, x in counts.items()}
    counts['nonfinite/row'] = jnp.where(fine, 0.0, state.log_sums['nonfinite/row'] + 1)
    return state.replace(step=done, log_sums=state.log_sums | counts)

  def steps(state, host_batch, device_data, key, count):
    def body(i, state):
      return step(state, jax.tree.map(lambda x: x[i], host_batch), device_data, key)

    return lax.fori_loop(0, count, body, state) if looped else body(0, state)

  return steps


def eval_sums(scored: Mapping[str, Metric], classes: int) -> dict[str, Any]:
  """What an evaluation step adds to, zero: the examples and the sums of each metric."""
  logits = jax.ShapeDtypeStruct((1, classes), jnp.float32)
  mask = jax.ShapeDtypeStruct((1,), jnp.float32)
  shapes = {name: jax.eval_shape(x.sums, logits, logits, mask) for name, x in scored.items()}
  return {'examples': jnp.zeros(())} | jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)


def make_eval_step(
  model, make_batch: Callable, scored: Mapping[str, Metric], *, batch_size: int
) -> Callable:
  """An evaluation step: `(sums, host_batch, device_data, variables, start) -> sums`.

  `host_batch` has a leading axis of one step, as in training; `start` is the position of the
  batch's first example. Places without an example add nothing, so the sums are exact for
  any size of set, batch and number of devices.
  """

  def step(sums, host_batch, device_data, variables, start):
    host_batch = jax.tree.map(lambda x: x[0], host_batch)
    batch = make_batch(device_data, host_batch, positions(start, batch_size), None)
    logits = model.apply(variables, batch.image, train=False).logits
    new = {name: x.sums(logits, batch.label, batch.mask) for name, x in scored.items()}
    new['examples'] = batch.mask.sum()
    return jax.tree.map(jnp.add, sums, lax.psum(new, AXIS))

  return step
