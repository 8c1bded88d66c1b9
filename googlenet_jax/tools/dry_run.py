"""A run in small, before the hours of the real one: two steps, and all that comes after them."""

import copy
import tempfile
import time

from etils import epath
from ml_collections import ConfigDict

from googlenet_jax import inputs, parallel, training
from googlenet_jax.data import sources
from googlenet_jax.errors import InputError
from googlenet_jax.run import score

BATCHES = 2  # of an evaluation


def dry_run(config: ConfigDict) -> dict[str, str]:
  """Trains, saves, goes on, validates and tests as a config says, in a folder that is removed.

  Two steps of training and two batches of each evaluation; all else is the config's.

  Args:
    config: checked (`checks.check`).

  Returns:
    What was done, and the seconds of each part.

  Raises:
    InputError: what the real run would raise.
  """
  if parallel.several_processes():
    raise InputError('--dry_run is for one process: leave out --config.distributed')
  config = copy.deepcopy(config)
  config.eval.every, config.log.every, config.log.pictures = '2 steps', '1 steps', False
  splits = [split for split in ('train', 'validation', 'test') if config.dataset[split]]
  arrays, took = {}, {}

  def timed(what, function):
    began = time.monotonic()
    found = function()
    took[what] = f'{time.monotonic() - began:.1f} s'
    return found

  arrays = timed('read', lambda: {split: inputs.source(config, split) for split in splits})
  for split in splits[1:]:
    arrays[split] = _first(arrays[split], BATCHES * config.eval.batch_size)
  with tempfile.TemporaryDirectory(prefix='googlenet_jax_') as place:
    workdir = epath.Path(place)
    timed('train, save', lambda: training.train(config, workdir, arrays=arrays, stop_at=1))
    what = 'resume, train, validate, save'
    timed(what, lambda: training.train(config, workdir, arrays=arrays, stop_at=2))
    if config.dataset.test:
      config.eval.split = 'test'
      timed('test', lambda: score.evaluate(config, workdir, arrays))
  return took | {'memory': f'{parallel.peak_memory():,.0f} MB at most'}


def _first(data: sources.Split | sources.Records, count: int):
  """The first examples of a split."""
  if isinstance(data, sources.Records):
    return data._replace(count=min(count, data.count), counts=None)
  parts = {name: getattr(data, name)[:count] for name in ('images', 'labels', 'valid')}
  return data._replace(**parts)
