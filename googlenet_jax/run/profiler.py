"""A profile of the devices at work."""

import jax


class Trace:
  """A profile of some steps, for TensorBoard or Perfetto.

  Args:
    span: 'FIRST:LAST' steps; '' for none.
    folder: folder that the trace is written to.

  Attributes:
    ends: the first and the last step; none without a trace.
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
