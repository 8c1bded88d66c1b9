"""How far the host runs ahead of the devices."""

import time

import jax


class DispatchLimiter:
  """Keeps the host at most some seconds ahead of the devices: a signal has to wait for them.

  Args:
    seconds: time of the work that may be dispatched.
  """

  def __init__(self, seconds: float = 2.0):
    self._seconds, self._calls, self._most = seconds, 0, 1
    self._since = time.monotonic()

  def bound(self, state) -> None:
    """Waits if the host is too far ahead; to be called with what each call of the step gave."""
    self._calls += 1
    if self._calls < self._most:
      return
    jax.block_until_ready(state)
    now = time.monotonic()
    self._most = max(1, int(self._seconds * self._calls / max(now - self._since, 1e-9)))
    self._calls, self._since = 0, now
