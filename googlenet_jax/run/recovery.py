"""What a run does about steps that were not finite: it ends, goes on, or back to a checkpoint."""

import collections
from collections.abc import Callable, Mapping
from typing import NoReturn

import numpy as np

from googlenet_jax import nonfinite, parallel
from googlenet_jax.checkpoint import Checkpoints
from googlenet_jax.errors import InputError

ROLLBACKS = 3  # returns to one checkpoint before the run ends
MAX_CONSECUTIVE_SKIPS = 20  # steps in a row, seen at a training record, that end the run


class Diverged(InputError):
  """A run ended because its loss, its gradients or its parameters were not finite."""


class Recovery:
  """What a run does about steps that were not finite.

  Args:
    on_nonfinite: one of `nonfinite.ON_NONFINITE`.
    heads: titles of the heads by name, in the order in which messages name them.
    schedule: learning rate by step, for messages.
    checkpoints: checkpoints of the run.
    restore: `step -> state`, the state of a checkpoint; of None the initial one.
    say: prints a line.

  Attributes:
    skipped_batches: number of batches passed over by going back.
  """

  def __init__(
    self,
    *,
    on_nonfinite: str,
    heads: Mapping[str, str],
    schedule: Callable,
    checkpoints: Checkpoints,
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
    return state.replace(nonfinite=nonfinite.cleared(state.nonfinite, streak=True))

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
