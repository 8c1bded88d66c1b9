"""What `summary.json` holds: the scores of a finished run, and how it went."""

from collections.abc import Callable

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from googlenet_jax import experiment, parallel
from googlenet_jax.data.pipeline import Pipeline
from googlenet_jax.run import origin, score, workdirs
from googlenet_jax.run.metrics_log import MetricsLog
from googlenet_jax.run.run_folder import RunFolder
from googlenet_jax.run.stopwatch import Stopwatch


def make(
  config: ConfigDict,
  run: experiment.Run,
  folder: RunFolder,
  *,
  test: Pipeline | None,
  history: MetricsLog,
  watch: Stopwatch,
  step: int,
  overlaps: list[str],
  stop: Callable,
) -> dict | None:
  """Scores the test split, and sums the run up; None where stopped.

  Args:
    config: checked.
    run: parts of the run.
    folder: workdir of the run, whose checkpoint is scored.
    test: pipeline of the test split; None where none is named.
    history: record of the run, which the scores are added to.
    watch: stopwatch of the run.
    step: step that it has ended at.
    overlaps: what the splits have in common (`inputs.overlaps`).
    stop: whether to stop, by a signal.
  """
  found = _scores(config, run, folder, test, history, stop)
  if found is None:
    return None
  began = 0
  if config.init.run:
    began = parallel.from_main(lambda: workdirs.starts(folder.workdir)[0]['step'])
  return (
    found
    | _course(run, history.lines, found['tested_step'], began, step)
    | {'overlaps': overlaps, 'seed': config.seed, 'resumed_from_step': folder.first}
    | {'saving': watch.saving_share(), 'seconds': watch.elapsed()}
    | {'peak_memory_mb': parallel.peak_memory(), 'device': parallel.describe()}
    | {'data': folder.digests}
    | origin.origin(config)
  )


def shown(summary: dict, workdir: epath.Path) -> dict[str, str]:
  """The summary of a run for a person, by headings, and the files worth opening."""

  def scores(split):
    start = f'{split}_'
    found = {x.removeprefix(start): y for x, y in summary.items() if x.startswith(start)}
    told = [
      f'{name.replace("top", "top-")} {x:.2%}' if name.startswith('top') else f'{name} {x:.3f}'
      for name, x in found.items()
      if x is not None
    ]
    return ', '.join(told) or 'none'

  minutes, speed = summary['seconds'] / 60, summary['images_per_second']
  rate = '' if speed is None else f', {speed:,.1f} images/s'
  waited = f', {summary["input_wait"]:.1%} of the time waiting for input' if rate else ''
  names = 'curves.png', 'confusion.png', workdirs.SUMMARY
  bad = [f'{count:,} of {split}' for split, count in summary['unreadable'].items() if count]
  return {
    'test': scores('test'),
    'validation': scores('validation'),
    'scored': f'step {summary["tested_step"]:,} of {summary["steps"]:,}',
    'network': f'{summary["parameters"]:,} parameters, seed {summary["seed"]}',
    'training': f'{summary["epochs"]:.1f} epochs in {minutes:.1f} min{rate}{waited}',
    'device': f'{summary["device"]}, {summary["peak_memory_mb"]:,.0f} MB of memory at most',
    **({'unreadable': ', '.join(bad)} if bad else {}),
    **({'in common': '; '.join(summary['overlaps'])} if summary['overlaps'] else {}),
    'worth opening': ', '.join(str(workdir / x) for x in names if (workdir / x).exists()),
  }


def _scores(
  config: ConfigDict,
  run: experiment.Run,
  folder: RunFolder,
  test: Pipeline | None,
  history: MetricsLog,
  stop: Callable,
) -> dict | None:
  """The test split's scores, taken once, with the checkpoint that validation chose."""
  step = score.chosen(config, folder.checkpoints, folder.workdir)
  found = {'test_top1': None, 'test_top5': None, 'test_loss': None}
  if test is not None:
    result = score.score(
      config,
      run.description,
      test,
      folder.checkpoints,
      folder=folder.workdir,
      step=step,
      split='test',
      stop=stop,
    )
    if result is None:
      return None
    means = {x: y for x, y in result.items() if x not in ('split', 'step', 'examples')}
    found |= {f'test_{x}': y for x, y in means.items() if x != 'unreadable'}
    if not history.find(step, 'test'):
      history.add(step, 'test', epoch=run.clock.epochs(step), **means)
  averaged = config.average.name != 'none'
  validated = history.find(step, 'validation_averaged' if averaged else 'validation')
  return found | {
    'validation_top1': validated['top1'] if validated else None,
    'tested_step': step,
  }


def _course(run, lines, tested_step, began, steps) -> dict:
  waits = [line['input_wait'] for line in lines if 'input_wait' in line]
  speeds = [line['images_per_second'] for line in lines if 'images_per_second' in line]
  epochs = run.clock.epochs(steps)
  return {
    'steps': steps,
    'epochs': epochs,
    'parameters': run.parameters,
    'unreadable': _unreadable(lines, epochs - run.clock.epochs(began), tested_step),
    'images_per_second': float(np.median(speeds)) if speeds else None,
    'input_wait': float(np.mean(waits)) if waits else None,
  }


def _unreadable(lines, epochs, tested_step) -> dict[str, int]:
  """Records of each split that could not be read; in training the mean of an epoch."""
  total = sum(line.get('unreadable', 0) for line in lines if line['split'] == 'train')
  found = {'train': round(total / max(epochs, 1))}
  for line in lines:  # the last of several at a step
    if line['step'] == tested_step and line['split'] in ('validation', 'test'):
      found[line['split']] = line.get('unreadable', 0)
  return found
