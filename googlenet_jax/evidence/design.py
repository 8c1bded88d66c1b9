"""What an experiment is: points, each an arm with a seed, and the claims that they test."""

import hashlib
import json
import pathlib
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from googlenet_jax import checks, config_files, effects, schema
from googlenet_jax.errors import InputError, hint
from googlenet_jax.evidence.outcomes import OUTCOMES
from googlenet_jax.run import workdirs

ARM = 'arm'  # a point's name, beside the fields that it sets
BASE = 'base'  # the arm that all others are compared with
DIRECTIONS = ('higher', 'lower', 'equal')


class Claim(NamedTuple):
  """A statement about two arms that an experiment can refute.

  Attributes:
    text: the statement, for a person.
    source: who states it.
    a, b: names of the arms; the statement is about a's outcome beside b's.
    outcome: a key of `OUTCOMES`.
    direction: 'higher' or 'lower' than b's, or 'equal' to it.
    margin: greatest difference that counts as none, in the outcome's unit.
  """

  text: str
  source: str
  a: str
  b: str
  outcome: str
  direction: str
  margin: float


class Point(NamedTuple):
  """A run of an experiment.

  Attributes:
    arm: name of its arm.
    fields: what it sets, `{'model.width': 0.5, 'seed': 0}`.
    config: the whole, checked.
    key: digest of all that the run's outcome depends on, but the code.
  """

  arm: str
  fields: dict[str, Any]
  config: ConfigDict
  key: str


class Experiment(NamedTuple):
  """A config file with a sweep.

  Attributes:
    name: name of the file, without its ending.
    title: first line of its docstring.
    points: in the order in which they run.
    claims: what they test; () for a sweep without.
  """

  name: str
  title: str
  points: tuple[Point, ...]
  claims: tuple[Claim, ...]

  def arms(self) -> dict[str, list[Point]]:
    """The points by arm, in order."""
    found = {}
    for point in self.points:
      found.setdefault(point.arm, []).append(point)
    return found


def grid(
  arms: Mapping[str, Mapping[str, Any]], seeds: int, more: Mapping[str, int] | None = None
) -> list[dict[str, Any]]:
  """The points of arms by seeds: all arms of seed 0 first, so that a sweep can end early.

  Args:
    arms: fields of each arm, by its name.
    seeds: seeds of an arm, from 0 on.
    more: their number for arms that have another one.
  """
  counts = {name: (more or {}).get(name, seeds) for name in arms}
  return [
    {ARM: name, **fields, 'seed': seed}
    for seed in range(max(counts.values()))
    for name, fields in arms.items()
    if seed < counts[name]
  ]


def load(path: str, base: ConfigDict, given: Collection[str] = ()) -> Experiment:
  """The experiment of a config file.

  Args:
    path: the file.
    base: its config, with what the command line changed.
    given: fields that the command line set, which no point may set.

  Raises:
    InputError: it has no sweep, or a point or claim that cannot be.
  """
  found = config_files.points(path)
  points = tuple(point(base, fields, given, f'{path}: sweep(): ') for fields in found)
  seen = {}
  for x in points:
    effects.check(x.config, 'train', ())
    if (other := seen.setdefault(x.key, x)) is not x:
      raise InputError(
        f'{path}: sweep(): seed {x.config.seed} of {x.arm!r} is the same run as that of '
        f'{other.arm!r}: leave one of them out'
      )
  claims = tuple(config_files.claims(path))
  experiment = Experiment(pathlib.Path(path).stem, config_files.title(path), points, claims)
  arms = experiment.arms()
  for claim in claims:
    if not isinstance(claim, Claim):
      raise InputError(f'{path}: claims() must return Claims, not {claim!r}')
    for name, known in ((claim.a, arms), (claim.b, arms), (claim.outcome, OUTCOMES)):
      if name not in known:
        near = hint(name, known) or f': use one of {", ".join(known)}'
        raise InputError(f'{path}: claims(): there is no {name!r}{near}')
    if claim.direction not in DIRECTIONS or not claim.margin >= 0:
      raise InputError(
        f'{path}: claims(): {claim.direction!r} with margin {claim.margin!r}: use one of '
        f'{", ".join(DIRECTIONS)}, and a margin from 0 on'
      )
  return experiment


def point(
  base: ConfigDict,
  fields: Mapping[str, Any],
  given: Collection[str] = (),
  where: str = 'sweep(): ',
) -> Point:
  """A point of a sweep, checked.

  Args:
    base: config that it changes.
    fields: what it sets, and `ARM`, the name of its arm (its fields but the seed without one).
    given: fields that the command line set.
    where: beginning of the errors.

  Raises:
    InputError: a field that is not there or not possible, or that the command line set too.
  """
  arm, fields = named(fields, given)
  config = base.copy_and_resolve_references()
  schema.update(config, fields, where)
  effects.fit(config, {*fields, *given})
  checks.check(config)
  return Point(arm, fields, config, key(config))


def named(fields: Mapping[str, Any], given: Collection[str] = ()) -> tuple[str, dict[str, Any]]:
  """The name of a point's arm, and the fields that it sets.

  Raises:
    InputError: the command line set one of them too.
  """
  fields = dict(fields)
  if twice := [field for field in fields if field in given]:
    raise InputError(f'--config.{twice[0]} contradicts a point of sweep(), which sets it')
  shown = ', '.join(f'{x}={y!r}' for x, y in fields.items() if x not in ('seed', ARM))
  return fields.pop(ARM, shown or BASE), fields


def key(config: ConfigDict) -> str:
  """A digest of the fields that a run's outcome depends on, of those that are not the defaults."""
  now, defaults = counted(config), counted(schema.config())
  kept = {x: y for x, y in now.items() if y != defaults.get(x)}
  return hashlib.blake2b(json.dumps(kept, sort_keys=True).encode(), digest_size=6).hexdigest()


def counted(config: ConfigDict) -> dict[str, Any]:
  """The fields that a run's outcome depends on, flat, as JSON gives them back."""
  values = schema.flat(json.loads(schema.to_json(config)))
  return {name: value for name, value in values.items() if counts(name)}


def counts(field: str) -> bool:
  """Whether a run's outcome depends on a field."""
  # Some outcomes are means of training records; what is not finite ends a run, or is passed over.
  scored = field in (*workdirs.ANSWERED, 'log.every', 'on_nonfinite') or field.startswith('eval.')
  return scored or field not in schema.FIELDS or not schema.FIELDS[field].free
