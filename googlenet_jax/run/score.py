"""The scores of a run: its best checkpoint on a split."""

from collections.abc import Callable
from typing import Any

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from googlenet_jax import experiment, files, inputs, parallel, weights
from googlenet_jax.checkpoint import Checkpoints
from googlenet_jax.data.pipeline import Pipeline
from googlenet_jax.errors import InputError
from googlenet_jax.evaluation import Evaluator
from googlenet_jax.run import record, workdirs


def evaluate(config: ConfigDict, folder: epath.Path, arrays: inputs.Splits | None = None) -> dict:
  """Scores the run in a workdir on `config.eval.split`, on any number of devices.

  Args:
    config: checked.
    folder: workdir of the run.
    arrays: splits in place of those that the config names.

  Returns:
    The scores; `evaluation_SPLIT.json` holds them, the confusion matrix and what they are about.
    An evaluation of another checkpoint or data, or by other metrics, has a file of its own
    (`record.place`).

  Raises:
    InputError: no such run, or a run of another config.
  """
  workdirs.check(config, folder)
  if config.eval.crops != 1:
    raise InputError(f'config.eval.crops={config.eval.crops} needs --weights={folder}')
  if not (folder / 'checkpoints').exists():
    raise InputError(f'{folder} holds no checkpoint: train first, or give --workdir')
  checkpoints = Checkpoints(folder)
  data = inputs.load(config, config.eval.split, evaluating=True, arrays=arrays)
  description = workdirs.network(folder)
  workdirs.check_classes(description, data.class_names, folder)
  if data.image_shape != description.image_shape:
    raise InputError(
      f'images of {list(data.image_shape)}: the run in {folder} was trained on '
      f'{list(description.image_shape)}'
    )
  try:
    step = chosen(config, checkpoints, folder)
    return score(
      config, description, data, checkpoints, folder=folder, step=step, split=config.eval.split
    )
  except FileNotFoundError as error:
    raise InputError(f'a checkpoint in {folder} was removed meanwhile: try again') from error


def chosen(config: ConfigDict, checkpoints: Checkpoints, folder: epath.Path) -> int:
  """Step of the checkpoint that is tested."""
  step = checkpoints.best() if config.eval.checkpoint == 'best' else checkpoints.latest()
  if step is None:
    raise InputError(f'{folder} holds no finished checkpoint: train first, or give --workdir')
  return step


def score(
  config: ConfigDict,
  description: weights.Description,
  data: Pipeline,
  checkpoints: Checkpoints,
  *,
  folder: epath.Path,
  step: int,
  split: str,
  stop: Callable[[], Any] = lambda: False,
) -> dict | None:
  """Scores a checkpoint on a split, and writes the scores and a picture; None where stopped."""
  model = experiment.network(config, description)
  evaluator = Evaluator(
    model,
    data,
    experiment.scored(config),
    config.eval.batch_size,
    flip=config.eval.flip,
    each=True,
    shifts=config.eval.shifts,
  )
  result = evaluator(checkpoints.variables(model, data.image_shape, step), stop)
  if result is None:
    return None
  scores = {'split': split, 'step': step, 'examples': result.examples, **result.numbers()}
  if parallel.is_main():
    told = record.about(config, split, data.digest, [record.network(description, step=step)])
    asked = config.eval.to_dict()
    told |= {name: asked[name] for name in ('metrics', 'metric_fields', 'flip', 'shifts')}
    path = record.place(folder, f'evaluation_{split}', told)
    details = scores | {name: x.tolist() for name, x in result.arrays().items()}
    details['correct'] = record.bits(result.correct)
    if 'confusion' in result.values:
      confusion = result.values['confusion']
      details['per_class_top1'] = _per_class(confusion, data.class_names)
      if config.log.pictures:
        name = path.stem.replace('evaluation', 'confusion').replace('_test', '')
        title = f'{config.dataset.name}, {config.dataset[split]}: top-1 {scores["top1"]:.2%}'
        _draw(confusion, data.class_names, title, folder / f'{name}.png')
    record.write(path, told, record.overrides(config, workdirs.config(folder) or config), details)
  return scores


def _draw(confusion, class_names, title, path):
  from googlenet_jax import plots  # Matplotlib: a second, in which the first step is done

  files.write(path, plots.confusion(confusion, class_names, title))


def _per_class(confusion: np.ndarray, class_names: tuple[str, ...]) -> dict[str, float | None]:
  """Top-1 accuracy of each class; None for a class without examples."""
  counts = confusion.sum(1)
  return {
    name: float(confusion[i, i] / counts[i]) if counts[i] else None
    for i, name in enumerate(class_names)
  }
