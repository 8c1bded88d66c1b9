"""How far the host runs ahead of the devices."""

import time

import jax

AHEAD = 2.0  # seconds of the work that may be dispatched


class DispatchLimiter:
  """Keeps the host at most `AHEAD` ahead of the devices: a signal has to wait for them."""

  def __init__(self):
    self._calls, self._most = 0, 1
    self._since = time.monotonic()

  def bound(self, state) -> None:
    """Waits if the host is too far ahead; to be called with what each call of the step gave."""
    self._calls += 1
    if self._calls < self._most:
      return
    jax.block_until_ready(state)
    now = time.monotonic()
    self._most = max(1, int(AHEAD * self._calls / max(now - self._since, 1e-9)))
    self._calls, self._since = 0, now
