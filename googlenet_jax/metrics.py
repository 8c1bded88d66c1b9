"""Metrics of an evaluation by name.

A metric is a function `(logits [B, C], labels [B, C]) -> [B]`, whose mean is taken, or an object
with `sums(logits, labels, mask) -> tree` and `result(tree)`. The sums are added over batches and
devices; the result is made of them once, on the host.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from googlenet_jax import registry
from googlenet_jax.errors import InputError
from googlenet_jax.losses import Loss

REQUIRED = ('loss', 'top1')  # the curves and the choice of the best checkpoint
# Other names in a record of an evaluation, and in what it is made of.
RESERVED = re.compile(
  'step|split|time|epoch|examples|unreadable|correct|per_class_top1|about|overrides|versions|'
  '.*_unflipped|top1_shift_.*'
)


class Metric(Protocol):
  """What is not the mean of a number an example."""

  def sums(self, logits: jax.Array, labels: jax.Array, mask: jax.Array) -> Any:
    """A tree of arrays; `mask [B]` is 0 for a place without an example."""

  def result(self, sums: Any) -> float | np.ndarray:
    """The metric, made of the sums over all examples."""


class Mean:
  """The mean of a number an example.

  Attributes:
    function: `(logits [B, C], labels [B, C]) -> [B]`.
  """

  def __init__(self, function: Loss):
    self.function = function

  def sums(self, logits, labels, mask):
    """See `Metric`."""
    return {'sum': jnp.sum(self.function(logits, labels) * mask), 'examples': mask.sum()}

  def result(self, sums):
    """See `Metric`."""
    return float(sums['sum']) / float(sums['examples'])


class Confusion:
  """Counts `[C, C]`: row the label, column the prediction."""

  def sums(self, logits, labels, mask):
    """See `Metric`."""
    counts = jnp.zeros((logits.shape[-1],) * 2)
    return counts.at[labels.argmax(-1), logits.argmax(-1)].add(mask)

  def result(self, sums):
    """See `Metric`."""
    return sums.astype(np.int64)


class CalibrationError:
  """Expected calibration error of the softmax (arXiv 1706.04599, equation 3).

  Examples are sorted into bins of equal width by the probability of their prediction; the error
  is the mean over examples of |accuracy - confidence| of their bin.

  Attributes:
    bins: number of bins.
  """

  def __init__(self, bins: int = 15):
    self.bins = bins

  def sums(self, logits, labels, mask):
    """See `Metric`."""
    confidence = jax.nn.softmax(logits).max(-1)
    # The edges belong to the bin below, as in the paper: (m - 1) / bins < confidence <= m / bins.
    bins = jnp.clip(jnp.ceil(confidence * self.bins) - 1, 0, self.bins - 1).astype(jnp.int32)
    hits = correct(logits, labels) * mask
    return {
      'accuracy': jnp.zeros(self.bins).at[bins].add(hits),
      'confidence': jnp.zeros(self.bins).at[bins].add(confidence * mask),
      'examples': mask.sum(),
    }

  def result(self, sums):
    """See `Metric`."""
    return float(np.abs(sums['accuracy'] - sums['confidence']).sum() / sums['examples'])


def correct(logits: jax.Array, labels: jax.Array, k: int = 1) -> jax.Array:
  """`[B]` float32: 1 where the label's largest class is among the `k` largest logits.

  Exactly `k` classes are counted also where logits tie (the lower class wins), so a
  network that answers the same for every class is right for `k / C` of them.
  """
  _, best = jax.lax.top_k(logits, min(k, logits.shape[-1]))
  return jnp.any(best == labels.argmax(-1)[:, None], axis=-1).astype(jnp.float32)


def top1(logits: jax.Array, labels: jax.Array) -> jax.Array:
  """1 where the largest logit is the label's."""
  return correct(logits, labels)


def top5(logits: jax.Array, labels: jax.Array, k: int = 5) -> jax.Array:
  """1 where the label is among the `k` largest logits."""
  return correct(logits, labels, k)


METRICS: dict[str, Callable | type] = {
  'top1': top1,
  'top5': top5,
  'confusion': Confusion,
  'calibration_error': CalibrationError,
}


def create(
  names: Sequence[str], fields: Mapping[str, Mapping[str, Any]], loss: Loss
) -> dict[str, Metric]:
  """Metrics by name.

  Args:
    names: keys of `METRICS`, 'loss', or 'module:attribute', whose name is the attribute's.
    fields: free fields of a metric, by its name.
    loss: the training's, without smoothing; the metric 'loss'.

  Raises:
    InputError: no such metric or field, or one of `REQUIRED` is missing.
  """
  made = {}
  if missing := [name for name in REQUIRED if name not in names]:
    raise InputError(
      f'config.eval.metrics={tuple(names)}: add {missing[0]!r}, which is always needed'
    )
  for name, own in registry.by_name(names, fields, 'eval.metrics', 'eval.metric_fields').items():
    where = f'eval.metric_fields[{name!r}]'
    found = loss if name == 'loss' else registry.find(name, METRICS, 'eval.metrics', made=True)
    if hasattr(found, 'sums') and not isinstance(found, type):
      if own:
        raise InputError(f'config.{where}: {name} is an object already: name its class instead')
      metric = found
    elif hasattr(found, 'sums'):
      metric = registry.call(found, where, own)
    else:
      metric = Mean(registry.bind(found, where, own))
    short = name.rpartition(':')[2]
    if short in made or RESERVED.fullmatch(short):
      raise InputError(f'config.eval.metrics: {name!r} would be called {short!r}, as another is')
    made[short] = metric
  return made
