"""When a run is saved while it trains."""

import contextlib
import time

from googlenet_jax import parallel
from googlenet_jax.checkpoint import Checkpoints
from googlenet_jax.errors import InputError
from googlenet_jax.run.metrics_log import MetricsLog
from googlenet_jax.run.stopwatch import Stopwatch
from googlenet_jax.train_state import TrainState


class Saver:
  """Saves the state of a run, its record first.

  Args:
    checkpoints: checkpoints of the run.
    history: record of the run.
    watch: stopwatch that counts the time of saving.
    minutes: longest time between two checkpoints, kept to at training records.
  """

  def __init__(
    self, checkpoints: Checkpoints, history: MetricsLog, watch: Stopwatch, minutes: float
  ):
    self._checkpoints, self._history, self._watch = checkpoints, history, watch
    self._minutes, self._saved = minutes, time.monotonic()

  def save(self, state: TrainState, validation_top1: float | None = None) -> None:
    """Saves in the background (`Checkpoints.save`)."""
    with self._watch.held_up():
      self._history.save()
      self._checkpoints.save(state, validation_top1)
    self._saved = time.monotonic()

  def save_in_time(self, state: TrainState) -> None:
    """Saves if the last checkpoint is too long ago, by the clock of the main process."""
    if parallel.from_main(lambda: time.monotonic() - self._saved >= 60 * self._minutes):
      self.save(state)

  def wait(self) -> None:
    """Returns when everything is on disk; InputError where it cannot be written."""
    with self._watch.held_up():
      self._checkpoints.wait()

  @contextlib.contextmanager
  def finishing(self):
    """Where an InputError ends what is inside, a checkpoint that is being written is finished."""
    try:
      yield
    except InputError:
      if not parallel.several_processes():  # others may have ended
        with contextlib.suppress(InputError):
          self._checkpoints.wait()
      raise
