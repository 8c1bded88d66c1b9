"""The training run."""

import contextlib
import functools
import json
import math
from collections.abc import Collection

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from googlenet_jax import effects, experiment, files, inputs, optim, parallel
from googlenet_jax.data.crops import too_many_bad
from googlenet_jax.data.pipeline import Pipeline
from googlenet_jax.errors import InputError
from googlenet_jax.run import summary as run_summary
from googlenet_jax.run import workdirs
from googlenet_jax.run.dispatch import DispatchLimiter
from googlenet_jax.run.profiler import Trace
from googlenet_jax.run.recovery import Recovery
from googlenet_jax.run.report import DeadHeadAlarm, Report, train_line, without_sums
from googlenet_jax.run.run_folder import RunFolder
from googlenet_jax.run.saver import Saver
from googlenet_jax.run.signals import Interrupted, Signals
from googlenet_jax.run.stopwatch import Stopwatch
from googlenet_jax.run.validation import Validation
from googlenet_jax.train_state import TrainState


def train(
  config: ConfigDict,
  workdir: epath.Path,
  *,
  stop_at: int = 0,
  given: Collection[str] = (),
  arrays: inputs.Splits | None = None,
  deadline: float = math.inf,
) -> dict | None:
  """Trains, resuming the run in the workdir if there is one, and scores the test split at the end.

  Args:
    config: checked (`checks.check`).
    workdir: folder of the run; made where absent.
    stop_at: step to save and stop at, as an interrupted run would; 0, or a later one, for the end.
    given: fields that were set on the command line, 'optimizer.lr'.
    arrays: splits in place of those that the config names.
    deadline: time to save and stop at, by `time.monotonic`; of one process, not of several.

  Returns:
    What `summary.json` holds; None when stopped before the end.

  Raises:
    InputError: unusable data, an unusable workdir or one of another run, or a loss that is not
      finite.
    Interrupted: a signal came, or the deadline.
  """
  watch = Stopwatch()
  workdirs.check(config, workdir)
  summary = workdirs.finished(config, workdir)
  if summary is not None:
    return summary
  with contextlib.ExitStack() as stack:
    folder = RunFolder(config, workdir, stack)
    splits = inputs.load_splits(config, arrays)
    for data in splits.values():
      stack.enter_context(contextlib.closing(data))
    overlaps = inputs.overlaps(config, splits)
    known = {'resume_from': folder.description, 'branch_from': folder.branch_from}
    run = experiment.Run(config, splits['train'], **known)
    effects.check_times(config, run.clock, given)
    folder.check_data(run.description, splits)
    if folder.latest is None and not (config.init.weights or config.init.run):
      # An error before the first step waits for the end of this, so not where weights may not fit.
      run.compile_ahead(splits['train'])
    state = state_at(folder.latest, run, folder)
    folder.begin(run.description)
    signals = stack.enter_context(Signals(deadline))
    trainer = Trainer(config, run, splits, folder, state, watch, signals)
    try:
      trainer.train(min(stop_at or run.clock.total_steps, run.clock.total_steps))
    except InputError:
      trainer.give_up()
      raise
    done = trainer.step == run.clock.total_steps or trainer.out_of_patience
    if done and not signals.stop:
      trainer.warn_of_lost_gradients()
      summary = run_summary.make(  # None if a signal stops it
        config,
        run,
        folder,
        test=splits.get('test'),
        history=trainer.history,
        watch=watch,
        step=trainer.step,
        overlaps=overlaps,
        stop=signals.asked,
      )
    trainer.close()
    if signals.stop:
      raise Interrupted(signals.stop)
    if summary and parallel.is_main():
      files.write(workdir / workdirs.SUMMARY, json.dumps(summary, indent=2) + '\n')
    return summary


def state_at(step: int | None, run: experiment.Run, folder: RunFolder) -> TrainState:
  """The state of a checkpoint; that before the first step for None."""
  return folder.start(run) if step is None else folder.checkpoints.restore(run.shapes(), step)


class Trainer:
  """A run while it trains: its state, and what happens at which step.

  Args:
    config: checked.
    run: parts of the run.
    splits: pipelines of 'train', and of 'validation' where it is named.
    folder: workdir, begun.
    state: initial state, or that of the last checkpoint.
    watch: stopwatch that runs since the run was asked for.
    signals: signals that end it.

  Attributes:
    step: steps that were dispatched.
    history: record of the run.
    out_of_patience: whether validation has not become better for too long.
  """

  def __init__(
    self,
    config: ConfigDict,
    run: experiment.Run,
    splits: dict[str, Pipeline],
    folder: RunFolder,
    state: TrainState,
    watch: Stopwatch,
    signals: Signals,
  ):
    self._config, self._run, self._data = config, run, splits['train']
    self._checkpoints, self._watch, self._signals = folder.checkpoints, watch, signals
    self._validation = Validation(
      run,
      splits.get('validation'),
      batch_size=config.eval.batch_size,
      flip=config.eval.flip,
      every=config.eval.every,
      patience=config.eval.patience,
    )
    self._device_data = parallel.replicate(self._data.device_data)
    # In the warm-up, or the first epoch without one, any head may still be at chance level.
    alarm_from = run.clock.round(config.schedule.warmup) or math.ceil(run.clock.steps_per_epoch)
    alarm = DeadHeadAlarm(run.head_titles, len(self._data.class_names), alarm_from)
    first, self._branches = folder.first, folder.branches
    self._report = Report(run, folder.workdir, first, folder.lines, alarm)
    self.history, self._progress = self._report.history, self._report.progress
    self._saver = Saver(folder.checkpoints, self.history, watch, config.checkpoint.minutes)
    self._recovery = Recovery(
      on_nonfinite=config.on_nonfinite,
      heads=run.head_titles,
      schedule=run.schedule,
      checkpoints=folder.checkpoints,
      restore=functools.partial(state_at, run=run, folder=folder),
      say=self._progress.say,
    )
    self._set(self._recovery.begin(state))
    self._update_patience()
    watch.add_time(max((line.get('seconds', 0) for line in self.history.lines), default=0))
    self._report.begin(config.dataset.name, self._data.size)
    self._trace = Trace(config.profile, folder.workdir / 'profile')
    self._limiter = DispatchLimiter()

  def _set(self, state):
    self._state, self.step = state, int(parallel.fetch(state.step))

  def _update_patience(self):
    """Sets `out_of_patience` by the records: after each evaluation, and after a rollback."""
    self.out_of_patience = self._validation.out_of_patience(
      self.history.lines, bool(self._state.average)
    )

  def train(self, end: int) -> None:
    """Trains to a step or a signal, and saves."""
    with self._saver.finishing():
      if self._branches:  # from here on the other run is not needed
        self._saver.save(self._state)
        self._saver.wait()
      self._catch_up()
      while not self._signals.asked() and self.step < end and not self.out_of_patience:
        log_at = self._run.clock.due(self.step, self._config.log.every)
        eval_at = self._validation.next(self.step)
        self._steps(min(log_at, eval_at, end))
        if self.step in (log_at, eval_at, end) and self._roll_back_if_nonfinite():
          self._catch_up()
          continue
        if self.step == log_at:
          self._log()
        if self.step == eval_at:
          self._evaluate()
        elif self.step == log_at != end:
          self._saver.save_in_time(self._state)
      if self.step < end and self.out_of_patience:
        self._progress.say(f'ended at step {self.step:,}: top-1 on validation became no better')
      self._trace.close(self._state)
      self._roll_back_if_nonfinite()
      self._saver.save(self._state)  # where it stops between two evaluations
      self._saver.wait()

  def warn_of_lost_gradients(self) -> None:
    """Warns of gradients that made no update, because the last step of all was skipped."""
    if self.step < self._run.clock.total_steps:  # it ended early, between two updates perhaps
      return
    if pending := int(parallel.fetch(optim.pending(self._state.opt_state))):
      self._progress.say(
        f'WARNING: the last step was skipped: the gradients of {pending} before it made no update'
      )

  def _catch_up(self):
    """Evaluates where the run was stopped while it was evaluated at this step."""
    if self._validation.due(self.step) and not self._checkpoints.scored(self.step):
      self._evaluate()

  def _steps(self, until):
    """One call of the compiled step: all steps to `until`, or as many as a call may do."""
    config, step = self._config, self.step
    count = min(n - step for n in (until, *self._trace.ends) if n > step)
    count = min(count, config.train.steps_per_call)
    self._trace.update(step, self._state)
    self._watch.start()
    with self._watch.waiting():
      position = step + self._recovery.skipped_batches
      host_batch = self._data.feed(position, count, config.train.batch_size)
    first = not self._watch.compiled
    with self._progress.compiling() if first else contextlib.nullcontext():
      self._state = self._run.step(
        self._state, host_batch, self._device_data, self._run.key, np.int32(count)
      )
      self._watch.add(self._state, count * config.train.batch_size)
    self._limiter.bound(self._state)
    self._signals.begin()
    self.step = step + count
    self._progress.advance(self.step)

  def _roll_back_if_nonfinite(self) -> bool:
    """Goes back to the last checkpoint if a step was not finite, and says whether it did.

    Waits for the devices.
    """
    self._watch.pause(self._state)
    state = self._recovery.back(self._state, self.step)
    if state is None:
      return False
    self._set(state)
    self.history.rewind(self.step)
    self._update_patience()
    return True

  def _log(self):
    line = train_line(self._state, self._run, self.step) | self._watch.lap()
    if 'skipped' in line:
      self._recovery.check_skips(self._state, self.step)
    self._state = without_sums(self._state)
    check_unreadable(self._data)
    self._report.train(self.step, line)

  def _evaluate(self):
    """Scores the last and the averaged parameters, and saves; does neither once it is to stop."""
    with self._progress.pause():
      try:
        results = self._validation.results(self._state, self._signals.asked)
      except InputError:  # too many records cannot be read: no reason to lose the training
        if not parallel.several_processes():
          self._saver.save(self._state)
        raise
      if results is not None:
        self._report.evaluation(self.step, results)
        self._update_patience()
        # The best is chosen by the averaged parameters where there are any.
        self._saver.save(self._state, [*results.values()][-1].values['top1'] if results else None)

  def give_up(self) -> None:
    """Draws the curves after an error, and closes the writers: what led to it is in the record."""
    with contextlib.suppress(Exception):  # the first error is the one to tell
      self._report.close()

  def close(self) -> None:
    """Draws the curves, and says so where a signal ended it."""
    self._report.close()
    self._checkpoints.close()
    if self._signals.stop:
      saved = int(parallel.fetch(self._state.step))
      self._progress.say(
        f'interrupted: saved at step {saved:,}; the same command goes on from there'
      )


def check_unreadable(data: Pipeline) -> None:
  """Raises InputError if all processes together met more bad records than are allowed."""
  if parallel.several_processes():
    bad = parallel.union(data.unreadable())
    if len(bad) > data.max_bad:
      raise too_many_bad(len(bad), data.size, data.max_bad, 'those named above')
