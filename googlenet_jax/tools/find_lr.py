"""The learning rate range test (arXiv 1506.01186, section 3.3)."""

import contextlib
import copy
import io
import itertools
import tempfile
from collections.abc import Collection

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from googlenet_jax import files, parallel, plots, training
from googlenet_jax.errors import InputError
from googlenet_jax.run import metrics_log
from googlenet_jax.run.recovery import Diverged

STEPS = 200
SPAN = 1e4  # the greatest rate over the least; config.optimizer.lr lies in their middle
LEAST = 10  # updates that tell anything
MEMORY = 0.9  # weight of what was before in the smoothed loss


# Fields that the test sets itself, and those of an end that it has not.
SET = (
  'schedule.', 'average.', 'eval.', 'checkpoint.', 'log.', 'init.run', 'on_nonfinite',
  'train.duration', 'train.steps_per_call', 'dataset.validation', 'dataset.test',
)  # fmt: skip


def find_lr(config: ConfigDict, workdir: epath.Path, given: Collection[str] = ()) -> dict[str, str]:
  """Trains from the start with a rate that grows at each update, and draws the loss against it.

  Args:
    config: checked (`checks.check`); its rate is the middle of those that are tried.
    workdir: folder for `find_lr.png`; made where absent.
    given: fields that were set on the command line.

  Returns:
    The rate at which the loss falls fastest, that of the lowest loss, and the picture's path.

  Raises:
    InputError: unusable data or workdir, a field without effect, or a loss that never falls.
  """
  if parallel.several_processes():
    raise InputError('--mode=find_lr is for one process: leave out --config.distributed')
  if config.init.run:
    raise InputError('--mode=find_lr trains from the start: leave out config.init.run')
  for field in sorted(x for x in given if x.startswith(SET)):
    raise InputError(f'--config.{field} has no effect in --mode=find_lr')
  with tempfile.TemporaryDirectory(prefix='googlenet_jax_') as place:
    ended = _train(_growing(config), epath.Path(place))
    lines = metrics_log.read(epath.Path(place))
  lines = [line for line in lines if line['split'] == 'train' and line.get('learning_rate')]
  if len(lines) < LEAST:
    raise ended or InputError(f'{len(lines)} updates were made: too few to tell')
  rates = np.array([line['learning_rate'] for line in lines])
  losses = smoothed([line['loss'] for line in lines])
  steepest, lowest = chosen(rates, losses)
  path = workdir / 'find_lr.png'
  about = {'falls fastest': steepest, 'lowest': lowest}
  picture = plots.range_test(rates, [line['loss'] for line in lines], losses, about)
  files.make_folder(workdir)
  files.write(path, picture)
  return {
    'the loss falls fastest at': f'--config.optimizer.lr={steepest:.2g}',
    'it is lowest at': f'{lowest:.2g}',
    'tried': f'{rates[0]:.2g} to {rates[-1]:.2g} in {len(rates)} updates',
    'picture': str(path),
  }


def _train(config: ConfigDict, workdir: epath.Path) -> Diverged | None:
  """Trains with a bar alone, to the end or to where the loss is not finite, as it may well be."""
  print(f'{STEPS} updates, from a rate of {config.optimizer.lr / SPAN:.2g} on ...', flush=True)
  with contextlib.redirect_stdout(io.StringIO()):
    try:
      training.train(config, workdir)
    except Diverged as diverged:
      return diverged
  return None


def _growing(config: ConfigDict) -> ConfigDict:
  """The config with a rate that grows exponentially, and without all that waits for an end."""
  config, every = copy.deepcopy(config), config.optimizer.accumulate
  config.train.duration, config.train.steps_per_call = f'{STEPS * every} steps', 1
  config.dataset.validation = config.dataset.test = ''
  config.log.every, config.log.pictures = f'{every} steps', False
  config.log.writers, config.log.writer_fields = (), ConfigDict()
  config.average.name, config.on_nonfinite, config.eval.patience = 'none', 'stop', 0
  config.optimizer.lr *= SPAN**0.5
  config.schedule.name, config.schedule.warmup = 'optax:exponential_decay', '0 steps'
  steps = STEPS * every - 1
  fields = {'init_value': 1 / SPAN, 'transition_steps': steps, 'decay_rate': SPAN}
  with config.schedule.unlocked():
    config.schedule.fields = ConfigDict(fields)
  return config


def smoothed(losses: list[float]) -> np.ndarray:
  """An exponential mean of the losses so far, which begins without bias."""
  sums = itertools.accumulate(losses, lambda old, new: MEMORY * old + (1 - MEMORY) * new, initial=0)
  weights = 1 - MEMORY ** np.arange(1, len(losses) + 1)
  return np.array(list(sums)[1:]) / weights


def chosen(rates: np.ndarray, losses: np.ndarray) -> tuple[float, float]:
  """The rate at which the smoothed loss falls fastest, by the logarithm of the rate, and that of
  the lowest loss.

  Raises:
    InputError: the loss never falls.
  """
  end = int(np.argmin(losses))
  if end < 2:
    raise InputError(
      f'the loss does not fall between rates of {rates[0]:.2g} and {rates[-1]:.2g}: give a smaller '
      '--config.optimizer.lr, their middle'
    )
  slopes = np.gradient(losses[: end + 1], np.log(rates[: end + 1]))
  return float(rates[np.argmin(slopes)]), float(rates[end])
