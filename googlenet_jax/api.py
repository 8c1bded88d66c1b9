"""Runs as a library: configs, training and evaluation, on the caller's own data.

import googlenet_jax as gj

config = gj.config('digits', {'train.duration': '4 epochs'})
gj.train(config, 'runs/arrays', data={'train': (images, labels), 'test': (others, theirs)})
probabilities, names = gj.load('runs/arrays').predict(others)
"""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from googlenet_jax import checks, config_files, effects, inputs, schema, training
from googlenet_jax.data import class_lists, sources
from googlenet_jax.data.sources import Split
from googlenet_jax.errors import InputError
from googlenet_jax.run import score, workdirs

SPLITS = 'train', 'validation', 'test'

# A split of the caller's: images [N, H, W, C] or [N, H, W] uint8, labels [N] int.
Data = Mapping[str, Split | tuple[np.ndarray, np.ndarray]]


def config(name: str = 'default', values: Mapping[str, Any] | None = None) -> ConfigDict:
  """The config of a file, by path, or by name if it comes with the package.

  Args:
    name: 'digits', or 'mine/config.py'.
    values: fields that are to be others, `{'optimizer.lr': 0.1}`.

  Raises:
    InputError: no such file or field, or a value that the field cannot have.
  """
  result = config_files.load(name)
  schema.update(result, values or {})
  effects.fit(result, set(values or ()))
  checks.check(result)
  return result


def train(
  config: ConfigDict, workdir: str | pathlib.Path, *, data: Data | None = None
) -> dict | None:
  """Trains, or goes on with the run in the workdir, and scores the test split at its end.

  Args:
    config: result of `config()`; not changed.
    workdir: folder of the run, made where absent.
    data: splits 'train' and, where wanted, 'validation' and 'test', in place of the config's:
      `(images, labels)`, uint8 `[N, H, W, C]`, of which the centre square counts, C 1 or 3, and
      whole numbers from 0; or a `Split`.

  Returns:
    What `summary.json` holds; None when stopped before the end.

  Raises:
    InputError: unusable data or config, or a workdir of another run.
  """
  config = config.copy_and_resolve_references()
  arrays = None
  if data is not None:
    if 'train' not in data:
      raise InputError("data has no 'train': give {'train': (images, labels), ...}")
    arrays = _splits(data)
    config.dataset.name, config.dataset.in_memory = inputs.ARRAYS, True
    config.dataset.update({name: name if name in data else '' for name in SPLITS})
  checks.check(config)
  return training.train(config, epath.Path(workdir).expanduser(), arrays=arrays)


def evaluate(
  workdir: str | pathlib.Path,
  values: Mapping[str, Any] | None = None,
  *,
  data: Data | None = None,
) -> dict:
  """Scores a run's best checkpoint on a split, by default the test split.

  Args:
    workdir: folder of the run.
    values: fields of its config that are to be others, `{'eval.split': 'validation'}`.
    data: splits in place of the config's, as for `train`, of a run on images in memory.

  Raises:
    InputError: no run, or unusable data.
  """
  folder = epath.Path(workdir).expanduser()
  config = workdirs.config(folder)
  if config is None:
    raise InputError(f'{folder} holds no run: train first')
  schema.update(config, values or {})
  if data and config.eval.split not in data:
    raise InputError(f'data has no {config.eval.split!r}: add it, or set eval.split')
  checks.check(config)
  arrays = _splits(data, workdirs.network(folder).class_names) if data else None
  return score.evaluate(config, folder, arrays)


def _splits(data: Data, class_names: tuple[str, ...] = ()) -> dict[str, Split]:
  """The caller's splits, of the same classes; numbers name them where nothing else does."""
  for name in data.keys() - set(SPLITS):
    raise InputError(f'data has a split {name!r}: use {", ".join(SPLITS)}')
  found = {name: _split(name, given) for name, given in data.items()}
  named = {class_lists.display_names(x.class_names) for x in found.values() if x.class_names}
  named |= {class_names} if class_names else set()
  if len(named) > 1:
    raise InputError(f'data has splits of different classes: {" and ".join(map(str, named))}')
  most = max(int(split.labels.max(initial=1)) for split in found.values())
  names = named.pop() if named else tuple(map(str, range(most + 1)))
  return {
    name: sources.checked(split._replace(class_names=names), f'data[{name!r}]')
    for name, split in found.items()
  }


def _split(name: str, given: Split | tuple[np.ndarray, np.ndarray]) -> Split:
  """Arrays as a split without names of classes."""
  if isinstance(given, Split):
    return given
  if not isinstance(given, tuple | list) or len(given) != 2:
    raise InputError(f'data[{name!r}] is a {type(given).__name__}: give (images, labels)')
  return sources.arrays(*given, what=f'data[{name!r}]')._replace(class_names=())
