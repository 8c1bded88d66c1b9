"""Exact evaluation of a network over a split."""

import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from googlenet_jax import parallel, steps
from googlenet_jax.data import stream
from googlenet_jax.data.pipeline import Pipeline
from googlenet_jax.progress import passing


class Result(NamedTuple):
  """Scores over all examples of a split.

  Attributes:
    examples: how many were scored.
    unreadable: how many could not be.
    loss: mean cross-entropy, nats.
    top1, top5: shares that are right.
    confusion: `[classes, classes]` counts: row the label, column the prediction.
  """

  examples: int
  unreadable: int
  loss: float
  top1: float
  top5: float
  confusion: np.ndarray

  @property
  def per_class(self) -> np.ndarray:
    """Top-1 accuracy of each class; nan for a class without examples."""
    with np.errstate(invalid='ignore'):
      return np.diagonal(self.confusion) / self.confusion.sum(1)

  def means(self) -> dict[str, float]:
    """The numbers that a record holds."""
    means = {'loss': self.loss, 'top1': self.top1, 'top5': self.top5}
    return means | ({'unreadable': self.unreadable} if self.unreadable else {})


class Evaluator:
  """Scores any parameters of one network on one split.

  Args:
    model: a network.
    data: a pipeline that neither shuffles nor repeats.
    batch_size: examples over all devices, rounded up to a multiple of them.
  """

  def __init__(self, model, data: Pipeline, batch_size: int):
    devices = jax.device_count()
    self._batch_size = -(-min(batch_size, data.size) // devices) * devices
    self._data = data
    self._device_data = parallel.replicate(data.device_data)
    self._step = parallel.compile_step(
      steps.make_eval_step(model, data.make_batch, batch_size=self._batch_size), arguments=3
    )

  def __call__(self, variables, stop: Callable[[], Any] = lambda: False) -> Result | None:
    """Scores `{'params', 'batch_stats'}`, replicated; None where `stop()` ended it early."""
    sums = parallel.replicate(steps.eval_sums(len(self._data.class_names)))
    count = -(-self._data.size // self._batch_size)
    with contextlib.closing(self._data):
      for i in passing(count, 'evaluating', parallel.is_main()):
        start = np.uint32(i * self._batch_size)
        host_batch = self._data.feed(i, 1, self._batch_size)
        sums = self._step(sums, host_batch, self._device_data, variables, start)
        if stop():
          return None
    sums = parallel.fetch(sums)
    count = float(sums['examples'])
    bad = self._data.size - int(count)
    if bad > self._data.max_bad:  # of all processes
      raise stream.too_many_bad(bad, self._data.size, self._data.max_bad, 'those named above')
    means = {name: float(sums[name]) / count for name in ('loss', 'top1', 'top5')}
    return Result(int(count), bad, **means, confusion=sums['confusion'].astype(np.int64))
