"""Intervals for several differences at once, and what they say about a claim.

The runs of an arm differ by their seed alone. Arms share one standard deviation, pooled over them,
and the differences get simultaneous intervals from the multivariate t distribution: Dunnett's where
all arms are compared with one (Dunnett 1955, doi:10.2307/2281208). All intervals of a family hold
together with the stated probability, so verdicts that are read off them are false together at most
as often as one of them does not.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

LEVEL = 0.95
POWER = 0.8
LEAST_SEEDS = 3  # runs of an arm before a verdict on it
DRAWS, SEED = 400_000, 0  # for `critical`: 0.2% of its value, and the same bits each time


class Pooled(NamedTuple):
  """The standard deviation that arms have in common.

  Attributes:
    deviation: standard deviation of a run.
    freedom: degrees of freedom that it is known with.
  """

  deviation: float
  freedom: int


class Difference(NamedTuple):
  """A difference between the means of two arms.

  Attributes:
    value: the first arm's mean less the second's.
    low, high: its simultaneous interval.
    findable: smallest true difference that an interval would leave 0 out of with probability
      `POWER`.
  """

  value: float
  low: float
  high: float
  findable: float


def pooled(arms: Mapping[str, Sequence[float]]) -> Pooled | None:
  """The standard deviation within the arms; None where no arm has two runs."""
  known = [np.asarray(runs) for runs in arms.values() if len(runs)]
  freedom = sum(len(runs) - 1 for runs in known)
  if not freedom:
    return None
  squares = sum(np.square(runs - runs.mean()).sum() for runs in known)
  return Pooled(float(np.sqrt(squares / freedom)), freedom)


def differences(
  arms: Mapping[str, Sequence[float]], pairs: Sequence[tuple[str, str]], level: float = LEVEL
) -> list[Difference]:
  """The differences of pairs of arms, with intervals that hold together.

  Args:
    arms: outcomes of each arm's runs; two or more in one of them.
    pairs: arms (first, second) by name; all that is to hold together.
    level: probability that all intervals cover the true differences.

  Raises:
    ValueError: no arm has two runs, or an arm of a pair has none.
  """
  known = pooled(arms)
  if known is None:
    raise ValueError('no arm has two runs: the spread is unknown')
  # Each pair once: a repeated or a mirrored one adds nothing to what has to hold together.
  unlike = list(dict.fromkeys(tuple(sorted(pair)) for pair in pairs))
  names = sorted({name for pair in unlike for name in pair})
  counts = tuple(len(arms[name]) for name in names)
  places = tuple((names.index(first), names.index(second)) for first, second in unlike)
  width = critical(counts, places, known.freedom, level)
  reach = width + stats.t.ppf(POWER, known.freedom)
  found = []
  for first, second in pairs:
    value = float(np.mean(arms[first]) - np.mean(arms[second]))
    error = known.deviation * np.sqrt(1 / len(arms[first]) + 1 / len(arms[second]))
    half = float(width * error)
    found.append(Difference(value, value - half, value + half, float(reach * error)))
  return found


@functools.cache
def critical(
  counts: tuple[int, ...], pairs: tuple[tuple[int, int], ...], freedom: int, level: float
) -> float:
  """Half the width of simultaneous intervals, in standard errors of their differences.

  Args:
    counts: runs of each arm.
    pairs: arms (first, second) by their place in `counts`.
    freedom: degrees of freedom of the pooled standard deviation.
    level: probability that all intervals cover.
  """
  if len(pairs) == 1:
    return float(stats.t.ppf((1 + level) / 2, freedom))
  # Drawn, as scipy's integral fails where one difference is the sum of others.
  random = np.random.default_rng(SEED)
  means = random.standard_normal((len(counts), DRAWS)) / np.sqrt(counts)[:, None]
  deviation = np.sqrt(random.chisquare(freedom, DRAWS) / freedom)
  greatest = np.zeros(DRAWS)
  for first, second in pairs:
    error = np.sqrt(1 / counts[first] + 1 / counts[second])
    np.maximum(greatest, np.abs(means[first] - means[second]) / error, out=greatest)
  return float(np.quantile(greatest / deviation, level))


def verdict(difference: Difference, direction: str, margin: float) -> str:
  """What an interval says about a claim on the first arm.

  Args:
    difference: first arm less second.
    direction: 'higher' or 'lower' than the second arm, or 'equal' to it.
    margin: greatest difference that counts as none.

  Returns:
    'equivalent' where all of the interval is within the margin (two one-sided tests), 'supported'
    or 'refuted' where it leaves 0 out (for 'equal': where all of it is beyond the margin), else
    'unresolved'.
  """
  _, low, high, _ = difference
  if -margin < low and high < margin:
    return 'equivalent'
  if direction == 'equal':
    return 'refuted' if low > margin or high < -margin else 'unresolved'
  above, below = low > 0, high < 0
  if above or below:
    return 'supported' if above == (direction == 'higher') else 'refuted'
  return 'unresolved'


def of_the_images(first: np.ndarray, second: np.ndarray) -> float:
  """Standard error of a difference in accuracy that comes from the choice of the test images.

  Args:
    first, second: `[runs, images]` bool, whether each image is right; of the same images.
  """
  each = first.mean(0) - second.mean(0)
  return float(each.std(ddof=1) / np.sqrt(len(each)))
