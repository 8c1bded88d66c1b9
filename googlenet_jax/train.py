"""The training run, and the evaluation of a run that is there."""

import importlib.metadata
import json
import math
import platform
import resource
import signal
import sys
import time

import jax
import numpy as np
from etils import epath
from ml_collections import ConfigDict

from googlenet_jax import config as configs
from googlenet_jax import experiment, parallel, plots, record, train_state
from googlenet_jax.checkpoint import Checkpoints
from googlenet_jax.errors import InputError
from googlenet_jax.evaluate import Evaluator, Result
from googlenet_jax.progress import Progress


class Interrupted(Exception):
  """SIGINT or SIGTERM asked the run to stop; it is saved up to its last step."""

  def __init__(self, signum: int):
    super().__init__(signum)
    self.signum = signum


def train(config: ConfigDict, workdir: epath.Path, *, stop_at: int = 0) -> dict | None:
  """Trains, or goes on with the run in the workdir, and scores the test split at its end.

  Args:
    config: checked (`config.check`).
    workdir: of the run; made where absent.
    stop_at: step to save and stop at, as an interrupted run would; 0 for the end.

  Returns:
    What `summary.json` holds; None when stopped before the end.

  Raises:
    InputError: unusable data, or a workdir of another run.
    Interrupted: by a signal.
  """
  check_workdir(config, workdir)
  if (workdir / 'summary.json').exists():
    return json.loads((workdir / 'summary.json').read_text())
  writes = jax.process_index() == 0
  data = experiment.load(config, 'train')
  run = experiment.Run(config, data)
  validator = None
  if config.dataset.validation:
    validation = experiment.load(config, 'validation')
    validator = Evaluator(run.model, validation, config.eval.batch_size)
  if writes:
    workdir.mkdir(parents=True, exist_ok=True)
    record.write(workdir / 'config.json', configs.to_json(config))

  checkpoints = Checkpoints(workdir, config.checkpoint.keep)
  state = run.initial_state()
  if checkpoints.latest() is not None:
    state = checkpoints.restore(state, checkpoints.latest())
  first = step = int(parallel.fetch(state.step))
  total = run.clock.total_steps
  history = record.Record(workdir, step, writes)
  progress = Progress(total, step, writes)
  progress.say(
    f'{config.model.name}, {_parameters(state):,} parameters; {config.dataset.name}, '
    f'{data.size:,} images; {total:,} steps of {config.train.batch_size} images on '
    f'{_device()}' + (f'; going on from step {step:,}' if step else '')
  )

  resident = parallel.replicate(data.resident)
  watch = Stopwatch(max((line.get('seconds', 0) for line in history.lines), default=0))
  alarm = DeadHeadAlarm(config, run)
  profile = [int(n) for n in config.profile.split(':')] if config.profile else []
  with Signals() as signals:
    while step < total and not signals.received and (not stop_at or step < stop_at):
      log_at = run.clock.due(step, config.log.every)
      eval_at = run.clock.due(step, config.eval.every)
      stops = [n for n in (log_at, eval_at, stop_at, *profile) if n > step]
      count = min(config.train.steps_per_call, min(stops) - step)
      if profile and step == profile[0]:
        jax.profiler.start_trace(str(workdir / 'profile'))
      state = run.step(state, data.feed(step), resident, run.key, np.int32(count))
      watch.add(state, count * config.train.batch_size)
      step += count
      if profile and step == profile[1]:
        jax.block_until_ready(state)
        jax.profiler.stop_trace()

      if step == log_at:
        watch.pause(state)
        line = train_line(state, run, step) | watch.lap()
        zeros = {name: np.float32(0) for name in state.log_sums}
        state = state.replace(log_sums=parallel.replicate(zeros))
        history.add(step, 'train', **line)
        progress.show(step, line)
        for warning in alarm.warnings(step, line):
          progress.say(warning)
      if step == eval_at:
        watch.pause(state)
        scores = None
        if validator:
          scores = _validate(validator, state, run, step, history, progress)
        checkpoints.save(state, scores)
    checkpoints.save(state, None)  # of a run that stops between two evaluations

  checkpoints.wait()
  progress.close()
  summary = None
  if step == total and not signals.received:
    summary = _test(config, run, state, checkpoints, history, workdir)
    speeds = [line['images_per_second'] for line in history.lines if 'images_per_second' in line]
    summary |= {
      'steps': total,
      'epochs': float(total / run.clock.steps_per_epoch),
      'parameters': _parameters(state),
      'images_per_second': float(np.median(speeds)) if speeds else None,
      'seconds': watch.elapsed(),
      'peak_memory_mb': _peak_memory(),
      'seed': config.seed,
      'resumed_from_step': first,
      'versions': {p: importlib.metadata.version(p) for p in ('jax', 'flax', 'optax')}
      | {'python': platform.python_version()},
      'device': _device(),
    }
    if writes:
      record.write(workdir / 'summary.json', json.dumps(summary, indent=2) + '\n')
  history.close()
  checkpoints.close()
  if signals.received:
    progress.say(f'interrupted: saved at step {step:,}; the same command goes on from there')
    raise Interrupted(signals.received)
  return summary


def evaluate(config: ConfigDict, workdir: epath.Path) -> dict:
  """Scores the run in a workdir on `config.eval.split`.

  Returns:
    What is written as `evaluation_SPLIT.json`: split, step, examples, loss, top1, top5 and
    the accuracy of each class.

  Raises:
    InputError: no such run, or a run of another config.
  """
  if not (workdir / 'checkpoints').exists():
    raise InputError(f'{workdir} holds no checkpoint: train first, or give --workdir')
  check_workdir(config, workdir)
  data = experiment.load(config, config.eval.split, evaluating=True)
  run = experiment.Run(config, data)
  checkpoints = Checkpoints(workdir, config.checkpoint.keep)
  step = _chosen(config, checkpoints)
  if step is None:
    raise InputError(f'{workdir} holds no finished checkpoint: train first, or give --workdir')
  state = checkpoints.restore(run.initial_state(), step)
  checkpoints.close()
  evaluator = Evaluator(run.model, data, config.eval.batch_size)
  result = evaluator(train_state.variables(state, averaged=bool(state.average)))
  scores = {'split': config.eval.split, 'step': step, **_scores(result, data)}
  if jax.process_index() == 0:
    path = workdir / f'evaluation_{config.eval.split}.json'
    record.write(path, json.dumps(scores, indent=2) + '\n')
  return scores


def check_workdir(config: ConfigDict, workdir: epath.Path) -> None:
  """Raises InputError if the workdir is a file, or holds a run of another config."""
  if workdir.exists() and not workdir.is_dir():
    raise InputError(f'--workdir={workdir} is a file: give a folder')
  path = workdir / 'config.json'
  differing = configs.differences(path.read_text(), config) if path.exists() else []
  if differing:
    raise InputError(
      f'{workdir} holds a run of another config ({"; ".join(differing)}): give another '
      '--workdir, or the same values'
    )


def train_line(state: train_state.TrainState, run: experiment.Run, step: int) -> dict:
  """The training record: means since the last one, by head and by layer group."""
  sums = {name: float(value) for name, value in parallel.fetch(state.log_sums).items()}
  examples, steps = max(sums.pop('examples'), 1), max(sums.pop('steps'), 1)
  line = {
    'epoch': float(step / run.clock.steps_per_epoch),
    'learning_rate': float(run.schedule(step - 1)),
  }
  for name, value in sums.items():
    line[name] = value / (steps if '_norm/' in name else examples)
  return line


def _validate(validator, state, run, step, history, progress) -> float:
  """Scores the last and the averaged parameters; the top-1 that the best is chosen by."""
  epoch = float(step / run.clock.steps_per_epoch)
  for split in ('validation', 'validation_averaged') if state.average else ('validation',):
    result = validator(train_state.variables(state, averaged=split != 'validation'))
    history.add(step, split, epoch=epoch, **result.scores())
    label = split.replace('_', ', ')
    progress.say(f'epoch {epoch:.2f}, {label}: loss {result.loss:.3f}, top-1 {result.top1:.2%}')
  return result.top1


def _chosen(config: ConfigDict, checkpoints: Checkpoints) -> int | None:
  return checkpoints.best() if config.eval.checkpoint == 'best' else checkpoints.latest()


def _scores(result: Result, data) -> dict:
  per_class = dict(zip(data.class_names, map(float, result.per_class), strict=True))
  return {'examples': result.examples, **result.scores(), 'per_class_top1': per_class}


def _test(config, run, state, checkpoints, history, workdir) -> dict:
  """Scores the test split, once, with the checkpoint that validation chose."""
  chosen = _chosen(config, checkpoints)
  split = 'validation_averaged' if state.average else 'validation'
  validated = history.find(chosen, split)
  summary = {'test_top1': None, 'test_top5': None, 'test_loss': None}
  summary |= {'validation_top1': validated and validated['top1'], 'tested_step': chosen}
  if not config.dataset.test:
    return summary
  state = checkpoints.restore(state, chosen)
  data = experiment.load(config, 'test')
  evaluator = Evaluator(run.model, data, config.eval.batch_size)
  result = evaluator(train_state.variables(state, averaged=bool(state.average)))
  if not history.find(chosen, 'test'):
    epoch = float(chosen / run.clock.steps_per_epoch)
    history.add(chosen, 'test', epoch=epoch, **result.scores())
  if jax.process_index() == 0:
    title = f'{config.dataset.name}, test: top-1 {result.top1:.2%}'
    picture = plots.confusion(result.confusion, data.class_names, title)
    (workdir / 'confusion.png').write_bytes(picture)
  summary |= {f'test_{name}': value for name, value in result.scores().items()}
  return summary | {'test_per_class_top1': _scores(result, data)['per_class_top1']}


class DeadHeadAlarm:
  """Notices a head whose loss has stayed at that of guessing, ln(classes)."""

  def __init__(self, config: ConfigDict, run: experiment.Run):
    self._heads = list(run.heads)
    self._begin = run.clock.round(config.schedule.warmup) or math.ceil(run.clock.steps_per_epoch)
    self._classes = run.model.classes

  def warnings(self, step: int, line: dict) -> list[str]:
    """A warning for each such head, once, after the warm-up (or the first epoch)."""
    if step < self._begin:
      return []
    guessing = math.log(self._classes)
    dead = [h for h in self._heads if abs(line[f'{h}_loss'] - guessing) < 0.01 * guessing]
    self._heads = [h for h in self._heads if h not in dead]
    return [
      f'WARNING: head {head!r} is still at ln({self._classes}) = {guessing:.3f} at step '
      f'{step:,}: it has learnt nothing. Try '
      '--config.model.norm=batch, another optimizer.lr or a warm-up'
      for head in dead
    ]


class Stopwatch:
  """Training speed without compilation, evaluation and saving; wall time of the run."""

  def __init__(self, earlier: float):
    self._began = time.monotonic() - earlier
    self._images, self._seconds, self._since = 0, 0.0, None
    self._compiled = False

  def add(self, state, images: int) -> None:
    """Counts a call; the first one, which compiles, is left out."""
    if not self._compiled:
      jax.block_until_ready(state)
      self._compiled = True
    else:
      self._images += images
    self._since = self._since or time.monotonic()

  def pause(self, state) -> None:
    """Waits for the device and stops until the next call."""
    jax.block_until_ready(state)
    if self._since:
      self._seconds += time.monotonic() - self._since
    self._since = None

  def lap(self) -> dict[str, float]:
    """Images a second since the last lap, where any were counted, and the wall time."""
    lap = {'seconds': round(self.elapsed(), 3)}
    if self._images:
      lap['images_per_second'] = round(self._images / self._seconds, 3)
    self._images, self._seconds = 0, 0.0
    return lap

  def elapsed(self) -> float:
    """Seconds since the run began, those before an interruption included."""
    return time.monotonic() - self._began


class Signals:
  """Catches SIGINT and SIGTERM while a step is finished; a second one ends at once."""

  def __enter__(self):
    self.received = 0
    self._old = {s: signal.signal(s, self._receive) for s in (signal.SIGINT, signal.SIGTERM)}
    return self

  def _receive(self, signum, frame):
    del frame
    self.received = signum
    self._restore()

  def _restore(self):
    for signum, handler in self._old.items():
      signal.signal(signum, handler)

  def __exit__(self, *unused):
    self._restore()


def _parameters(state) -> int:
  return sum(x.size for x in jax.tree.leaves(state.params))


def _device() -> str:
  return f'{jax.device_count()} x {jax.devices()[0].device_kind}'


def _peak_memory() -> float:
  """Peak memory in MB: the accelerator's, or this process's on a CPU."""
  stats = jax.local_devices()[0].memory_stats()
  if stats and 'peak_bytes_in_use' in stats:
    return stats['peak_bytes_in_use'] / 1e6
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB; bytes on macOS
  return peak / 1e6 if sys.platform == 'darwin' else peak * 1024 / 1e6
