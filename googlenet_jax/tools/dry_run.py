"""A run in small, before the hours of the real one: two steps, and all that comes after them."""

import copy
import tempfile
import time
from collections.abc import Collection

from etils import epath
from ml_collections import ConfigDict

from googlenet_jax import inputs, parallel, training
from googlenet_jax.checkpoint import Checkpoints
from googlenet_jax.data import sources
from googlenet_jax.errors import InputError
from googlenet_jax.run import score, workdirs

BATCHES = 2  # batches of an evaluation


def dry_run(config: ConfigDict, workdir: epath.Path, given: Collection[str] = ()) -> dict[str, str]:
  """Trains, saves, resumes, validates and tests as a config says, in a folder that is removed.

  Two calls of the training step, each with an update of the parameters, and two batches of each
  evaluation. Nothing is written but to that folder, and no writer is told.

  Args:
    config: checked (`checks.check`).
    workdir: folder that the real run would have, which is only looked at.
    given: fields that were set on the command line.

  Returns:
    What was done, and the seconds of each part.

  Raises:
    InputError: what the real run would raise.
  """
  if parallel.several_processes():
    raise InputError('--dry_run is for one process: leave out --config.distributed')
  workdirs.check(config, workdir)
  config, took = copy.deepcopy(config), {}
  config.log.pictures, config.log.writers, config.log.writer_fields = False, (), ConfigDict()
  calls = config.train.steps_per_call * config.optimizer.accumulate
  begin = _begin(config)
  config.eval.every, config.log.every = f'{begin + 2 * calls} steps', f'{calls} steps'

  def timed(what, function):
    began = time.monotonic()
    found = function()
    took[what] = f'{time.monotonic() - began:.1f} s'
    return found

  splits = [split for split in ('train', 'validation', 'test') if config.dataset[split]]
  arrays = timed('read', lambda: {split: inputs.source(config, split) for split in splits})
  for split in splits[1:]:
    arrays[split] = _first(arrays[split], BATCHES * config.eval.batch_size)

  def train(stop_at):
    training.train(config, epath.Path(place), arrays=arrays, given=given, stop_at=stop_at)

  with tempfile.TemporaryDirectory(prefix='googlenet_jax_') as place:
    timed('train, save', lambda: train(begin + calls))
    timed('resume, train, validate, save', lambda: train(begin + 2 * calls))
    if config.dataset.test:
      config.eval.split = 'test'
      timed('test', lambda: score.evaluate(config, epath.Path(place), arrays))
  return took | {'memory': f'{parallel.peak_memory():,.0f} MB at most'}


def _begin(config) -> int:
  """The step that the run begins at: 0, or the last of the one that it branches from."""
  if not config.init.run:
    return 0
  return Checkpoints(epath.Path(config.init.run).expanduser()).latest() or 0


def _first(data: sources.Split | sources.Records, count: int):
  """The first examples of a split."""
  if isinstance(data, sources.Records):
    return data._replace(count=min(count, data.count), counts=None)
  parts = {name: getattr(data, name)[:count] for name in ('images', 'labels', 'valid')}
  return data._replace(**parts)
