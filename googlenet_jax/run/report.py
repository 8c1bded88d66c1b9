"""What a run says and records while it trains."""

import math
from collections.abc import Mapping

import numpy as np
from etils import epath

from googlenet_jax import experiment, nonfinite, parallel
from googlenet_jax.evaluation import Result
from googlenet_jax.progress import Progress
from googlenet_jax.run.metrics_log import MetricsLog
from googlenet_jax.train_state import TrainState


def train_line(state: TrainState, run: experiment.Run, step: int) -> dict:
  """The training record: means since the last one, by head and by layer group, and the learning
  rate of the last update; of skipped steps alone, no means.

  Args:
    state: state with its sums.
    run: run that it belongs to.
    step: step of the record.
  """
  sums = {name: float(value) for name, value in parallel.fetch(state.log_sums).items()}
  examples, steps = sums.pop('examples'), sums.pop('steps')
  line = {'epoch': run.clock.epochs(step), 'learning_rate': sums.pop('learning_rate')}
  if steps:
    for name, value in sums.items():
      line[name] = value / (steps if '_norm/' in name else max(examples, 1))
  counts = {
    'skipped': int(parallel.fetch(state.nonfinite.steps)),
    'unreadable': int(steps * run.batch_size - examples),
  }
  return line | {name: count for name, count in counts.items() if count}


def without_sums(state: TrainState) -> TrainState:
  """The state after a record: its sums are back at zero."""
  zeros = {name: np.float32(0) for name in state.log_sums if name != 'learning_rate'}
  return state.replace(
    log_sums=state.log_sums | parallel.replicate(zeros),
    nonfinite=nonfinite.cleared(state.nonfinite, streak=False),
  )


class DeadHeadAlarm:
  """Notices a head whose loss and accuracy have stayed at those of guessing, ln(classes).

  Args:
    heads: titles of the heads by name.
    classes: number of classes.
    begin: step from which a head should have learnt something.
  """

  def __init__(self, heads: Mapping[str, str], classes: int, begin: int):
    self._heads, self._classes, self._begin = dict(heads), classes, begin

  def warnings(self, step: int, line: dict) -> list[str]:
    """A warning for each such head, once.

    Args:
      step: step of the record.
      line: training record.
    """
    if step < self._begin:
      return []
    guessing = math.log(self._classes)
    dead = [
      head
      for head in self._heads
      if abs(line[f'{head}_loss'] - guessing) < 0.01 * guessing
      and line[f'{head}_top1'] < 1.5 / self._classes  # a loss may pass there on its way
    ]
    return [
      f'WARNING: head {self._heads.pop(head)!r} is still at ln({self._classes}) = {guessing:.3f} '
      f'at step {step:,}: it has learnt nothing. Try batch norm, another '
      'optimizer.lr or a warm-up'
      for head in dead
    ]


class Report:
  """The record of a run, and what a person sees of it.

  Args:
    run: parts of the run.
    workdir: folder of the run.
    step: step that the run begins at, or goes on from.
    lines: records up to there.
    alarm: warns of heads that learn nothing.

  Attributes:
    history: the record.
    progress: the bar.
  """

  def __init__(
    self,
    run: experiment.Run,
    workdir: epath.Path,
    step: int,
    lines: list[dict],
    alarm: DeadHeadAlarm,
  ):
    self._run, self._step, self._alarm = run, step, alarm
    self.history = MetricsLog(
      workdir,
      step,
      active=parallel.is_main(),
      lines=lines,
      writers=run.writers,
      titles=run.head_titles,
      pictures=run.pictures,
    )
    self.progress = Progress(run.clock.total_steps, step, parallel.is_main())

  def begin(self, dataset: str, size: int) -> None:
    """Says what is trained.

    Args:
      dataset: name of the dataset.
      size: images in an epoch.
    """
    run, step = self._run, self._step
    self.progress.say(
      f'{run.description.model}, {run.parameters:,} parameters{run.frozen_text}; {dataset}, '
      f'{size:,} images; {run.clock.total_steps:,} steps of {run.batch_size} images on '
      f'{parallel.describe()}' + (f'; going on from step {step:,}' if step else '')
    )

  def train(self, step: int, line: dict) -> None:
    """Adds and shows a training record (`train_line`)."""
    self.history.add(step, 'train', **line)
    if 'loss' not in line:
      return  # all of its steps were skipped
    self.progress.show(step, line)
    for warning in self._alarm.warnings(step, line):
      self.progress.say(warning)

  def evaluation(self, step: int, results: dict[str, Result]) -> None:
    """Adds and shows an evaluation: results by split, 'validation', 'validation_averaged'."""
    epoch = self._run.clock.epochs(step)
    for split, result in results.items():
      if not self.history.find(step, split):  # as it may be where the run was stopped here
        self.history.add(step, split, epoch=epoch, **result.numbers())
      scores = f'loss {result.values["loss"]:.3f}, top-1 {result.values["top1"]:.2%}'
      self.progress.say(f'epoch {epoch:.2f}, {split.replace("_", ", ")}: {scores}')

  def close(self) -> None:
    """Leaves the bar as it is, and draws the curves."""
    self.progress.close()
    self.history.close()
