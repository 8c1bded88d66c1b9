"""How fast a run goes, and how long it has taken."""

import contextlib
import time

import jax


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
    """Wall time, and what was measured since the last lap, where images were counted since.

    Returns:
      `seconds` since the run began, `images_per_second`, and `input_wait`, the share of the time
      that the host waited for input: where steps are dispatched ahead, the devices wait less.
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
