"""Durations ("8 epochs") and learning rates as functions of the step."""

import math
import re
from collections.abc import Callable, Sequence
from fractions import Fraction

import jax.numpy as jnp
import numpy as np

from googlenet_jax.errors import InputError

DURATION = r'\s*(\d+(?:\.\d+)?)\s*(epochs?|steps?|%)\s*'
NAMES = ('constant', 'exponential', 'polynomial', 'cosine', 'piecewise_linear')

Schedule = Callable[[int], float]  # step -> learning rate; works on traced steps too


class Clock:
  """Converts durations to steps.

  Args:
    examples: in an epoch of the training split.
    batch_size: examples a step, over all devices.
    total: duration of the whole training.
  """

  def __init__(self, examples: int, batch_size: int, total: str):
    self.steps_per_epoch = Fraction(examples, batch_size)
    self.total_steps = 0  # "%" means nothing while the total itself is read
    self.total_steps = self.round(total)

  def steps(self, duration: str) -> Fraction:
    """Steps in '12 epochs', '0.5 epochs', '300 steps' or '25%' (of the training).

    Exact: an epoch need not be a whole number of steps.

    Raises:
      InputError: it is none of these.
    """
    match = re.fullmatch(DURATION, str(duration))
    if not match or (match[2] == '%' and not self.total_steps):
      raise InputError(f'duration {duration!r}: write "12 epochs", "300 steps" or "25%"')
    unit = {'e': self.steps_per_epoch, 's': Fraction(1), '%': Fraction(self.total_steps, 100)}
    return Fraction(match[1]) * unit[match[2][0]]

  def round(self, duration: str) -> int:
    """The nearest whole number of steps, at least 1 for what is not 0."""
    steps = self.steps(duration)
    return max(round(steps), 1) if steps else 0

  def epochs(self, step: int) -> float:
    """Epochs done after so many steps."""
    return float(step / self.steps_per_epoch)

  def due(self, step: int, every: str) -> int:
    """The first step after `step` at which something that recurs `every` is due."""
    interval = self.steps(every)
    if not interval:
      return self.total_steps
    return min(self.total_steps, math.ceil((step // max(interval, 1) + 1) * max(interval, 1)))


def learning_rate(
  clock: Clock,
  *,
  name: str,
  peak: float,
  warmup: str = '0 steps',
  decay_rate: float = 0.96,
  decay_every: str = '8 epochs',
  power: float = 0.5,
  final: float = 0.0,
  points: Sequence[tuple[str, float]] = (),
) -> Schedule:
  """A schedule, after a linear warm-up from 0.

  Args:
    clock: what durations are measured by.
    name: 'constant'; 'exponential': `decay_rate ** floor(steps / decay_every)`, the paper's
      (section 6); 'polynomial': `(1 - share) ** power`, Caffe's "poly"; 'cosine'; or
      'piecewise_linear' through `points`.
    peak: the rate that every form scales.
    warmup: duration; the form counts its own time from its end.
    final: what cosine and polynomial end on, a share of the peak.
    points: (duration from the start, share of the peak), ascending.
  """
  if name not in NAMES:
    raise InputError(f'no schedule {name!r}: use one of {", ".join(NAMES)}')
  begin, total = clock.round(warmup), clock.total_steps
  length = max(total - begin, 1)
  if begin >= total and begin:
    raise InputError(f'schedule.warmup={warmup!r} takes the whole training ({total} steps)')

  if name == 'piecewise_linear':
    if not points:
      raise InputError('schedule.points is empty: "piecewise_linear" needs at least one')
    times = [float(clock.steps(time)) for time, _ in points]
    if times != sorted(set(times)):
      raise InputError(f'schedule.points={points}: the durations must ascend')
  elif name == 'exponential':
    every = clock.steps(decay_every)
    if every < 1:
      raise InputError(f'schedule.decay_every={decay_every!r} is below one step: give a longer one')
    # Looked up, because a float32 quotient falls short of a whole number for some of them.
    n, d = every.numerator, every.denominator
    decays = np.array([-(-i * n // d) for i in range(1, length * d // n + 1)], np.int32)

  def form(step):
    share = jnp.clip((step - begin) / length, 0.0, 1.0)
    if name == 'constant':
      return 1.0
    if name == 'exponential':
      return decay_rate ** jnp.searchsorted(decays, step - begin, side='right')
    if name == 'polynomial':
      return final + (1 - final) * (1 - share) ** power
    if name == 'cosine':
      return final + (1 - final) * 0.5 * (1 + jnp.cos(jnp.pi * share))
    shares = jnp.array([share for _, share in points])
    return jnp.interp(jnp.asarray(step, jnp.float32), jnp.array(times), shares)

  def schedule(step):
    rising = jnp.minimum((step + 1) / (begin + 1), 1.0) if begin else 1.0
    return peak * rising * form(step)

  return schedule
