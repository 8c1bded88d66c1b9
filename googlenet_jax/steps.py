"""The training step that each device runs on its share of the batch, and its parts: pure functions.

`parallel.MappedStep` runs it on all devices; gradients and sums are reduced over `parallel.AXIS`.
"""

import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import lax

from googlenet_jax import losses, metrics, optim, train_state
from googlenet_jax.losses import Loss
from googlenet_jax.nonfinite import guard
from googlenet_jax.parallel import AXIS, positions
from googlenet_jax.train_state import TrainState


def train_metrics(
  head_names: tuple[str, ...],
  parameter_norms: tuple[str, ...],
  gradient_norms: tuple[str, ...] = (),
  head_norms: tuple[str, ...] = (),
) -> tuple[str, ...]:
  """Names of the sums that a training step adds to.

  'learning_rate' among them is not a sum but the rate of the last update.

  Args:
    head_names: heads of the network.
    parameter_norms: layers whose parameters' norms are summed.
    gradient_norms: layers whose gradients' norms are summed.
    head_norms: layers where the norms of each head's part of the gradient are summed.
  """
  per_head = [f'{head}_{what}' for head in head_names for what in ('loss', 'top1')]
  by_layer = [f'parameter_norm/{layer}' for layer in parameter_norms]
  by_layer += [f'gradient_norm/{layer}' for layer in gradient_norms]
  by_layer += [head_norm(head, layer) for head in head_names for layer in head_norms]
  return ('examples', 'steps', 'learning_rate', 'loss', *per_head, *by_layer)


def head_norm(head: str, layer: str) -> str:
  """Name of the norm, at a layer, of what a head adds to the gradient."""
  return f'{head}_gradient_norm/{layer}'


def as_in_evaluation(frozen: tuple[str, ...]) -> contextlib.AbstractContextManager:
  """A context in which layers whose names begin with one of `frozen` compute as in evaluation.

  They normalise by their stored statistics and drop nothing, so that what is not trained does not
  move either. Meant for `model.apply`; reaches modules that take `train` as a keyword.
  """

  def intercept(call, args, kwargs, context):
    layer, *_ = (*context.module.path, '')
    if 'train' in kwargs and layer.startswith(tuple(frozen)):
      kwargs = kwargs | {'train': False}
    return call(*args, **kwargs)

  return nn.intercept_methods(intercept) if frozen else contextlib.nullcontext()


def make_gradients(
  model,
  *,
  loss: Loss,
  aux_weight: float,
  label_smoothing: float,
  aux_until: int | None = None,
  frozen: tuple[str, ...] = (),
  head_norms: bool = False,
) -> Callable:
  """The loss's gradient over all devices.

  Args:
    model: network.
    loss: loss of each head (`losses.LOSSES`).
    aux_weight: factor on each auxiliary loss (the paper's 0.3).
    label_smoothing: share of the label spread evenly over all classes, for any loss
      (arXiv 1512.00567).
    aux_until: step from which on auxiliary losses have weight 0; None for never.
    frozen: prefixes of the names of layers that are not trained; see `as_in_evaluation`.
    head_norms: whether the sums hold the norms of each head's part of the gradient, which costs a
      backward pass for each head.

  Returns:
    `(params, batch_stats, batch, key, step) -> (gradients, batch_stats, sums)`: the gradients (of
    the layers that are trained, `train_state.trainable`) and sums are those of the whole batch, the
    same on every device; `batch_stats` are averaged.
  """

  def head_losses(trainable, params, batch_stats, batch, key):
    with as_in_evaluation(frozen):
      outputs, updated = model.apply(
        {'params': params | trainable, 'batch_stats': batch_stats},
        batch.image,
        train=True,
        rngs={'dropout': key},
        mutable=['batch_stats'],
      )
    labels = optax.smooth_labels(batch.label, label_smoothing)
    loss_sums, sums = {}, {}
    for head, logits in losses.heads(outputs).items():
      loss_sums[head] = sums[f'{head}_loss'] = jnp.sum(loss(logits, labels) * batch.mask)
      sums[f'{head}_top1'] = jnp.sum(metrics.correct(logits, batch.label) * batch.mask)
    return loss_sums, (updated.get('batch_stats', {}), sums)

  def total(loss_sums, step):
    weight = aux_weight if aux_until is None else jnp.where(step < aux_until, aux_weight, 0.0)
    return loss_sums['main'] + weight * sum(x for head, x in loss_sums.items() if head != 'main')

  def gradients(params, batch_stats, batch, key, step):
    mean_examples = lax.pmean(batch.mask.sum(), AXIS)

    def mean(loss_sums):
      # Each device divides by the mean number of examples, not by its own number of them: the mean
      # over the devices is then that over the whole batch.
      return total(loss_sums, step) / jnp.where(mean_examples > 0, mean_examples, 1.0)

    def loss_fn(trainable, *others):
      loss_sums, (updated, sums) = head_losses(trainable, *others)
      return mean(loss_sums), (updated, sums | {'loss': total(loss_sums, step)})

    arguments = train_state.trainable(params, frozen), params, batch_stats, batch, key
    # In every step, not only before a record: inside a `lax.cond` XLA:CPU takes twelve times as
    # long for a convolution's gradient.
    parts = lax.pmean(_head_gradients(head_losses, mean, *arguments), AXIS) if head_norms else {}
    grads, (updated, sums) = jax.grad(loss_fn, has_aux=True)(*arguments)
    # A mean of equal values may differ from them in the last bit: frozen statistics are left out.
    grads, updated = lax.pmean((grads, train_state.trainable(updated, frozen)), AXIS)
    batch_stats = batch_stats | updated
    sums = lax.psum(sums | {'examples': batch.mask.sum()}, AXIS)
    for head, part in parts.items():
      sums |= {head_norm(head, layer): x for layer, x in optim.group_norms(part).items()}
    return grads, batch_stats, sums

  return gradients


def _head_gradients(head_losses: Callable, mean: Callable, trainable: dict, *others) -> dict:
  """Each head's part, by head, of the gradient of `mean` of the losses; the parts add up to it.

  Args:
    head_losses: `(trainable, *others) -> (losses by head, auxiliary outputs)`.
    mean: the loss as a linear function of the losses by head.
    trainable: parameters that the gradients are of.
    others: further arguments of `head_losses`.
  """

  def of_trainable(trainable):
    return head_losses(trainable, *others)

  loss_sums, pullback, _ = jax.vjp(of_trainable, trainable, has_aux=True)
  weights = jax.grad(mean)(loss_sums)
  zeros = jax.tree.map(jnp.zeros_like, weights)
  return {head: pullback(zeros | {head: weight})[0] for head, weight in weights.items()}


class Update(NamedTuple):
  """What the optimizer makes of a step's gradients.

  Attributes:
    trainable: new parameters of the layers that are trained.
    opt_state: new state of the optimizer.
    rate: learning rate.
    made: bool, whether there was an update; False where gradients were only accumulated.
  """

  trainable: dict
  opt_state: Any
  rate: jax.Array
  made: jax.Array


def make_update(
  optimizer: optax.GradientTransformationExtraArgs,
  schedule: Callable,
  *,
  total_steps: int,
  frozen: tuple[str, ...],
) -> Callable:
  """The optimizer's part of a step: `(state, gradients) -> Update`.

  Args:
    optimizer: transformation for a learning rate of 1 (`optim.create`).
    schedule: learning rate by step.
    total_steps: length of the training.
    frozen: see `make_gradients`.
  """

  def update(state, grads):
    trainable = train_state.trainable(state.params, frozen)
    last = state.step + 1 == total_steps
    updates, opt_state = optimizer.update(grads, state.opt_state, trainable, last=last)
    made, rate = optim.pending(opt_state) == 0, schedule(state.step)
    trainable = jax.tree.map(lambda p, u: p + rate * u, trainable, updates)
    return Update(trainable, opt_state, rate, made)

  return update


def make_average(kind: str, decay: float, begin: int) -> Callable:
  """The averaging part of a step: `(state, new, made) -> average`.

  `new` holds `params` and `batch_stats` after the step. Where no update was `made` the average
  stays: parameters count once for each update, however many steps it took.

  Args:
    kind, decay: see `train_state.update_average`.
    begin: first step that is averaged.
  """

  def average(state, new, made):
    if not state.average:
      return state.average
    moved = train_state.update_average(state.average, new, kind, decay, state.step + 1 > begin)
    return jax.tree.map(lambda old, new: jnp.where(made, new, old), state.average, moved)

  return average


def norms(grads: dict, params: dict) -> dict[str, jax.Array]:
  """L2 norms of gradients and parameters by layer, as `train_metrics` names them."""
  trees = {'gradient': grads, 'parameter': params}
  return {
    f'{what}_norm/{group}': norm
    for what, tree in trees.items()
    for group, norm in optim.group_norms(tree).items()
  }


def add_sums(log_sums: dict, sums: dict, update: Update) -> dict[str, jax.Array]:
  """The log sums with those of a step added, and the learning rate of the last update."""
  added = {name: log_sums[name] + x for name, x in sums.items()}
  added['learning_rate'] = jnp.where(update.made, update.rate, log_sums['learning_rate'])
  return log_sums | added


def draw(
  make_batch: Callable, batch_size: int, state: TrainState, host_batch, device_data, key: jax.Array
) -> tuple[Any, jax.Array]:
  """This device's share of the batch at the state's position in the data, and its dropout key."""
  key_data, key_dropout = jax.random.split(key)
  start = (state.step + state.skipped_batches).astype(jnp.uint32) * jnp.uint32(batch_size)
  batch = make_batch(device_data, host_batch, positions(start, batch_size), key_data)
  key_dropout = jax.random.fold_in(key_dropout, state.step)
  return batch, jax.random.fold_in(key_dropout, lax.axis_index(AXIS))


def repeat(step: Callable, *, looped: bool) -> Callable:
  """Several steps in one call.

  Args:
    step: `(state, host_batch, device_data, key) -> state`.
    looped: whether a call does any number of steps. XLA:CPU runs a convolution in a loop 8 times
      slower than outside (jax 0.10), so one step a call is a program of its own.

  Returns:
    `(state, host_batch, device_data, key, count) -> state`, which does `count` steps if looped,
    else one. `count` is traced: one program serves any, but a `host_batch` that is not `()` has a
    leading axis of `count` steps, and each such shape is compiled.
  """

  def steps(state, host_batch, device_data, key, count):
    def body(i, state):
      return step(state, jax.tree.map(lambda x: x[i], host_batch), device_data, key)

    return lax.fori_loop(0, count, body, state) if looped else body(0, state)

  return steps


def make_train_step(
  gradients: Callable,
  update: Callable,
  average: Callable,
  make_batch: Callable,
  *,
  batch_size: int,
  log_norms: bool = False,
  looped: bool = False,
  on_nonfinite: str = 'stop',
) -> Callable:
  """A training step, as `repeat` returns it.

  Args:
    gradients, update, average: what `make_gradients`, `make_update` and `make_average` return.
    make_batch: function of a pipeline.
    batch_size: examples, over all devices.
    log_norms: whether norms of gradients and parameters are summed.
    looped: see `repeat`.
    on_nonfinite: see `nonfinite.guard`.
  """

  def step(state, host_batch, device_data, key):
    batch, key = draw(make_batch, batch_size, state, host_batch, device_data, key)
    grads, batch_stats, sums = gradients(state.params, state.batch_stats, batch, key, state.step)
    updated = update(state, grads)
    new = {'params': state.params | updated.trainable, 'batch_stats': batch_stats}
    sums |= {'steps': jnp.ones(())} | (norms(grads, new['params']) if log_norms else {})
    changed = state.replace(
      **new,
      opt_state=updated.opt_state,
      average=average(state, new, updated.made),
      log_sums=add_sums(state.log_sums, sums, updated),
    )
    return guard(state, changed, sums, grads, updated.trainable, on_nonfinite=on_nonfinite)

  return repeat(step, looped=looped)
