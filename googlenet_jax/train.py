"""The training run, and the evaluation of a run that is there."""

import contextlib
import importlib.metadata
import json
import math
import platform

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from googlenet_jax import config as configs
from googlenet_jax import experiment, parallel, plots, record, train_state, weights
from googlenet_jax.checkpoint import Checkpoints
from googlenet_jax.errors import InputError
from googlenet_jax.evaluate import Evaluator
from googlenet_jax.monitor import DeadHeadAlarm, Signals, Stopwatch, Trace
from googlenet_jax.progress import Progress


class Interrupted(Exception):
  """SIGINT or SIGTERM asked the run to stop; it is saved up to its last step."""

  def __init__(self, signum: int):
    super().__init__(signum)
    self.signum = signum


def train(
  config: ConfigDict, workdir: epath.Path, *, stop_at: int = 0, allow_head: bool = False
) -> dict | None:
  """Trains, or goes on with the run in the workdir, and scores the test split at its end.

  Args:
    config: checked (`config.check`).
    workdir: of the run; made where absent.
    stop_at: step to save and stop at, as an interrupted run would; 0 for the end.
    allow_head: `config.init.weights` may be of other classes; the classifier is new then.

  Returns:
    What `summary.json` holds; None when stopped before the end.

  Raises:
    InputError: unusable data, or an unusable workdir or one of another run.
    Interrupted: by a signal.
  """
  watch = Stopwatch()
  check_workdir(config, workdir)
  if (workdir / 'summary.json').exists():
    return json.loads((workdir / 'summary.json').read_text())
  data = experiment.load(config, 'train')
  begun = _begun(workdir)
  run = experiment.Run(config, data, allow_head=allow_head, begun=begun)
  _check_classes(run.description, data, workdir)
  validator = None
  if config.dataset.validation:
    validation = experiment.load(config, 'validation')
    validator = Evaluator(run.model, validation, config.eval.batch_size)
  state, total = run.initial_state(), run.clock.total_steps
  _begin_workdir(config, run.description, workdir)
  checkpoints = Checkpoints(workdir, config.checkpoint.keep)
  if checkpoints.latest() is not None:
    state = checkpoints.restore(state, checkpoints.latest())
  first = step = int(parallel.fetch(state.step))
  history = record.Record(workdir, step, parallel.is_main())
  for line in history.lines[-1:]:
    if not math.isclose(line['epoch'], run.clock.epochs(line['step'])):
      raise InputError(f'{workdir}: the training set has another size than when the run began')
  watch.add_time(max((line.get('seconds', 0) for line in history.lines), default=0))
  progress = Progress(total, step, parallel.is_main())
  progress.say(
    f'{run.description.model}, {run.parameters:,} parameters; {config.dataset.name}, '
    f'{data.size:,} images; {total:,} steps of {config.train.batch_size} images on '
    f'{parallel.describe()}' + (f'; going on from step {step:,}' if step else '')
  )

  resident = parallel.replicate(data.resident)
  warm = run.clock.round(config.schedule.warmup) or math.ceil(run.clock.steps_per_epoch)
  alarm = DeadHeadAlarm(run.heads, len(data.class_names), warm)
  trace = Trace(config.profile, workdir / 'profile')
  stop = 0
  with Signals() as signals, contextlib.closing(data):
    while step < total and not stop and (not stop_at or step < stop_at):
      log_at = run.clock.due(step, config.log.every)
      eval_at = run.clock.due(step, config.eval.every)
      count = min(n - step for n in (log_at, eval_at, stop_at, *trace.ends) if n > step)
      count = min(count, config.train.steps_per_call)
      trace.update(step, state)
      watch.start()
      with watch.waiting():
        fed = data.feed(step, count, config.train.batch_size)
      state = run.step(state, fed, resident, run.key, np.int32(count))
      watch.add(state, count * config.train.batch_size)
      step += count
      progress.advance(step)

      if step == log_at:
        watch.pause(state)
        line = train_line(state, run, step) | watch.lap()
        state = run.without_sums(state)
        history.add(step, 'train', **line)
        progress.show(step, line)
        for warning in alarm.warnings(step, line):
          progress.say(warning)
      if step == eval_at:
        watch.pause(state)
        top1 = _validate(validator, state, run, step, history, progress) if validator else None
        checkpoints.save(state, top1)
      # Several processes must agree to stop, which they can only where all of them wait.
      if step == log_at or not parallel.several_processes():
        stop = parallel.any_process(signals.received)
    trace.close(state)
    checkpoints.save(state, None)  # of a run that stops between two evaluations

  checkpoints.wait()
  progress.close()
  summary = None
  if step == total:
    summary = _finish(config, run, checkpoints, history, workdir)
    summary |= {'seconds': watch.elapsed(), 'resumed_from_step': first}
    if parallel.is_main():
      record.write(workdir / 'summary.json', json.dumps(summary, indent=2) + '\n')
  history.close()
  checkpoints.close()
  if summary is None and stop:
    progress.say(f'interrupted: saved at step {step:,}; the same command goes on from there')
    raise Interrupted(stop)
  return summary


def evaluate(config: ConfigDict, workdir: epath.Path) -> dict:
  """Scores the run in a workdir on `config.eval.split`, on any number of devices.

  Returns:
    The scores; `evaluation_SPLIT.json` holds them and the confusion matrix.

  Raises:
    InputError: no such run, or a run of another config.
  """
  check_workdir(config, workdir)
  if config.eval.crops != 1:
    raise InputError(f'config.eval.crops={config.eval.crops} needs --weights={workdir}')
  if not (workdir / 'checkpoints').exists():
    raise InputError(f'{workdir} holds no checkpoint: train first, or give --workdir')
  checkpoints = Checkpoints(workdir, read_only=True)
  data = experiment.load(config, config.eval.split, evaluating=True)
  description = _begun(workdir) or experiment.describe(config, data)
  _check_classes(description, data, workdir)
  model = experiment.network(config, description)
  step = _chosen(config, checkpoints, workdir)
  scores = _score(config, model, data, checkpoints, workdir, step, config.eval.split)
  checkpoints.close()
  return scores


def check_workdir(config: ConfigDict, workdir: epath.Path) -> None:
  """Raises InputError if the workdir is a file, or holds a run of another config."""
  try:
    there = next((path for path in (workdir, *workdir.parents) if path.exists()), None)
    if there is not None and not there.is_dir():
      raise InputError(f'--workdir={workdir}: {there} is a file: give a folder')
    path = workdir / 'config.json'
    earlier = path.read_text() if path.exists() else None
  except (OSError, ImportError) as error:  # ImportError: etils, of what gs:// needs
    raise InputError(f'--workdir={workdir} cannot be read: {error}') from error
  differing = configs.differences(earlier, config) if earlier else []
  if differing:
    raise InputError(
      f'{workdir} holds a run of another config ({"; ".join(differing)}): give another '
      '--workdir, or the same values'
    )


def train_line(state: train_state.TrainState, run: experiment.Run, step: int) -> dict:
  """The training record: means since the last one, by head and by layer group."""
  sums = {name: float(value) for name, value in parallel.fetch(state.log_sums).items()}
  examples, steps = max(sums.pop('examples'), 1), max(sums.pop('steps'), 1)
  line = {'epoch': run.clock.epochs(step), 'learning_rate': float(run.schedule(step - 1))}
  for name, value in sums.items():
    line[name] = value / (steps if '_norm/' in name else examples)
  return line


def _begin_workdir(config, description, workdir):
  if not parallel.is_main():
    return
  record.make_folder(workdir)
  record.write(workdir / 'config.json', configs.to_json(config))
  record.write(workdir / 'network.json', description.to_json() + '\n')


def _begun(workdir):
  """What the network is of a run that has a checkpoint, else None."""
  about = workdir / 'network.json'
  if not about.exists() or not any((workdir / 'checkpoints').glob('[0-9]*')):
    return None
  return weights.Description.from_json(about.read_text(), str(about))


def _check_classes(description, data, workdir):
  """A folder's classes may have changed since the run began, and labels with them."""
  earlier, now = description.class_names, weights.called(data.class_names)
  if earlier != now:
    raise InputError(
      f'{workdir} holds a run of {len(earlier)} classes ({", ".join(earlier[:3])}, ...), the '
      f'data has {len(now)} ({", ".join(now[:3])}, ...)'
    )


def _validate(validator, state, run, step, history, progress) -> float:
  """Scores the last and the averaged parameters; the top-1 that the best is chosen by."""
  epoch = run.clock.epochs(step)
  for split in ('validation', 'validation_averaged') if state.average else ('validation',):
    result = validator(train_state.variables(state, averaged=split != 'validation'))
    history.add(step, split, epoch=epoch, **result.means())
    label = split.replace('_', ', ')
    progress.say(f'epoch {epoch:.2f}, {label}: loss {result.loss:.3f}, top-1 {result.top1:.2%}')
  return result.top1


def _chosen(config, checkpoints, workdir) -> int:
  """Step of the checkpoint that is tested."""
  step = checkpoints.best() if config.eval.checkpoint == 'best' else checkpoints.latest()
  if step is None:
    raise InputError(f'{workdir} holds no finished checkpoint: train first, or give --workdir')
  return step


def _score(config, model, data, checkpoints, workdir, step, split) -> dict:
  """Scores a checkpoint on a split, and writes the scores and a picture."""
  evaluator = Evaluator(model, data, config.eval.batch_size)
  result = evaluator(checkpoints.variables(model, data.image_shape, step))
  scores = {'split': split, 'step': step, 'examples': result.examples, **result.means()}
  if parallel.is_main():
    accuracies = [None if math.isnan(x) else x for x in result.per_class.tolist()]
    details = scores | {
      'per_class_top1': dict(zip(data.class_names, accuracies, strict=True)),
      'confusion': result.confusion.tolist(),  # [label][prediction]
    }
    record.write(workdir / f'evaluation_{split}.json', json.dumps(details) + '\n')
    title = f'{config.dataset.name}, {split}: top-1 {result.top1:.2%}'
    picture = plots.confusion(result.confusion, data.class_names, title)
    name = 'confusion.png' if split == 'test' else f'confusion_{split}.png'
    (workdir / name).write_bytes(picture)
  return scores


def _finish(config, run, checkpoints, history, workdir) -> dict:
  """Scores the test split, once, with the checkpoint that validation chose; the summary."""
  step = _chosen(config, checkpoints, workdir)
  summary = {'test_top1': None, 'test_top5': None, 'test_loss': None}
  if config.dataset.test:
    data = experiment.load(config, 'test')
    scores = _score(config, run.model, data, checkpoints, workdir, step, 'test')
    means = {name: scores[name] for name in ('loss', 'top1', 'top5')}
    summary = {f'test_{name}': value for name, value in means.items()}
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
    'images_per_second': float(np.median(speeds)) if speeds else None,
    'input_wait': float(np.mean(waits)) if waits else None,
    'peak_memory_mb': parallel.peak_memory(),
    'seed': config.seed,
    'versions': {name: importlib.metadata.version(name) for name in ('jax', 'flax', 'optax')}
    | {'python': platform.python_version()},
    'device': parallel.describe(),
  }
