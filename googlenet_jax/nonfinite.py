"""The guard against steps whose loss, gradients or new parameters are not finite.

On the devices `guard` leaves such a step out and counts it; on the host `Recovery` then ends the
run, goes on, or goes back to a checkpoint.
"""

import collections
from collections.abc import Callable, Mapping
from typing import NoReturn

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from googlenet_jax import parallel
from googlenet_jax.errors import InputError

ON_NONFINITE = ('stop', 'skip', 'rollback')
ROLLBACKS = 3  # returns to one checkpoint before the run ends
MAX_CONSECUTIVE_SKIPS = 20  # steps in a row, seen at a training record, that end the run


class Diverged(InputError):
  """A run ended because its loss, its gradients or its parameters were not finite."""


class Counts(flax.struct.PyTreeNode):
  """Steps that were not finite, int32; all but the streak since the last training record.

  Attributes:
    steps: number of them.
    consecutive: the current streak.
    heads: steps by head whose loss was not finite.
    update: steps with a gradient or a new parameter that was not finite.
  """

  steps: jax.Array
  consecutive: jax.Array
  heads: dict[str, jax.Array]
  update: jax.Array


def zeros(heads: tuple[str, ...]) -> Counts:
  """Counts before the first step, of a network with these heads."""
  zero = jnp.zeros((), jnp.int32)
  return Counts(steps=zero, consecutive=zero, heads=dict.fromkeys(heads, zero), update=zero)


def cleared(counts: Counts, *, streak: bool) -> Counts:
  """Counts back at zero, replicated; the streak only where `streak` says so."""
  zero = parallel.replicate(jax.tree.map(lambda _: np.int32(0), counts))
  return zero if streak else zero.replace(consecutive=counts.consecutive)


def guard(state, changed, sums: dict, grads, params, *, on_nonfinite: str):
  """Takes a step where it is finite; else it changes nothing but the counts.

  With 'skip' what is left out counts as a step. Else `state.step` stays, and later steps change
  nothing either until the counts are back at zero.

  Args:
    state: state before the step, with `step` and `nonfinite`.
    changed: state after it but for these two, which are set here.
    sums: loss by head, 'main_loss'.
    grads: gradients.
    params: new parameters, of the same structure.
    on_nonfinite: one of `ON_NONFINITE`.
  """
  counts, skip = state.nonfinite, on_nonfinite == 'skip'
  finite = jax.tree.map(lambda g, p: jnp.all(jnp.isfinite(g) & jnp.isfinite(p)), grads, params)
  heads = {head: ~jnp.isfinite(sums[f'{head}_loss']) for head in counts.heads}
  update = ~jnp.stack(jax.tree.leaves(finite)).all()
  bad = jnp.stack([*heads.values(), update]).any()
  taken = ~bad if skip else ~bad & (counts.steps == 0)
  # By `where` an array, XLA:CPU takes ten times as long to compile.
  after = lax.cond(taken, lambda: changed, lambda: state)
  counts = Counts(
    steps=counts.steps + bad,
    consecutive=jnp.where(taken, 0, counts.consecutive + 1),
    heads={head: count + heads[head] for head, count in counts.heads.items()},
    update=counts.update + update,
  )
  return after.replace(step=state.step + (taken | skip), nonfinite=counts)


class Recovery:
  """What a run does about steps that were not finite.

  Args:
    on_nonfinite: one of `ON_NONFINITE`.
    heads: titles of the heads by name, in the order in which messages name them.
    schedule: learning rate by step, for messages.
    checkpoints: checkpoints of the run (`checkpoint.Checkpoints`).
    restore: `step -> state`, the state of a checkpoint; of None the initial one.
    say: prints a line.

  Attributes:
    skipped_batches: number of batches passed over by going back.
  """

  def __init__(
    self,
    on_nonfinite: str,
    heads: Mapping[str, str],
    schedule: Callable,
    checkpoints,
    restore: Callable,
    say: Callable,
  ):
    self._on_nonfinite, self._heads, self._schedule = on_nonfinite, heads, schedule
    self._checkpoints, self._restore, self._say = checkpoints, restore, say
    self._rollbacks = collections.Counter()  # by the step of the checkpoint
    self._looked = None  # at what was counted up to this step

  def begin(self, state):
    """The same state, ready to be trained from."""
    self._looked = int(parallel.fetch(state.step))
    self.skipped_batches = int(parallel.fetch(state.skipped_batches))
    if self._on_nonfinite == 'skip':
      return state
    # The counts of a run that skipped would hold up this one.
    return state.replace(nonfinite=cleared(state.nonfinite, streak=True))

  def back(self, state, step: int):
    """The state of the last checkpoint where a step was not finite, ready; None where all were.

    Args:
      state: state after the step.
      step: steps that were dispatched.

    Raises:
      Diverged: the run ends instead.
    """
    if self._on_nonfinite == 'skip' or step == self._looked:
      return None
    self._looked = step
    counts = parallel.fetch(state.nonfinite)
    if not counts.steps:
      return None
    good = int(parallel.fetch(state.step))
    what = f'step {good + 1:,}: {self._what(counts, good)}'
    self._checkpoints.wait()
    latest = self._checkpoints.latest()
    self._rollbacks[latest] += 1
    if self._on_nonfinite == 'stop' or self._rollbacks[latest] > ROLLBACKS:
      self._end(what)
    state = self._restore(latest)
    restored = int(parallel.fetch(state.step))
    # On with the batch after the one that did it.
    skipped_batches = np.int32(self.skipped_batches + good + 1 - restored)
    self._say(f'WARNING: {what}; back to step {restored:,}, on with the batch after that one')
    return self.begin(state.replace(skipped_batches=parallel.replicate(skipped_batches)))

  def check_skips(self, state, step: int) -> None:
    """Warns of the steps that were skipped since the last record.

    Args:
      state: state at the record; some steps before it were skipped.
      step: step of the record.

    Raises:
      Diverged: too many were skipped one after another.
    """
    counts = parallel.fetch(state.nonfinite)
    what = self._what(counts, step)
    self._say(f'WARNING: {counts.steps} of the last steps up to {step:,} skipped: {what}')
    if counts.consecutive >= MAX_CONSECUTIVE_SKIPS:
      self._end(f'{counts.consecutive} steps in a row up to {step:,}: {what}')

  def _what(self, counts, step) -> str:
    """What was not finite, and at which learning rate."""
    heads = [title for head, title in self._heads.items() if counts.heads[head]]
    what = f'the loss of {", ".join(heads)}' if heads else 'a gradient or a new parameter'
    return f'{what} is not finite at learning rate {float(self._schedule(step)):.3g}'

  def _end(self, what) -> NoReturn:
    self._checkpoints.wait()
    latest = self._checkpoints.latest()
    kept = 'there is no checkpoint yet' if latest is None else f'the last is of step {latest:,}'
    raise Diverged(
      f'{what}; no checkpoint was overwritten, {kept}: lower --config.optimizer.lr in another '
      '--workdir, or go on here with --config.on_nonfinite=skip or rollback'
    )
