"""The unfinished points of an experiment, run in order; what ends early goes on later."""

import logging
import math
import signal
import time
from collections.abc import Collection, Mapping

import jax
from etils import epath

from googlenet_jax import files, parallel, training
from googlenet_jax.errors import InputError
from googlenet_jax.evidence import result
from googlenet_jax.evidence.design import Experiment, Point
from googlenet_jax.nonfinite import Diverged
from googlenet_jax.run import workdir as workdirs
from googlenet_jax.run.signals import Interrupted
from googlenet_jax.run.workdir import Busy

LOG = logging.getLogger('googlenet_jax')


def run(
  experiment: Experiment, workdir: epath.Path, records: epath.Path, minutes: float = 0
) -> Mapping[str, object]:
  """Runs the points that have no record, each in a folder of its own, `WORKDIR/KEY`.

  A point that another process trains is passed over, so several may work on one experiment (not in
  an object store, where nothing is locked). A run that ends with a loss that is not finite leaves a
  record that says so.

  Args:
    experiment: points to run.
    workdir: folder of the runs.
    records: folder of the records, `RECORDS/KEY/result.json`.
    minutes: time after which the run that is on is saved and left; 0 for none.

  Returns:
    Counts of the points, and where the records are.

  Raises:
    InputError: a point cannot be run, or not be compared with a finished one.
    Interrupted: a signal came.
  """
  deadline = time.monotonic() + 60 * minutes if minutes else math.inf
  total = len(experiment.points)
  LOG.info('%s: %d points, %d finished', experiment.name, total, _finished(experiment, records))
  if _finished(experiment, records) < total:
    _check_alike(experiment, records)
  took = []
  for number, point in enumerate(experiment.points, 1):
    if result_path(records, point).exists():
      continue
    if time.monotonic() > deadline:
      break
    left = _left(took, total - _finished(experiment, records))
    seed = point.config.seed
    LOG.info('point %d of %d: %s, seed %d%s', number, total, point.arm, seed, left)
    began = time.monotonic()
    try:
      record = result_path(records, point).parent
      train(point, experiment.name, workdir / point.key, record, deadline=deadline)
    except Diverged as failed:
      LOG.warning('WARNING: %s', failed)
    except Busy as busy:
      LOG.info('passed over: %s', busy)
      continue
    except Interrupted as stopped:
      if stopped.signum != signal.SIGALRM:
        raise
      break
    took.append(time.monotonic() - began)
    jax.clear_caches()  # programs of this network, which no later point needs
  return {'finished': f'{_finished(experiment, records)} of {total} points', 'records': records}


def result_path(records: epath.Path, point: Point) -> epath.Path:
  """The record of a point."""
  return records / point.key / result.NAME


def _check_alike(experiment, records):
  for path in (result_path(records, point) for point in experiment.points):
    if path.exists() and (what := result.unlike(files.read_json(path))):
      raise InputError(
        f'{path} is of other code ({what}), so no report could compare what would run now with it: '
        'give another --workdir, and --records if one is given'
      )


def _finished(experiment, records):
  return sum(result_path(records, point).exists() for point in experiment.points)


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
  if not (record / result.NAME).exists():
    _check_code(workdir)
  failed = None
  try:
    summary = training.train(point.config, workdir, given=given, deadline=deadline)
  except Diverged as error:
    summary, failed = {}, error
  if parallel.is_main() and not (record / result.NAME).exists():
    result.write(point, experiment, workdir, record, str(failed or ''))
  if failed:
    raise failed
  return summary


def _check_code(workdir):
  """Refuses to go on with a run of other code, as its record would tell of this one."""
  for start in workdirs.starts(workdir):
    if what := result.unlike(start):
      raise InputError(f'{workdir} holds a run of other code ({what}): give another --workdir')


def _left(took, points):
  """', about 25 min left' by the points of this process; '' before there is one."""
  if not took:
    return ''
  return f', about {sum(took) / len(took) * points / 60:.0f} min left'
