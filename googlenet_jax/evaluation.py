"""Exact evaluation of a network over a split: the step as one device does it, and the loop."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from googlenet_jax import metrics, parallel
from googlenet_jax.data.crops import too_many_bad
from googlenet_jax.data.pipeline import Pipeline
from googlenet_jax.metrics import Metric
from googlenet_jax.parallel import AXIS, positions
from googlenet_jax.progress import passing

CORRECT = 'correct'  # key, among the sums of the metrics, of the examples that are classified right


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
    """The scores that are arrays, such as a confusion matrix."""
    return {name: np.asarray(x) for name, x in self.values.items() if np.ndim(x)}


class Evaluator:
  """Scores any parameters of one network on one split.

  Args:
    model: a network.
    data: a pipeline that neither shuffles nor repeats.
    scored: metrics by name (`metrics.create`).
    batch_size: examples over all devices, rounded up to a multiple of them.
    flip: score an image and its mirror image together (`_eval_step`), and alone too.
    each: also return whether each example is classified right (`Result.correct`).
    shifts: pixels by which images are moved for further scores (`_eval_step`).
  """

  def __init__(
    self,
    model,
    data: Pipeline,
    scored: Mapping[str, Metric],
    batch_size: int,
    *,
    flip: bool = False,
    each: bool = False,
    shifts: Sequence[int] = (),
  ):
    devices, self._compiled = jax.device_count(), False
    self._batch_size = -(-min(batch_size, data.size) // devices) * devices
    self._data, self._marked = data, data.size if each else 0
    self._metrics = scored | (_unflipped(scored) if flip else {})
    self._metrics |= dict.fromkeys(_shifted(shifts), scored['top1'])
    self._device_data = parallel.replicate(data.device_data)
    self._step = parallel.MappedStep(
      _eval_step(
        model,
        data.make_batch,
        scored,
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
    sums = parallel.replicate(_zeros(self._metrics, classes, self._marked))
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
    return Result(examples, bad, values, sums[CORRECT] == 1 if self._marked else None)


def _eval_step(
  model,
  make_batch: Callable,
  scored: Mapping[str, Metric],
  *,
  batch_size: int,
  flip: bool = False,
  size: int = 0,
  shifts: Sequence[int] = (),
) -> Callable:
  """An evaluation step: `(sums, host_batch, device_data, variables, start) -> sums`.

  `host_batch` has a leading axis of one step, as in training; `start` is the position of the
  batch's first example. Positions without an example add nothing, so the sums are exact for any
  size of split, batch and number of devices.

  Args:
    model: a network.
    make_batch: function of a pipeline.
    scored: metrics by name.
    batch_size: examples, over all devices.
    flip: score the mean of an image and its mirror image (`_mean_logits`), and the image alone
      under the names of `_unflipped`.
    size: examples of the split, to mark with a 1 under `CORRECT` those classified right; 0 for no
      marks.
    shifts: pixels by which images are moved to the right, the border reflected, for further top-1
      scores under the names of `_shifted`.
  """

  def add(logits, batch):
    return {name: x.sums(logits, batch.label, batch.mask) for name, x in scored.items()}

  def marked(logits, batch, places):
    right = metrics.correct(logits, batch.label) * batch.mask
    # The last batch has places beyond the end: they are dropped.
    return jnp.zeros(size, jnp.int8).at[places].add(right.astype(jnp.int8), mode='drop')

  def step(sums, host_batch, device_data, variables, start):
    host_batch = jax.tree.map(lambda x: x[0], host_batch)
    places = positions(start, batch_size)
    batch = make_batch(device_data, host_batch, places, None)
    logits = model.apply(variables, batch.image, train=False).logits
    new = add(logits, batch)
    if flip:
      mirrored = model.apply(variables, batch.image[:, :, ::-1], train=False).logits
      logits, new = _mean_logits(logits, mirrored), _unflipped(new)
      new |= add(logits, batch)
    for name, pixels in _shifted(shifts).items():
      moved = jnp.pad(batch.image, ((0, 0), (0, 0), (pixels, 0), (0, 0)), mode='reflect')
      moved = moved[:, :, : batch.image.shape[2]]
      logits_of_moved = model.apply(variables, moved, train=False).logits
      new[name] = scored['top1'].sums(logits_of_moved, batch.label, batch.mask)
    if size:
      new[CORRECT] = marked(logits, batch, places)
    new['examples'] = batch.mask.sum()
    return jax.tree.map(jnp.add, sums, lax.psum(new, AXIS))

  return step


def _zeros(scored: Mapping[str, Metric], classes: int, size: int = 0) -> dict[str, Any]:
  """What an evaluation step adds to, zero: the examples and the sums of each metric.

  Args:
    scored: metrics by name.
    classes: number of classes.
    size: examples of which each is marked.
  """
  logits = jax.ShapeDtypeStruct((1, classes), jnp.float32)
  mask = jax.ShapeDtypeStruct((1,), jnp.float32)
  shapes = {name: jax.eval_shape(x.sums, logits, logits, mask) for name, x in scored.items()}
  shapes |= {CORRECT: jax.ShapeDtypeStruct((size,), jnp.int8)} if size else {}
  return {'examples': jnp.zeros(())} | jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)


def _unflipped(values: Mapping[str, Any]) -> dict[str, Any]:
  """Values by metric, under the names that they have where the mirror image has no part in them."""
  return {f'{name}_unflipped': x for name, x in values.items()}


def _shifted(shifts: Sequence[int]) -> dict[str, int]:
  """Shifts by the name of their score."""
  return {f'top1_shift_{pixels}': pixels for pixels in shifts}


def _mean_logits(one: jax.Array, other: jax.Array) -> jax.Array:
  """Logits whose softmax is the mean of two softmaxes.

  Their log-normaliser is the mean of the two, which matters to losses that are not of a softmax.
  """
  scales = [jax.nn.logsumexp(x, axis=-1, keepdims=True) for x in (one, other)]
  mean = jnp.logaddexp(one - scales[0], other - scales[1]) - jnp.log(2.0)
  return mean + (scales[0] + scales[1]) / 2
