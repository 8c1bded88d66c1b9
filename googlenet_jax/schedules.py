"""Durations ("8 epochs") and learning rates as functions of the step."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax

from googlenet_jax import registry
from googlenet_jax.errors import InputError

DURATION = r'\s*(\d+(?:\.\d+)?)\s*(epochs?|steps?|%)\s*'

Schedule = Callable[[int], float]  # by step, which may be traced


class Clock:
  """Converts durations to steps.

  Args:
    examples: number of examples in an epoch of the training split.
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


def constant() -> Schedule:
  """The peak all the time."""
  return optax.constant_schedule(1.0)


def exponential(
  clock: Clock, steps: int, decay_rate: float = 0.96, decay_every: str = '8 epochs'
) -> Schedule:
  """`decay_rate ** floor(step / decay_every)`, the paper's (section 6)."""
  every = clock.steps(decay_every)
  if every < 1:
    raise InputError(f'schedule.decay_every={decay_every!r} is below one step: give a longer one')
  # Looked up, because a float32 quotient falls short of a whole number for some of them.
  n, d = every.numerator, every.denominator
  decays = np.array([-(-i * n // d) for i in range(1, steps * d // n + 1)], np.int32)
  return lambda step: decay_rate ** jnp.searchsorted(decays, step, side='right')


def polynomial(steps: int, power: float = 0.5, final: float = 0.0) -> Schedule:
  """`(1 - share) ** power` down to `final`, Caffe's "poly"."""
  return optax.polynomial_schedule(1.0, final, power, steps)


def cosine(steps: int, final: float = 0.0) -> Schedule:
  """Half a cosine down to `final` (arXiv 1608.03983)."""
  return optax.cosine_decay_schedule(1.0, steps, final)


def piecewise_linear(
  clock: Clock, begin: int, points: Sequence[tuple[str, float]] = ()
) -> Schedule:
  """Straight lines through (duration from the start of the training, share), ascending."""
  if not points:
    raise InputError('config.schedule.points is empty: "piecewise_linear" needs at least one')
  times = [float(clock.steps(time)) for time, _ in points]
  if times != sorted(set(times)):
    raise InputError(f'schedule.points={points}: the durations must ascend')
  shares = [share for _, share in points]
  return lambda step: jnp.interp(
    jnp.asarray(step + begin, jnp.float32), jnp.array(times), jnp.array(shares)
  )


SCHEDULES: dict[str, Callable[..., Schedule]] = {
  'constant': constant,
  'exponential': exponential,
  'polynomial': polynomial,
  'cosine': cosine,
  'piecewise_linear': piecewise_linear,
}


def learning_rate(
  clock: Clock,
  *,
  name: str,
  peak: float,
  warmup: str = '0 steps',
  fields: Mapping[str, Any] = MappingProxyType({}),
  **offered,
) -> Schedule:
  """A schedule, after a linear warm-up from 0.

  A schedule is made by a function of keyword fields, as optax's are, and gives shares of the peak
  by the step after the warm-up. `clock`, `steps` (after the warm-up) and `begin` (the warm-up's
  last step) are put in where it takes them.

  Args:
    clock: what durations are measured by.
    name: key of `SCHEDULES`, or 'module:attribute'.
    peak: learning rate that the shares are of.
    warmup: duration of the warm-up.
    fields: fields of the schedule; durations, such as '25%', become steps.
    offered: fields that are put in where the schedule has them.

  Raises:
    InputError: no such schedule or field, or a value that it cannot have.
  """
  begin, total = clock.round(warmup), clock.total_steps
  if begin >= total and begin:
    raise InputError(f'schedule.warmup={warmup!r} takes the whole training ({total} steps)')
  part = registry.find(name, SCHEDULES, 'schedule.name')
  if not registry.takes(part, 'clock'):
    fields = {field: _in_steps(clock, value) for field, value in fields.items()}
  offered |= {'clock': clock, 'steps': max(total - begin, 1), 'begin': begin}
  shares = registry.call(part, 'schedule.fields', fields, offered=offered)

  def schedule(step):
    rising = jnp.minimum((step + 1) / (begin + 1), 1.0) if begin else 1.0
    return peak * rising * shares(jnp.maximum(step - begin, 0))

  return schedule


def _in_steps(clock, value):
  is_duration = isinstance(value, str) and re.fullmatch(DURATION, value)
  return clock.round(value) if is_duration else value
