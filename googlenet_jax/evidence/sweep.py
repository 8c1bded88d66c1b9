"""Runs the unfinished points of an experiment in order; a run that was stopped resumes."""

import logging
import math
import signal
import time
from collections.abc import Collection, Mapping

import jax
from etils import epath

from googlenet_jax import inputs, parallel, training
from googlenet_jax.errors import InputError
from googlenet_jax.evidence import design, result
from googlenet_jax.evidence.design import Experiment, Point
from googlenet_jax.run import workdirs
from googlenet_jax.run.recovery import Diverged
from googlenet_jax.run.signals import Interrupted
from googlenet_jax.run.workdirs import Busy

LOG = logging.getLogger('googlenet_jax')


def run(
  experiment: Experiment, workdir: epath.Path, records: epath.Path, minutes: float = 0
) -> Mapping[str, object]:
  """Runs the points that have no record, each in a folder of its own, `WORKDIR/KEY`.

  A point that another process trains is passed over, so several may work on one experiment (not in
  an object store, where nothing is locked). A run that diverges leaves a record that says so.

  Args:
    experiment: points to run.
    workdir: folder of the runs.
    records: folder of the records, `RECORDS/KEY/result.json`.
    minutes: time after which the current run is saved and the sweep ends; 0 for no limit.

  Returns:
    Counts of the points, and where the records are.

  Raises:
    InputError: a point cannot be run, or not be compared with a finished one.
    Interrupted: a signal came.
  """
  deadline = time.monotonic() + 60 * minutes if minutes else math.inf
  total, done = len(experiment.points), _finished(experiment, records)
  LOG.info('%s: %d points, %d finished', experiment.name, total, len(done))
  if len(done) < total:
    _check_alike(experiment, done)
  durations = []
  for number, point in enumerate(experiment.points, 1):
    done = _finished(experiment, records)
    if point.key in done:
      continue
    if time.monotonic() > deadline:
      break
    estimate = _time_left(durations, total - len(done))
    seed = point.config.seed
    LOG.info('point %d of %d: %s, seed %d%s', number, total, point.arm, seed, estimate)
    began = time.monotonic()
    try:
      folder = records / point.key
      train(point, experiment.name, workdir / point.key, folder, deadline=deadline)
    except Diverged as failed:
      LOG.warning('WARNING: %s', failed)
    except Busy as busy:
      LOG.info('passed over: %s', busy)
      continue
    except Interrupted as stopped:
      if stopped.signum != signal.SIGALRM:  # SIGALRM stands for the deadline
        raise
      break
    durations.append(time.monotonic() - began)
    jax.clear_caches()  # programs of this network, which no later point needs
  done = _finished(experiment, records)
  return {'finished': f'{len(done)} of {total} points', 'records': records}


def _finished(experiment, records) -> dict[str, result.Result]:
  """The records of an experiment's points, by key; those of --mode=train --sweep=I among them."""
  keys = {point.key for point in experiment.points}
  return {key: x for x in result.read(records) if (key := x.content['key']) in keys}


def _check_alike(experiment, done):
  """Refuses to go on where no report could compare what would run now with what has run."""
  if not done:
    return
  config = next(point.config for point in experiment.points if point.key not in done)
  names = [name for name in ('train', 'validation', 'test') if config.dataset[name]]
  digests = {config.dataset[name]: inputs.source(config, name).digest() for name in names}
  for point in experiment.points:
    if point.key not in done:
      continue
    content, path = done[point.key]
    if what := result.unlike(content, point.config):
      raise _not_comparable(path, f'other code ({what})')
    for split, digest in digests.items():
      if content['data'].get(split, digest) != digest:
        raise _not_comparable(path, f'other examples in {split!r}')


def _not_comparable(path, what) -> InputError:
  return InputError(
    f'{path} is of {what}, so no report could compare what would run now with it: give another '
    '--workdir, and --records if one is given'
  )


def train(
  point: Point,
  experiment: str,
  workdir: epath.Path,
  record: epath.Path,
  *,
  given: Collection[str] = (),
  deadline: float = math.inf,
) -> dict:
  """Trains a point, and leaves its record where there is none: that of the code that ran.

  Args:
    point: the point.
    experiment: name of the experiment.
    workdir: folder of the run.
    record: folder of the record.
    given, deadline: see `training.train`, whose result is returned.

  Raises:
    Diverged: the run ended early; the record says so.
    InputError: see `training.train`; or the run was begun by other code.
    Interrupted: see `training.train`.
  """
  written = record / result.NAME
  parallel.from_main(lambda: written.exists() or _check_same(point, workdir))
  failed = None
  try:
    summary = training.train(point.config, workdir, given=given, deadline=deadline)
  except Diverged as error:
    summary, failed = {}, error
  if parallel.is_main() and not written.exists():
    result.write(point, experiment, workdir, record, str(failed or ''))
  if failed:
    raise failed
  return summary


def _check_same(point, workdir):
  """Refuses to go on with a run of other code or fields, as its record would tell of these."""
  for start in workdirs.starts(workdir):
    if what := result.unlike(start, point.config):
      raise InputError(f'{workdir} holds a run of other code ({what}): give another --workdir')
  earlier = workdirs.config(workdir)
  there, here = (design.counted(x) for x in (earlier or point.config, point.config))
  if other := [field for field in here if there[field] != here[field]]:
    raise InputError(
      f'{workdir} holds a run with config.{other[0]}={there[other[0]]!r}: give that, or another '
      '--workdir'
    )


def _time_left(durations, points):
  """', about 25 min left' for so many points, by the seconds of those before; '' without any."""
  if not durations:
    return ''
  return f', about {sum(durations) / len(durations) * points / 60:.0f} min left'
