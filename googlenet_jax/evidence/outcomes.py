"""What a run is judged by: a table of numbers, each read off what the run left."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

FIRST_STEPS = 500  # whose gradients are looked at


class Course(NamedTuple):
  """What a finished run left.

  Attributes:
    lines: its training records (`metrics.jsonl`), in order.
    summary: `summary.json`.
    norms: gradient-to-parameter norm of each layer over the first steps (`norms`).
  """

  lines: Sequence[dict]
  summary: dict
  norms: dict[str, float]


class Outcome(NamedTuple):
  """A row of the table.

  Attributes:
    title: name for a person.
    unit: unit of the number.
    value: `Course -> number`; None where the run does not tell.
  """

  title: str
  unit: str
  value: Callable[[Course], float | None]

  @property
  def digits(self) -> int:
    """Decimals that are shown."""
    return 2 if self.unit in ('%', 'points') else 3


def norms(lines: Sequence[dict]) -> dict[str, float]:
  """Mean norm of the gradient over that of the parameters, by layer, in the first steps.

  {} where none were logged.

  Args:
    lines: training records.
  """
  early = _early(lines)
  gradients = [name for name in (early[0] if early else ()) if name.startswith('gradient_norm/')]
  found = {}
  for name in gradients:
    layer = name.removeprefix('gradient_norm/')
    ratios = [line[name] / line[f'parameter_norm/{layer}'] for line in early]
    found[layer] = float(np.mean(ratios))
  return found


def _early(lines):
  return [line for line in lines if line['step'] <= FIRST_STEPS] or list(lines[:1])


def _percent(value: Callable):
  def percent(course):
    share = value(course)
    return None if share is None else 100 * share

  return percent


def _online(name: str, last: bool):
  """The mean of a number over the training records that lie in the first or the last epoch."""

  def value(course):
    end = course.lines[-1]['epoch'] if last else 1.0
    counts, values, start, before = [], [], 0.0, 0
    for line in course.lines:
      step = line['epoch'] / line['step']  # in epochs: records end at whole steps
      if start >= end - 1 - step and line['epoch'] <= end + step:
        counts.append(line['step'] - before)
        values.append(line[name])
      start, before = line['epoch'], line['step']
    return float(np.average(values, weights=counts)) if values else None

  return value


def _gap(course):
  train, test = (OUTCOMES[name].value(course) for name in ('train_top1', 'test_top1'))
  return None if None in (train, test) else train - test


def _lost_by_shifting(course):
  named = {x.rpartition('_')[2]: x for x in course.summary if x.startswith('test_top1_shift_')}
  if not named:
    return None
  farthest = named[max(named, key=int)]
  alone = course.summary.get('test_top1_unflipped', course.summary['test_top1'])
  return 100 * (alone - course.summary[farthest])


def _decades(first: str, last: str = ''):
  """The logarithm to base 10 of a layer's norm, over another layer's where one is named."""

  def value(course):
    over, under = course.norms.get(first), course.norms.get(last) if last else 1.0
    return math.log10(over / under) if over and under else None  # a dead layer has none

  return value


def _head_gradient(course):
  own, other = (f'{head}_gradient_norm/conv1' for head in ('aux1', 'main'))
  ratios = [line[own] / line[other] for line in _early(course.lines) if line.get(own)]
  return math.log10(np.mean(ratios)) if ratios else None


OUTCOMES: dict[str, Outcome] = {
  'test_top1': Outcome('test top-1', '%', _percent(lambda course: course.summary['test_top1'])),
  'test_loss': Outcome('test loss', 'nats', lambda course: course.summary['test_loss']),
  'train_top1': Outcome(
    'top-1 in the last epoch of training', '%', _percent(_online('main_top1', last=True))
  ),
  'train_loss': Outcome(
    'loss in the last epoch of training', 'nats', _online('main_loss', last=True)
  ),
  'gap': Outcome('top-1 in the last epoch of training less that of the test', 'points', _gap),
  'first_epoch_top1': Outcome(
    'top-1 in the first epoch of training', '%', _percent(_online('main_top1', last=False))
  ),
  'shift_loss': Outcome(
    'test top-1 lost by the farthest of eval.shifts', 'points', _lost_by_shifting
  ),
  'conv1_gradient': Outcome(
    f'gradient over parameters of conv1, first {FIRST_STEPS} steps', 'decades', _decades('conv1')
  ),
  'gradient_reach': Outcome(
    f'gradient over parameters, conv1 over inception_5b, first {FIRST_STEPS} steps',
    'decades',
    _decades('conv1', 'inception_5b'),
  ),
  'head_gradient': Outcome(
    f"gradient of the first head over the classifier's at conv1, first {FIRST_STEPS} steps",
    'decades',
    _head_gradient,
  ),
}


def measure(course: Course) -> dict[str, float]:
  """All outcomes that a run tells."""
  found = {name: outcome.value(course) for name, outcome in OUTCOMES.items()}
  return {name: value for name, value in found.items() if value is not None}
