"""The training run."""

import collections
import contextlib
import importlib.metadata
import json
import math
import platform
import time
from collections.abc import Collection

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from googlenet_jax import (
  effects,
  experiment,
  files,
  inputs,
  metrics_log,
  optim,
  parallel,
  score,
  train_state,
)
from googlenet_jax import workdir as workdirs
from googlenet_jax.checkpoint import Checkpoints
from googlenet_jax.data import stream
from googlenet_jax.errors import InputError
from googlenet_jax.evaluation import Evaluator
from googlenet_jax.monitor import DeadHeadAlarm, DispatchLimiter, Signals, Stopwatch, Trace
from googlenet_jax.progress import Progress

ROLLBACKS = 3  # from one checkpoint, before the run ends
MAX_CONSECUTIVE_SKIPS = 20  # steps in a row that may be skipped, before it ends


class Interrupted(Exception):
  """SIGINT or SIGTERM asked the run to stop; it is saved up to its last step."""

  def __init__(self, signum: int):
    super().__init__(signum)
    self.signum = signum


def train(
  config: ConfigDict,
  workdir: epath.Path,
  *,
  stop_at: int = 0,
  given: Collection[str] = (),
  arrays: inputs.Arrays | None = None,
) -> dict | None:
  """Trains, or goes on with the run in the workdir, and scores the test split at its end.

  Args:
    config: checked (`config.check`).
    workdir: of the run; made where absent.
    stop_at: step to save and stop at, as an interrupted run would; 0 for the end.
    given: fields that were set on the command line, 'optimizer.lr'.
    arrays: splits in place of those that the config names.

  Returns:
    What `summary.json` holds; None when stopped before the end.

  Raises:
    InputError: unusable data, an unusable workdir or one of another run, or a loss that is not
      finite.
    Interrupted: by a signal.
  """
  watch = Stopwatch()
  workdirs.check(config, workdir)
  finished = workdir / 'summary.json'
  if parallel.from_main(finished.exists):
    parallel.from_main(lambda: workdirs.check_answer(config, workdir))
    return parallel.from_main(lambda: files.read_json(finished))
  with contextlib.ExitStack() as stack:

    def lock():  # one process for all, because they share the folder
      stack.enter_context(workdirs.locked(workdir))
      workdirs.check(config, workdir)

    # Nothing is made or changed before all is known to be usable.
    there = parallel.from_main(workdir.exists)
    if there:
      parallel.from_main(lock)
    checkpoints = Checkpoints(workdir, config.checkpoint.keep, read_only=True)
    latest = checkpoints.latest()
    resume_from = None if latest is None else workdirs.network(workdir)
    splits = inputs.load_splits(config, arrays)
    for data in splits.values():
      stack.enter_context(contextlib.closing(data))
    overlaps = inputs.overlaps(config, splits)
    run = experiment.Run(config, splits['train'], resume_from=resume_from)
    effects.check_times(config, run.clock, given)
    workdirs.check_classes(run.description, splits['train'].class_names, workdir)
    digests = parallel.from_main(
      lambda: {config.dataset[name]: data.digest() for name, data in splits.items()}
    )
    parallel.from_main(lambda: workdirs.check_data(digests, workdir))
    state = run.initial_state() if latest is None else run.shapes()
    if latest is not None:
      state = checkpoints.restore(state, latest)
    lines = parallel.from_main(lambda: metrics_log.read(workdir))
    if not there:
      parallel.from_main(lock)
      if checkpoints.latest() is not None:
        raise InputError(f'{workdir}: another run has been there meanwhile: start this one again')
    parallel.from_main(lambda: workdirs.begin(config, run.description, digests, workdir, latest))
    parallel.from_main(checkpoints.open)
    signals = stack.enter_context(Signals())
    trainer = Trainer(config, workdir, run, splits, checkpoints, state, lines, watch, signals)
    try:
      trainer.train(stop_at or run.clock.total_steps)
    except InputError:
      trainer.finish_saving()
      raise
    summary = None
    if trainer.step == run.clock.total_steps and not signals.stop:
      summary = trainer.finish(overlaps)  # None once a signal asks to stop
    trainer.close()
    if signals.stop:
      raise Interrupted(signals.stop)
    if summary and parallel.is_main():  # last, as it says that all the rest is there
      files.write(workdir / 'summary.json', json.dumps(summary, indent=2) + '\n')
    return summary


class Trainer:
  """A run while it trains: its state, its step, and what is kept of them.

  Args:
    config: checked.
    workdir: of the run, locked.
    run: made of the config.
    splits: pipelines of 'train', and of 'validation' and 'test' where these are named.
    checkpoints: of the workdir.
    state: the initial one, or that of the last checkpoint.
    lines: of the record so far.
    watch: running since the run was asked for.
    signals: that end it.
  """

  def __init__(self, config, workdir, run, splits, checkpoints, state, lines, watch, signals):
    self._config, self._workdir, self._run, self._splits = config, workdir, run, splits
    self._watch, self._signals = watch, signals
    self._checkpoints, self._saved = checkpoints, time.monotonic()
    self._data = data = splits['train']
    self._validator = None
    if 'validation' in splits:
      self._validator = Evaluator(
        run.model, splits['validation'], experiment.scored(config), config.eval.batch_size
      )
    self._set(state)
    self._first = self._looked = self.step
    self._history = metrics_log.MetricsLog(workdir, self.step, parallel.is_main(), lines)
    watch.add_time(max((line.get('seconds', 0) for line in self._history.lines), default=0))
    total = run.clock.total_steps
    self._progress = Progress(total, self.step, parallel.is_main())
    self._progress.say(
      f'{run.description.model}, {run.parameters:,} parameters{run.frozen}; {config.dataset.name}, '
      f'{data.size:,} images; {total:,} steps of {config.train.batch_size} images on '
      f'{parallel.describe()}' + (f'; going on from step {self.step:,}' if self.step else '')
    )
    self._device_data = parallel.replicate(data.device_data)
    warm = run.clock.round(config.schedule.warmup) or math.ceil(run.clock.steps_per_epoch)
    self._alarm = DeadHeadAlarm(run.heads, len(data.class_names), warm)
    self._trace = Trace(config.profile, workdir / 'profile')
    self._limiter = DispatchLimiter()
    self._rollbacks, self._consecutive_skips = collections.Counter(), 0

  def train(self, end: int) -> None:
    """Trains to a step or a signal, and saves."""
    evaluate = self._unevaluated()
    while True:
      if evaluate:
        with self._progress.pause():
          self._evaluate()
      if self._signals.asked() or self.step >= end:
        break
      evaluate = self._steps(end)
    self._trace.close(self._state)
    self._went_back()
    self._save(None)  # where it stops between two evaluations
    with self._watch.held_up():
      self._checkpoints.wait()

  def _save(self, top1):
    with self._watch.held_up():
      self._history.save()
      self._checkpoints.save(self._state, top1)
    self._saved = time.monotonic()

  def _save_in_time(self):
    """Saves if the last checkpoint is too long ago, by the clock of the main process."""
    seconds = 60 * self._config.checkpoint.minutes
    if parallel.from_main(lambda: time.monotonic() - self._saved >= seconds):
      self._save(None)

  def _set(self, state):
    if self._config.on_nonfinite != 'skip':  # counts of a run that skipped would hold up this one
      counts = [name for name in state.log_sums if name.startswith('nonfinite/')]
      zeros = parallel.replicate(dict.fromkeys(counts, np.float32(0)))
      state = state.replace(log_sums=state.log_sums | zeros)
    self._state, self.step = state, int(parallel.fetch(state.step))
    self._skipped_batches = int(parallel.fetch(state.skipped_batches))

  def _steps(self, end) -> bool:
    """Does some steps, to the next one at which something is due; returns whether to evaluate."""
    config, clock, step = self._config, self._run.clock, self.step
    log_at, eval_at = clock.due(step, config.log.every), clock.due(step, config.eval.every)
    count = min(n - step for n in (log_at, eval_at, end, *self._trace.ends) if n > step)
    count = min(count, config.train.steps_per_call)
    self._trace.update(step, self._state)
    self._watch.start()
    with self._watch.waiting():
      host_batch = self._data.feed(step + self._skipped_batches, count, config.train.batch_size)
    if not self._watch.compiled:
      self._progress.compiling()
    self._state = self._run.step(
      self._state, host_batch, self._device_data, self._run.key, np.int32(count)
    )
    self._watch.add(self._state, count * config.train.batch_size)
    self._limiter.bound(self._state)
    self._signals.begin()
    self.step = step = step + count
    self._progress.advance(step)
    if step in (log_at, eval_at, end):
      self._watch.pause(self._state)
      if self._went_back():
        return self._unevaluated()
    if step == log_at:
      self._log()
      if step not in (eval_at, end):  # where it is saved all the same
        self._save_in_time()
    return step == eval_at

  def _log(self):
    line = train_line(self._state, self._run, self.step) | self._watch.lap()
    if skipped := line.get('skipped'):
      self._check_skipped(skipped)
    self._state = self._run.without_sums(self._state)
    self._check_unreadable()
    self._history.add(self.step, 'train', **line)
    if 'loss' not in line:
      return  # all of its steps were skipped
    self._progress.show(self.step, line)
    for warning in self._alarm.warnings(self.step, line):
      self._progress.say(warning)

  def _check_unreadable(self):
    """Raises InputError if all processes together met more bad records than are allowed."""
    if parallel.several_processes():
      bad = parallel.union(self._data.unreadable())
      if len(bad) > self._data.max_bad:
        raise stream.too_many_bad(
          len(bad), self._data.size, self._data.max_bad, 'those named above'
        )

  def _unevaluated(self) -> bool:
    """Whether the run was stopped while it was evaluated at this step."""
    due = self.step and self._run.clock.due(self.step - 1, self._config.eval.every) == self.step
    return bool(self._validator and due and not self._checkpoints.scored(self.step))

  def _evaluate(self):
    """Scores the last and the averaged parameters, and saves; does neither once it is to stop."""
    self._watch.pause(self._state)
    results = {}
    if self._validator:
      splits = ('validation', 'validation_averaged') if self._state.average else ('validation',)
      for split in splits:
        variables = train_state.variables(self._state, averaged=split != 'validation')
        results[split] = self._score(variables)
        if results[split] is None:
          return
    epoch, top1 = self._run.clock.epochs(self.step), None
    for split, result in results.items():
      if not self._history.find(self.step, split):  # as it may be where it was stopped here
        self._history.add(self.step, split, epoch=epoch, **result.numbers())
      scores = f'loss {result.values["loss"]:.3f}, top-1 {result.values["top1"]:.2%}'
      self._progress.say(f'epoch {epoch:.2f}, {split.replace("_", ", ")}: {scores}')
      top1 = result.values[
        'top1'
      ]  # the best is chosen by the averaged parameters where there are any
    self._save(top1)

  def _score(self, variables):
    try:
      return self._validator(variables, self._signals.asked)
    except InputError:  # too many records cannot be read, which is no reason to lose the training
      if not parallel.several_processes():
        self._save(None)
      raise

  def _what(self, sums) -> str:
    """What was not finite, and at which learning rate."""
    heads = [head for head in self._run.heads if sums[f'nonfinite/{head}']]
    what = f'the loss of {", ".join(heads)}' if heads else 'a gradient or a new parameter'
    rate = float(self._run.schedule(int(parallel.fetch(self._state.step))))
    return f'{what} is not finite at learning rate {rate:.3g}'

  def _check_skipped(self, skipped):
    sums = parallel.fetch(self._state.log_sums)
    row = int(sums['nonfinite/row'])
    self._consecutive_skips = row if sums['steps'] else self._consecutive_skips + skipped
    what = f'{skipped} of the last steps up to {self.step:,} skipped: {self._what(sums)}'
    self._progress.say(f'WARNING: {what}')
    if self._consecutive_skips >= MAX_CONSECUTIVE_SKIPS:
      self._end(f'{self._consecutive_skips} steps in a row up to {self.step:,}: {self._what(sums)}')

  def _went_back(self) -> bool:
    """Whether the run went back to a checkpoint, because of a step that was not finite.

    Raises:
      InputError: it ends instead.
    """
    if self._config.on_nonfinite == 'skip' or self._looked == self.step:
      return False
    self._looked = self.step
    sums = parallel.fetch(self._state.log_sums)
    if not sums['nonfinite/step']:
      return False
    good = int(parallel.fetch(self._state.step))
    what = f'step {good + 1:,}: {self._what(sums)}'
    self._checkpoints.wait()
    latest = self._checkpoints.latest()
    self._rollbacks[latest] += 1
    if self._config.on_nonfinite == 'stop' or self._rollbacks[latest] > ROLLBACKS:
      self._end(what)
    state = self._run.initial_state()
    if latest is not None:
      state = self._checkpoints.restore(state, latest)
    # On with the batch after the one that did it.
    skipped_batches = self._skipped_batches + good + 1 - int(parallel.fetch(state.step))
    self._set(state.replace(skipped_batches=parallel.replicate(np.int32(skipped_batches))))
    self._looked = self.step
    self._history.rewind(self.step)
    self._progress.say(
      f'WARNING: {what}; back to step {self.step:,}, on with the batch after that one'
    )
    return True

  def _end(self, what):
    self._checkpoints.wait()
    latest = self._checkpoints.latest()
    kept = 'there is no checkpoint yet' if latest is None else f'the last is of step {latest:,}'
    raise InputError(
      f'{what}; no checkpoint was overwritten, {kept}: lower --config.optimizer.lr in another '
      '--workdir, or go on here with --config.on_nonfinite=skip or rollback'
    )

  def finish(self, overlaps: list[str]) -> dict | None:
    """Scores the test split, once, with the checkpoint that validation chose; the summary.

    Args:
      overlaps: what the splits have in common (`inputs.overlaps`).
    """
    config, run, history = self._config, self._run, self._history
    if pending := int(parallel.fetch(optim.pending(self._state.opt_state))):
      self._progress.say(
        f'WARNING: the last step was skipped: the gradients of {pending} before it made no update'
      )
    step = score.chosen(config, self._checkpoints, self._workdir)
    summary = {'test_top1': None, 'test_top5': None, 'test_loss': None}
    if 'test' in self._splits:
      folder, stop, data = self._workdir, self._signals.asked, self._splits['test']
      scores = score.score(config, run.model, data, self._checkpoints, folder, step, 'test', stop)
      if scores is None:
        return None
      means = {x: y for x, y in scores.items() if x not in ('split', 'step', 'examples')}
      summary |= {f'test_{x}': y for x, y in means.items() if x != 'unreadable'}
      if not history.find(step, 'test'):
        history.add(step, 'test', epoch=run.clock.epochs(step), **means)
    averaged = config.average.name != 'none'
    validated = history.find(step, 'validation_averaged' if averaged else 'validation')
    waits = [line['input_wait'] for line in history.lines if 'input_wait' in line]
    speeds = [line['images_per_second'] for line in history.lines if 'images_per_second' in line]
    return summary | {
      'validation_top1': validated['top1'] if validated else None,
      'tested_step': step,
      'steps': run.clock.total_steps,
      'epochs': run.clock.epochs(run.clock.total_steps),
      'parameters': run.parameters,
      'unreadable': self._unreadable(step),
      'overlaps': overlaps,
      'images_per_second': float(np.median(speeds)) if speeds else None,
      'input_wait': float(np.mean(waits)) if waits else None,
      'saving': self._watch.saving_share(),
      'peak_memory_mb': parallel.peak_memory(),
      'seed': config.seed,
      'versions': {name: importlib.metadata.version(name) for name in ('jax', 'flax', 'optax')}
      | {'python': platform.python_version()},
      'device': parallel.describe(),
      'seconds': self._watch.elapsed(),
      'resumed_from_step': self._first,
    }

  def _unreadable(self, step) -> dict[str, int]:
    """Records of each split that could not be read; in training the mean of an epoch."""
    lines = [line for line in self._history.lines if line['split'] == 'train']
    skipped_batches = sum(line.get('unreadable', 0) for line in lines)
    found = {'train': round(skipped_batches / max(self._run.clock.epochs(self.step), 1))}
    for split in ('validation', 'test'):
      line = self._history.find(step, split)
      found |= {split: line.get('unreadable', 0)} if line else {}
    return found

  def finish_saving(self) -> None:
    """Lets a checkpoint that is being written be finished, where that can be."""
    if not parallel.several_processes():  # others may have ended
      with contextlib.suppress(InputError):
        self._checkpoints.wait()

  def close(self) -> None:
    """Draws the curves, and says so where a signal ended it."""
    self._progress.close()
    self._history.close()
    self._checkpoints.close()
    if self._signals.stop:
      saved = int(parallel.fetch(self._state.step))
      self._progress.say(
        f'interrupted: saved at step {saved:,}; the same command goes on from there'
      )


def train_line(state: train_state.TrainState, run: experiment.Run, step: int) -> dict:
  """The training record: means since the last one, by head and by layer group, and the learning
  rate of the last update; of skipped steps alone, no means.

  Args:
    state: with its sums.
    run: it belongs to.
    step: of the record.
  """
  sums = {name: float(value) for name, value in parallel.fetch(state.log_sums).items()}
  skipped = int(sums['nonfinite/step'])
  sums = {name: value for name, value in sums.items() if not name.startswith('nonfinite/')}
  examples, steps = sums.pop('examples'), sums.pop('steps')
  unreadable = int(steps * run.batch_size - examples)
  line = {'epoch': run.clock.epochs(step), 'learning_rate': sums.pop('learning_rate')}
  if steps:
    for name, value in sums.items():
      line[name] = value / (steps if '_norm/' in name else max(examples, 1))
  counts = {'skipped': skipped, 'unreadable': unreadable}
  return line | {name: count for name, count in counts.items() if count}
