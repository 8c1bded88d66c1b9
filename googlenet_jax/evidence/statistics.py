"""Intervals for several differences at once, and what they say about a claim.

The runs of an arm differ by their seed alone. Arms share one standard deviation, pooled over them,
and the differences get simultaneous intervals from the multivariate t distribution: Dunnett's where
all arms are compared with one (Dunnett 1955, doi:10.2307/2281208). With probability `level` all
intervals of a family cover the true differences, so the probability that any verdict read off them
is false (the family-wise error rate) is at most `1 - level`.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

LEVEL = 0.95
POWER = 0.8
LEAST_SEEDS = 3  # runs of an arm before a verdict on it
DRAWS, SEED = 400_000, 0  # of `critical`: exact to 0.2%, and the same each time


class Pooled(NamedTuple):
  """The standard deviation that arms have in common.

  Attributes:
    deviation: standard deviation of a run.
    freedom: its degrees of freedom.
  """

  deviation: float
  freedom: int


class Difference(NamedTuple):
  """A difference between the means of two arms.

  Attributes:
    value: the first arm's mean less the second's.
    low, high: its simultaneous interval.
    findable: minimum detectable difference: the smallest true one whose interval would exclude 0
      with probability `POWER`.
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
  """The differences of pairs of arms, with simultaneous intervals.

  Args:
    arms: outcomes of each arm's runs; two or more in one of them.
    pairs: arms (first, second) by name: the family whose intervals are to hold together.
    level: probability that all intervals cover the true differences.

  Raises:
    ValueError: no arm has two runs, or an arm of a pair has none.
  """
  spread = pooled(arms)
  if spread is None:
    raise ValueError('no arm has two runs: the spread is unknown')
  # Each pair once: a repeated or a mirrored one adds nothing to what has to hold together.
  distinct = list(dict.fromkeys(tuple(sorted(pair)) for pair in pairs))
  names = sorted({name for pair in distinct for name in pair})
  counts = tuple(len(arms[name]) for name in names)
  places = tuple((names.index(first), names.index(second)) for first, second in distinct)
  # Both in standard errors: half an interval, and the difference that it can detect.
  half_width = critical(counts, places, spread.freedom, level)
  findable = half_width + stats.t.ppf(POWER, spread.freedom)
  result = []
  for first, second in pairs:
    value = float(np.mean(arms[first]) - np.mean(arms[second]))
    error = spread.deviation * np.sqrt(1 / len(arms[first]) + 1 / len(arms[second]))
    half = float(half_width * error)
    result.append(Difference(value, value - half, value + half, float(findable * error)))
  return result


@functools.cache
def critical(
  counts: tuple[int, ...], pairs: tuple[tuple[int, int], ...], freedom: int, level: float
) -> float:
  """The critical value: half the width of simultaneous intervals, in standard errors of each.

  Args:
    counts: runs of each arm.
    pairs: arms (first, second) by their place in `counts`.
    freedom: degrees of freedom of the pooled standard deviation.
    level: probability that all intervals cover.
  """
  if len(pairs) == 1:
    return float(stats.t.ppf((1 + level) / 2, freedom))
  # By simulation, as scipy's integral fails where one difference is the sum of others.
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
