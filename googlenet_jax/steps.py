"""One training step and one evaluation step, as pure functions of one device's part."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax import lax

from googlenet_jax import losses, optim, train_state
from googlenet_jax.parallel import AXIS, positions

ON_NONFINITE = ('stop', 'skip', 'rollback')


def train_metrics(head_names: tuple[str, ...], groups: tuple[str, ...]) -> tuple[str, ...]:
  """Names of the sums that a training step adds to; 'nonfinite/...' count steps, 'row' the last
  ones without a break.
  """
  per_head = [f'{head}_{what}' for head in head_names for what in ('loss', 'top1')]
  norms = [f'{what}_norm/{group}' for group in groups for what in ('gradient', 'parameter')]
  nonfinite = [f'nonfinite/{what}' for what in ('step', 'row', *head_names, 'update')]
  return ('examples', 'steps', 'loss', *per_head, *norms, *nonfinite)


def make_gradients(model, *, aux_weight: float, label_smoothing: float) -> Callable:
  """The loss's gradient over all devices.

  Returns:
    `(params, batch_stats, batch, key) -> (gradients, batch_stats, sums)`: the gradients and
    sums are those of the whole batch, the same on every device; `batch_stats` are averaged.
  """

  def loss_fn(params, batch_stats, batch, key, examples):
    outputs, updated = model.apply(
      {'params': params, 'batch_stats': batch_stats},
      batch.image,
      train=True,
      rngs={'dropout': key},
      mutable=['batch_stats'],
    )
    by_head, sums = {}, {}
    for head, logits in losses.heads(outputs).items():
      each = losses.cross_entropy(logits, batch.label, label_smoothing) * batch.mask
      by_head[head] = each.sum()
      sums[f'{head}_loss'] = each.sum()
      sums[f'{head}_top1'] = jnp.sum(losses.correct(logits, batch.label) * batch.mask)
    total = by_head.pop('main') + aux_weight * sum(by_head.values())
    sums['loss'] = total
    # Divided by the mean number of examples a device: the mean over devices is exact then.
    return total / jnp.where(examples > 0, examples, 1.0), (updated.get('batch_stats', {}), sums)

  def gradients(params, batch_stats, batch, key):
    examples = lax.pmean(batch.mask.sum(), AXIS)
    grads, (batch_stats, sums) = jax.grad(loss_fn, has_aux=True)(
      params, batch_stats, batch, key, examples
    )
    grads, batch_stats = lax.pmean((grads, batch_stats), AXIS)
    sums = lax.psum(sums | {'examples': batch.mask.sum()}, AXIS)
    return grads, batch_stats, sums

  return gradients


def make_train_step(
  model,
  optimizer: optax.GradientTransformation,
  read: Callable,
  *,
  batch_size: int,
  aux_weight: float,
  label_smoothing: float,
  average: str,
  average_decay: float,
  average_from: int,
  accumulate: int,
  log_norms: bool,
  looped: bool,
  on_nonfinite: str = 'stop',
) -> Callable:
  """A training step.

  Args:
    model: a network.
    optimizer: an optax transformation.
    read: a pipeline's.
    batch_size: examples, over all devices.
    aux_weight: of each auxiliary loss (the paper's 0.3).
    label_smoothing: see `losses.cross_entropy`.
    average, average_decay: see `train_state.update_average`.
    average_from: first step that is averaged.
    accumulate: steps an update.
    log_norms: sum the norms of gradients and parameters a group.
    looped: do any number of steps a call. XLA:CPU runs a convolution in a loop 8 times
      slower than outside (jax 0.10), so one step a call is a program of its own.
    on_nonfinite: one of `ON_NONFINITE`. A step whose loss, gradients or new parameters are not
      finite changes nothing but the sums 'nonfinite/...'. With 'skip' it counts as a step; else
      `state.step` stays, and later calls do nothing until these sums are back at zero.

  Returns:
    `(state, fed, resident, key, count) -> state`, which does `count` steps if looped, else one.
    `count` is traced: one program serves any, but that what is fed is compiled for each count,
    since `fed` has a leading axis of `count` steps.
  """
  gradients = make_gradients(model, aux_weight=aux_weight, label_smoothing=label_smoothing)

  def step(state, fed, resident, key):
    key_data, key_dropout = jax.random.split(key)
    start = (state.step + state.left_out).astype(jnp.uint32) * jnp.uint32(batch_size)
    batch = read(resident, fed, positions(start, batch_size), key_data)
    key_dropout = jax.random.fold_in(key_dropout, state.step)
    key_dropout = jax.random.fold_in(key_dropout, lax.axis_index(AXIS))

    grads, batch_stats, sums = gradients(state.params, state.batch_stats, batch, key_dropout)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)

    each = jax.tree.map(lambda g, p: jnp.all(jnp.isfinite(g) & jnp.isfinite(p)), grads, params)
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
      updated = train_state.update_average(
        averaged, new, average, average_decay, done > average_from
      )
      keep = done % accumulate != 0  # between two updates there is nothing new to average
      averaged = jax.tree.map(lambda old, new: jnp.where(keep, old, new), averaged, updated)
    log_sums = {name: state.log_sums[name] + x for name, x in sums.items()}
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

  def steps(state, fed, resident, key, count):
    def body(i, state):
      return step(state, jax.tree.map(lambda x: x[i], fed), resident, key)

    return lax.fori_loop(0, count, body, state) if looped else body(0, state)

  return steps


def eval_sums(classes: int) -> dict[str, jnp.ndarray]:
  """What an evaluation step adds to, zero."""
  return {
    'examples': jnp.zeros(()),
    'loss': jnp.zeros(()),
    'top1': jnp.zeros(()),
    'top5': jnp.zeros(()),
    'confusion': jnp.zeros((classes, classes)),  # [label, prediction]
  }


def make_eval_step(model, read: Callable, *, batch_size: int) -> Callable:
  """An evaluation step: `(sums, fed, resident, variables, start) -> sums`.

  `fed` has a leading axis of one step, as in training; `start` is the position of the
  batch's first example. Places without an example add nothing, so the sums are exact for
  any size of set, batch and number of devices.
  """

  def step(sums, fed, resident, variables, start):
    fed = jax.tree.map(lambda x: x[0], fed)
    batch = read(resident, fed, positions(start, batch_size), None)
    logits = model.apply(variables, batch.image, train=False).logits
    hits = jnp.zeros_like(sums['confusion'])
    hits = hits.at[batch.label.argmax(-1), logits.argmax(-1)].add(batch.mask)
    new = {
      'examples': batch.mask.sum(),
      'loss': jnp.sum(losses.cross_entropy(logits, batch.label) * batch.mask),
      'top1': jnp.sum(losses.correct(logits, batch.label) * batch.mask),
      'top5': jnp.sum(losses.correct(logits, batch.label, 5) * batch.mask),
      'confusion': hits,
    }
    return jax.tree.map(jnp.add, sums, lax.psum(new, AXIS))

  return step
