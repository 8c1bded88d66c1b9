"""SIGINT and SIGTERM, or a time that is up, which stop a run between two steps."""

import math
import signal
import threading
import time

from googlenet_jax import parallel


class Interrupted(Exception):
  """A signal, or SIGALRM for the deadline, stopped the run; it is saved up to its last step."""

  def __init__(self, signum: int):
    super().__init__(signum)
    self.signum = signum


class Signals:
  """Catches SIGINT and SIGTERM so that the step is finished; a second one ends at once.

  Before `begin` a signal ends the process at once, as there is nothing to be saved. Of several
  processes any may get it, and jax agrees on where all of them stop, after the first step.
  In a thread, where Python lets none be caught, they are left to the caller. One that comes too
  late to stop anything is sent again after a run that has ended well: a sweep does not begin its
  next point.

  Args:
    deadline: time at which a run of one process stops as by SIGALRM, by `time.monotonic`.

  Attributes:
    stop: number of the signal, once all processes have agreed to stop; 0 before.
  """

  def __init__(self, deadline: float = math.inf):
    self._received, self._asked, self._old, self._deadline = 0, 0, {}, deadline
    self.stop = 0

  def __enter__(self):
    return self

  def begin(self) -> None:
    """From now on signals are caught."""
    if self._old or threading.current_thread() is not threading.main_thread():
      return
    # Of several processes SIGTERM is jax's, which tells the others.
    caught = [signal.SIGINT] if parallel.several_processes() else [signal.SIGINT, signal.SIGTERM]
    self._old = {signum: signal.signal(signum, self._receive) for signum in caught}

  def _receive(self, signum, frame):
    del frame
    self._received = signum
    for caught in self._old:
      signal.signal(caught, signal.SIG_DFL)
    if parallel.several_processes():
      signal.raise_signal(signal.SIGTERM)

  def asked(self) -> int:
    """The signal that asks to stop here, 0 for none; every process must ask equally often."""
    if self.stop:
      return self.stop
    self._asked += 1
    if not parallel.several_processes():
      late = time.monotonic() > self._deadline
      self.stop = self._received or (signal.SIGALRM if late else 0)
    elif parallel.agreed_to_stop(self._asked):
      self.stop = self._received or signal.SIGTERM
    return self.stop

  def __exit__(self, kind, *unused):
    for signum, handler in self._old.items():
      signal.signal(signum, handler)
    if kind is None and self._received and not self.stop and not parallel.several_processes():
      signal.raise_signal(self._received)
