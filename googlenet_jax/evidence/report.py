"""Arms compared: from an experiment and its records to tables and verdicts. Trains nothing."""

import collections
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from googlenet_jax import schema
from googlenet_jax.errors import InputError
from googlenet_jax.evidence import design, statistics
from googlenet_jax.evidence.design import BASE, Claim, Experiment
from googlenet_jax.evidence.outcomes import OUTCOMES
from googlenet_jax.evidence.result import Result, alike
from googlenet_jax.evidence.statistics import LEAST_SEEDS, LEVEL, Difference
from googlenet_jax.tools.tables import Table

MAIN = 'test_top1'  # what arms are compared by beside the claims


class Arm(NamedTuple):
  """An arm and what is known of it.

  Attributes:
    name: its name.
    fields: what it changes.
    results: records of its finished runs, by seed.
    failed: number of runs that diverged.
    planned: number of its seeds.
  """

  name: str
  fields: dict
  results: tuple[Result, ...]
  failed: int
  planned: int

  def values(self, outcome: str) -> list[float]:
    """An outcome of each run that tells it."""
    return [x.outcomes[outcome] for x in self.results if outcome in x.outcomes]


class Finding(NamedTuple):
  """What is known of a claim.

  Attributes:
    claim: the claim.
    difference: a's outcome less b's; None before the spread is known.
    images: half of the 95% interval that the choice of the test images adds, points; None where the
      outcome is no accuracy.
    verdict: see `statistics.verdict`; before there are `LEAST_SEEDS` of each arm 'not yet run', or
      'too few runs' where no more are planned.
  """

  claim: Claim
  difference: Difference | None
  images: float | None
  verdict: str


class Comparison(NamedTuple):
  """An experiment and its records.

  Attributes:
    experiment: the experiment.
    arms: its arms by name, in order.
    control: name of the arm that the others are compared with.
    outcomes: outcomes that are compared, `MAIN` or that of the first claim first.
    to_control: by outcome and arm, its difference to the control.
    findings: one a claim.
  """

  experiment: Experiment
  arms: dict[str, Arm]
  control: str
  outcomes: tuple[str, ...]
  to_control: dict[str, dict[str, Difference]]
  findings: tuple[Finding, ...]

  def finished(self) -> list[Result]:
    """The records of all finished runs."""
    return [result for arm in self.arms.values() for result in arm.results]


def compare(experiment: Experiment, results: Sequence[Result]) -> Comparison:
  """Compares the arms of an experiment by the records of its points.

  Raises:
    InputError: records that cannot be compared: of other code, versions or data, or of fields
      that the experiment does not declare.
  """
  by_key = {result.content['key']: result for result in results}
  _check_declared(experiment, results)
  arms, matched = {}, []
  for name, points in experiment.arms().items():
    runs = [by_key[point.key] for point in points if point.key in by_key]
    matched += runs
    finished = tuple(x for x in runs if not x.content['failed'])
    fields = {field: x for field, x in points[0].fields.items() if field != 'seed'}
    arms[name] = Arm(name, fields, finished, len(runs) - len(finished), len(points))
  _check_alike(matched)
  control = BASE if BASE in arms else next(iter(arms))
  claimed = list(dict.fromkeys(claim.outcome for claim in experiment.claims))
  level = 1 - (1 - LEVEL) / max(len(claimed), 1)  # each outcome is a family
  to_control = {x: _to_control(arms, x, control, level) for x in claimed or [MAIN]}
  findings = tuple(_finding(arms, claim, experiment.claims, level) for claim in experiment.claims)
  return Comparison(experiment, arms, control, tuple(to_control), to_control, findings)


def _check_declared(experiment, results):
  """Refuses a record of a point's arm and seed, or of its key, whose config is another."""
  points = {(point.arm, point.config.seed): point for point in experiment.points}
  keys = {point.key: point for point in experiment.points}
  defaults = design.counted(schema.config())  # values of fields newer than a record
  for result in results:
    content = result.content
    point = keys.get(content['key'])
    if content['experiment'] == experiment.name:
      point = point or points.get((content['arm'], content['seed']))
    if not point:
      continue
    there, here = defaults | content['config'], design.counted(point.config)
    fields = [x for x in sorted(there | here) if there.get(x) != here.get(x)]
    if fields:
      some = ', '.join(f'{x}: {there.get(x)!r} there, {here.get(x)!r} here' for x in fields[:3])
      raise InputError(
        f'{result.path}: another run of arm {point.arm!r}, seed {content["seed"]}, than the '
        f'experiment declares ({some}): move the record away, or declare the fields'
      )


def _check_alike(results):
  """Refuses records of different code, versions or examples."""
  seen = {}  # the first value of each, and the record that has it
  for content, path in results:
    values = {what: content[what] for what in alike()}
    values |= {f'examples in {split!r}': digest for split, digest in content['data'].items()}
    values |= {f'code in {part}': digest for part, digest in content.get('parts', {}).items()}
    for what, value in values.items():
      first, where = seen.setdefault(what, (value, path))
      if value != first:
        raise InputError(
          f'{path} and {where} are of different {what} ({value} and {first}) and cannot be '
          'compared: run one of them again'
        )


def _to_control(arms, outcome, control, level) -> dict[str, Difference]:
  """Each arm's difference to the control; {} before there is one, or before the spread is known."""
  values = {name: arm.values(outcome) for name, arm in arms.items() if arm.values(outcome)}
  names = [name for name in values if name != control]
  if control not in values or not names or statistics.pooled(values) is None:
    return {}
  differences = statistics.differences(values, [(name, control) for name in names], level)
  return dict(zip(names, differences, strict=True))


def _finding(arms: Mapping[str, Arm], claim: Claim, claims: Sequence[Claim], level) -> Finding:
  values = {name: arm.values(claim.outcome) for name, arm in arms.items()}
  family = [(x.a, x.b) for x in claims if x.outcome == claim.outcome]
  family = [pair for pair in family if all(values[name] for name in pair)]
  two = [arms[claim.a], arms[claim.b]]
  least = min(len(values[arm.name]) for arm in two)
  done = all(len(arm.results) + arm.failed >= arm.planned for arm in two)
  verdict = 'too few runs' if done else 'not yet run'
  if not least or statistics.pooled(values) is None:
    return Finding(claim, None, None, verdict)
  difference = statistics.differences(values, family, level)[family.index((claim.a, claim.b))]
  if least >= LEAST_SEEDS:
    verdict = statistics.verdict(difference, claim.direction, claim.margin)
  return Finding(claim, difference, _of_the_images(arms, claim), verdict)


def _of_the_images(arms, claim):
  if claim.outcome != MAIN:
    return None
  marks = [
    [x.correct for x in arms[name].results if x.content['images']] for name in (claim.a, claim.b)
  ]
  if not all(marks) or len({len(mark) for arm in marks for mark in arm}) > 1:
    return None
  first, second = (np.stack(arm) for arm in marks)
  return 100 * 1.96 * statistics.of_the_images(first, second)


def findable(finding: Finding) -> float:
  """Smallest true difference that would have a verdict against it with probability `POWER`.

  One that leaves 0 out; for 'equal', one that is beyond the margin.
  """
  claim, difference, *_ = finding
  return difference.findable + (claim.margin if claim.direction == 'equal' else 0)


def table(comparison: Comparison) -> Table:
  """A row for each outcome and arm."""
  columns = (
    'outcome', 'arm', 'changes', 'seeds', 'failed', 'values', 'mean', '± of the mean',
    f'less {comparison.control}', 'from', 'to', 'verdicts',
    'parameters', 'with heads', 'multiply-adds (M)', 'images/s', 'minutes',
  )  # fmt: skip
  rows = []
  for outcome in comparison.outcomes:
    known = statistics.pooled({x: arm.values(outcome) for x, arm in comparison.arms.items()})
    for name, arm in comparison.arms.items():
      values = arm.values(outcome)
      half = None
      if values and known:
        error = known.deviation / len(values) ** 0.5
        half = float(stats.t.ppf((1 + LEVEL) / 2, known.freedom)) * error
      difference = comparison.to_control[outcome].get(name)
      costs = [x.content for x in arm.results]
      rows.append(
        (
          OUTCOMES[outcome].title,
          name,
          ', '.join(f'{x}={y!r}' for x, y in arm.fields.items()),
          len(values),
          arm.failed,
          ' '.join(f'{x:.{OUTCOMES[outcome].digits}f}' for x in values),
          sum(values) / len(values) if values else None,
          half,
          *(difference[:3] if difference else (None, None, None)),
          _verdicts(comparison, name, outcome),
          *(
            (costs[0][x] for x in ('parameters', 'parameters_with_heads')) if costs else 2 * [None]
          ),
          costs[0]['multiply_adds'] / 1e6 if costs else None,
          median(x['images_per_second'] for x in costs),
          median(x['minutes'] for x in costs),
        )
      )
  return Table(comparison.experiment.title, columns, rows, notes(comparison), digits=3)


def claims(comparison: Comparison) -> Table:
  """A row for each claim."""
  columns = (
    'claim', 'source', 'first arm', 'second arm', 'outcome', 'claimed', 'margin', 'difference',
    'from', 'to', '± of the images', 'could have found', 'verdict',
  )  # fmt: skip
  rows = []
  for finding in comparison.findings:
    claim, difference, images, verdict = finding
    numbers = (None, None, None) if difference is None else difference[:3]
    rows.append(
      (
        *claim[:4],
        f'{OUTCOMES[claim.outcome].title} ({OUTCOMES[claim.outcome].unit})',
        claim.direction,
        claim.margin,
        *numbers,
        images,
        None if difference is None else findable(finding),
        verdict,
      )
    )
  return Table(comparison.experiment.title, columns, rows, notes(comparison), digits=3)


def notes(comparison: Comparison) -> tuple[str, ...]:
  """What the figures rest on, in sentences."""
  found = []
  for outcome in comparison.outcomes:
    values = {name: arm.values(outcome) for name, arm in comparison.arms.items()}
    known = statistics.pooled(values)
    if known:
      runs = sum(map(len, values.values()))
      about = OUTCOMES[outcome]
      found.append(
        f'{about.title[0].upper()}{about.title[1:]}: standard deviation of a run '
        f'{known.deviation:.{about.digits}f} {about.unit}, pooled over {runs} runs '
        f'({known.freedom} degrees of freedom).'
      )
  found.append(
    f'Intervals hold together with {LEVEL:.0%}, over all outcomes: those of the claims and, as a '
    f'family of its own, the differences to {comparison.control}. Runs are not paired by seed.'
  )
  failed = sum(arm.failed for arm in comparison.arms.values())
  if failed:
    found.append(f'{failed} runs ended with a loss that was not finite; they have no outcome.')
  machines = collections.Counter(x.content['processor'] for x in comparison.finished())
  if machines:
    found.append('Runs by processor: ' + '; '.join(f'{x}: {n}' for x, n in machines.items()) + '.')
  return tuple(found)


def _verdicts(comparison, arm, outcome):
  return '; '.join(
    f'claim {number}: {finding.verdict}'
    for number, finding in enumerate(comparison.findings, 1)
    if finding.claim.outcome == outcome and arm == finding.claim.a
  )


def median(values: Iterable[float | None]) -> float | None:
  """The median of those that are known, to one decimal; None where none is."""
  known = [x for x in values if x is not None]
  return round(float(np.median(known)), 1) if known else None
