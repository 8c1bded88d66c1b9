"""What watches a run from the host: stopwatch, signals, trace, alarm."""

import contextlib
import math
import signal
import time

import jax

from googlenet_jax import parallel


class Stopwatch:
  """Training speed without compilation, evaluation and saving, and the run's wall time.

  Attributes:
    compiled: whether the first call of the step has ended.
  """

  def __init__(self):
    self._began = self._process_began = time.monotonic()
    self._images, self._seconds, self._since = 0, 0.0, None
    self._waited = 0.0
    self.compiled = False
    self._saving = 0.0

  def add_time(self, earlier: float) -> None:
    """Counts the seconds of the run before its interruption."""
    self._began -= earlier

  def start(self) -> None:
    """Goes on, where it was paused, right before a call of the step."""
    if self._since is None:
      self._since = time.monotonic()

  @contextlib.contextmanager
  def waiting(self):
    """Counts what is inside as waiting for input."""
    began = time.monotonic()
    yield
    self._waited += time.monotonic() - began

  @contextlib.contextmanager
  def held_up(self):
    """Counts what is inside as saving."""
    began = time.monotonic()
    yield
    self._saving += time.monotonic() - began

  def add(self, state, images: int) -> None:
    """Counts a call's images; the first call, which compiles, is left out."""
    if self.compiled:
      self._images += images
    else:
      jax.block_until_ready(state)
      self.compiled, self._since, self._waited = True, time.monotonic(), 0.0

  def pause(self, state) -> None:
    """Waits for the device and stops until the next `start`."""
    jax.block_until_ready(state)
    if self._since is not None:
      self._seconds += time.monotonic() - self._since
    self._since = None

  def lap(self) -> dict[str, float]:
    """Wall time; where images were counted since the last lap, also images a second and
    `input_wait`, the share of the time that the host waited for input: where steps are
    dispatched ahead, the devices wait less.
    """
    lap = {'seconds': round(self.elapsed(), 3)}
    if self._images:
      lap['images_per_second'] = round(self._images / self._seconds, 3)
      lap['input_wait'] = round(self._waited / self._seconds, 5)
    self._images, self._seconds, self._waited = 0, 0.0, 0.0
    return lap

  def saving_share(self) -> float:
    """Share of this process's time that the loop waited for checkpoints."""
    return self._saving / (time.monotonic() - self._process_began)

  def elapsed(self) -> float:
    """Seconds since the run began."""
    return time.monotonic() - self._began


class DispatchLimiter:
  """Keeps the host at most some seconds ahead of the devices: a signal has to wait for them.

  Args:
    seconds: of work that may be dispatched.
  """

  def __init__(self, seconds: float = 2.0):
    self._seconds, self._calls, self._most = seconds, 0, 1
    self._since = time.monotonic()

  def bound(self, state) -> None:
    """To be called with what each call of the step returned."""
    self._calls += 1
    if self._calls < self._most:
      return
    jax.block_until_ready(state)
    now = time.monotonic()
    self._most = max(1, int(self._seconds * self._calls / max(now - self._since, 1e-9)))
    self._calls, self._since = 0, now


class Signals:
  """Catches SIGINT and SIGTERM so that the step is finished; a second one ends at once.

  Before `begin` a signal ends the process at once, as there is nothing to be saved. Of several
  processes any may get it, and jax agrees on where all of them stop, after the first step.
  """

  def __init__(self):
    self._received, self._asked, self._old = 0, 0, {}
    self.stop = 0  # number of the signal, once all processes have agreed

  def __enter__(self):
    return self

  def begin(self) -> None:
    """From now on signals are caught."""
    if self._old:
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
      self.stop = self._received
    elif parallel.agreed_to_stop(self._asked):
      self.stop = self._received or signal.SIGTERM
    return self.stop

  def __exit__(self, *unused):
    for signum, handler in self._old.items():
      signal.signal(signum, handler)


class Trace:
  """A profile of some steps, for TensorBoard or Perfetto.

  Args:
    span: 'FIRST:LAST' steps; '' for none.
    folder: that the trace is written to.
  """

  def __init__(self, span: str, folder):
    self.ends = [int(n) for n in span.split(':')] if span else []
    self._folder, self._running = folder, False

  def update(self, step: int, state) -> None:
    """Begins or ends at this step; to be called before each step and after the last."""
    wanted = bool(self.ends) and self.ends[0] <= step < self.ends[1]
    if wanted and not self._running:
      jax.profiler.start_trace(str(self._folder))
    elif self._running and not wanted:
      self.close(state)
    self._running = wanted

  def close(self, state) -> None:
    """Ends the trace, where one is running, with the steps done so far."""
    if self._running:
      jax.block_until_ready(state)
      jax.profiler.stop_trace()
    self._running = False


class DeadHeadAlarm:
  """Notices a head whose loss and accuracy have stayed at those of guessing, ln(classes).

  Args:
    heads: names.
    classes: number of them.
    begin: step from which a head should have learnt something.
  """

  def __init__(self, heads: tuple[str, ...], classes: int, begin: int):
    self._heads, self._classes, self._begin = list(heads), classes, begin

  def warnings(self, step: int, line: dict) -> list[str]:
    """A warning for each such head, once.

    Args:
      step: of the record.
      line: a training record.
    """
    if step < self._begin:
      return []
    guessing = math.log(self._classes)
    dead = [
      head
      for head in self._heads
      if abs(line[f'{head}_loss'] - guessing) < 0.01 * guessing
      and line[f'{head}_top1'] < 1.5 / self._classes  # a loss may pass there on its way
    ]
    self._heads = [h for h in self._heads if h not in dead]
    return [
      f'WARNING: head {head!r} is still at ln({self._classes}) = {guessing:.3f} at step '
      f'{step:,}: it has learnt nothing. Try batch norm, another '
      'optimizer.lr or a warm-up'
      for head in dead
    ]
