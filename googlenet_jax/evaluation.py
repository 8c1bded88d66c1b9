"""Exact evaluation of a network over a split."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from googlenet_jax import parallel, steps
from googlenet_jax.data.crops import too_many_bad
from googlenet_jax.data.pipeline import Pipeline
from googlenet_jax.metrics import Metric
from googlenet_jax.progress import passing


class Result(NamedTuple):
  """Scores over all examples of a split.

  Attributes:
    examples: number of examples scored.
    unreadable: number of those that could not be read.
    values: what each metric gives, by name: a number or an array.
    correct: `[size]` bool, whether each example of the split is right; None where not asked for.
  """

  examples: int
  unreadable: int
  values: dict[str, Any]
  correct: np.ndarray | None = None

  def numbers(self) -> dict[str, float]:
    """The scores that are one number each; what a record holds."""
    numbers = {name: float(x) for name, x in self.values.items() if np.ndim(x) == 0}
    return numbers | ({'unreadable': self.unreadable} if self.unreadable else {})

  def arrays(self) -> dict[str, np.ndarray]:
    """The others."""
    return {name: np.asarray(x) for name, x in self.values.items() if np.ndim(x)}


class Evaluator:
  """Scores any parameters of one network on one split.

  Args:
    model: a network.
    data: a pipeline that neither shuffles nor repeats.
    metrics: metrics by name (`metrics.create`).
    batch_size: examples over all devices, rounded up to a multiple of them.
    flip: score an image and its mirror image together (`steps.make_eval_step`), and alone too.
    each: tell of every example whether it is right.
    shifts: pixels by which images are moved for further scores (`steps.make_eval_step`).
  """

  def __init__(
    self,
    model,
    data: Pipeline,
    metrics: Mapping[str, Metric],
    batch_size: int,
    flip: bool = False,
    each: bool = False,
    shifts: Sequence[int] = (),
  ):
    devices, self._compiled = jax.device_count(), False
    self._batch_size = -(-min(batch_size, data.size) // devices) * devices
    self._data, self._marked = data, data.size if each else 0
    self._metrics = metrics | (steps.unflipped(metrics) if flip else {})
    self._metrics |= dict.fromkeys(steps.shifted(shifts), metrics['top1'])
    self._device_data = parallel.replicate(data.device_data)
    self._step = parallel.MappedStep(
      steps.make_eval_step(
        model,
        data.make_batch,
        metrics,
        batch_size=self._batch_size,
        flip=flip,
        size=self._marked,
        shifts=shifts,
      ),
      arguments=3,
    )

  def __call__(self, variables, stop: Callable[[], Any] = lambda: False) -> Result | None:
    """Scores `{'params', 'batch_stats'}`, replicated; None where `stop()` ended it early."""
    classes = len(self._data.class_names)
    sums = parallel.replicate(steps.eval_sums(self._metrics, classes, self._marked))
    count = -(-self._data.size // self._batch_size)
    with contextlib.closing(self._data):
      what = 'evaluating' if self._compiled else 'compiling the evaluation'
      bar = passing(count, what, parallel.is_main())
      for i in bar:
        start = np.uint32(i * self._batch_size)
        host_batch = self._data.feed(i, 1, self._batch_size)
        sums = self._step(sums, host_batch, self._device_data, variables, start)
        self._compiled = True
        bar.set_description('evaluating', refresh=False)
        if stop():
          return None
    sums = parallel.fetch(sums)
    examples = int(sums['examples'])
    bad = self._data.size - examples
    if bad > self._data.max_bad:  # sum over all processes
      raise too_many_bad(bad, self._data.size, self._data.max_bad, 'those named above')
    values = {name: metric.result(sums[name]) for name, metric in self._metrics.items()}
    return Result(examples, bad, values, sums[steps.CORRECT] == 1 if self._marked else None)
