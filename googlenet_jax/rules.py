"""Rules: what a field of a config may be, where its type alone does not say it."""

import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from googlenet_jax import schedules


class Rule(NamedTuple):
  """A test of a value, and the same in words.

  Attributes:
    test: `(value) -> bool`; for a value of another type it may raise what its operations raise.
    text: the same for a person, after "use".
  """

  test: Callable[[Any], bool]
  text: str


def one_of(*values) -> Rule:
  """The rule of a field that has a few values."""
  return Rule(lambda x: x in values, f'one of {", ".join(map(str, values))}')


def named(table) -> Rule:
  """The rule of a part's name: of a table, or a user's own."""
  text = f'one of {", ".join(table)}, or module:attribute of your own'
  return Rule(lambda x: x in table or ':' in x, text)


def all_named(table, *others: str) -> Rule:
  """The rule of a tuple, which may be empty, of such names."""
  one = named((*others, *table))
  text = one.text.replace('one of', 'some of', 1)
  return Rule(lambda x: not isinstance(x, str) and all(map(one.test, x)), text)


def at_least(low: float, at_most: float = float('inf')) -> Rule:
  """The rule of a number with bounds."""
  bounds = f' and at most {at_most}' if at_most < float('inf') else ''
  return Rule(lambda x: low <= x <= at_most, f'a number at least {low}{bounds}')


def above(low: float, at_most: float = float('inf')) -> Rule:
  """The rule of a number with a lower bound that is not reached."""
  bounds = f' and at most {at_most}' if at_most < float('inf') else ''
  return Rule(lambda x: low < x <= at_most, f'a number above {low}{bounds}')


def _whole_training(x) -> bool:
  match = re.fullmatch(schedules.DURATION, x)
  return match and match[2] != '%' and float(match[1]) > 0


def _steps_traced(x) -> bool:
  return not x or (re.fullmatch(r'\d+:\d+', x) and int(x.split(':')[0]) < int(x.split(':')[1]))


SHARE = at_least(0, 1)
BELOW_1 = Rule(lambda x: 0 <= x < 1, 'a number at least 0 and below 1')
DURATIONS = '"12 epochs", "300 steps" or "25%"'
DURATION = Rule(lambda x: re.fullmatch(schedules.DURATION, x), f'a duration like {DURATIONS}')
TRAINING = Rule(_whole_training, 'a duration above 0 like "12 epochs" or "300 steps"')
TRACED = Rule(_steps_traced, "'FIRST:LAST' steps, FIRST below LAST")
KEYWORDS = Rule(
  lambda x: all(isinstance(name, str) for name in x) and json.dumps(x),
  "a dict of what JSON can hold, like {'depth': 3}",
)
