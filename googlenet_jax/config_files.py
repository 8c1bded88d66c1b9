"""Config files: found by name or path, loaded; the points of their sweeps."""

import os
import pathlib
import re
import runpy

from ml_collections import ConfigDict

from googlenet_jax.errors import InputError, hint

FOLDER = pathlib.Path(__file__).parent / 'configs'  # in a checkout a link to configs/


def find(given: str) -> str:
  """The path of a config file, or of the one of this name that comes with the package.

  Raises:
    InputError: a name that none has.
  """
  if not re.fullmatch(r'\w+', given) or os.path.isfile(given):
    return os.path.expanduser(given)
  names = sorted(path.stem for path in FOLDER.glob('*.py'))
  if given not in names:
    near = hint(given, names) or f': use a file, or one of {", ".join(names)}'
    raise InputError(f'--config={given}: no such config{near}')
  return str(FOLDER / f'{given}.py')


def load(given: str) -> ConfigDict:
  """The config of a file, by path or name; InputError where it cannot be read."""
  path = find(given)
  try:
    config = runpy.run_path(path)['get_config']()
  except Exception as error:  # raised by the user's file
    raise InputError(f'{path}: {type(error).__name__}: {error}') from error
  if not isinstance(config, ConfigDict):
    raise InputError(f'{path}: get_config() must return a ConfigDict')
  return config


def points(path: str) -> list[dict]:
  """The points of a config file's `sweep()`: `[{'optimizer.lr': 0.1, ...}, ...]`.

  Raises:
    InputError: it has none, or none that is of this form.
  """
  found = _made_by(path, 'sweep')
  if found is None:
    raise InputError(f'--config={path} has no sweep(): a function that returns [{{FIELD: VALUE}}]')
  if not found or not all(isinstance(point, dict) and point for point in found):
    raise InputError(f'--config={path}: sweep() must return some {{FIELD: VALUE}}, not {found!r}')
  return found


def claims(path: str) -> list:
  """What a config file's `claims()` returns; none where it has no such function."""
  return _made_by(path, 'claims') or []


def title(path: str) -> str:
  """The first line of a config file's docstring."""
  text = runpy.run_path(path).get('__doc__') or ''
  return text.strip().partition('\n')[0]


def _made_by(path: str, name: str) -> list | None:
  """What a function of the file returns, as a list; None where it has none of this name."""
  function = runpy.run_path(path).get(name)
  if function is None:
    return None
  try:
    return list(function())
  except Exception as error:  # raised by the user's function
    raise InputError(f'--config={path}: {name}(): {type(error).__name__}: {error}') from error
