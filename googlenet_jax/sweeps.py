"""Sweeps: the points that a config file's `sweep()` lists."""

import runpy

from ml_collections import ConfigDict

from googlenet_jax.errors import InputError, hint
from googlenet_jax.schema import flat


def points(path: str) -> list[dict]:
  """The points of a config file's `sweep()`: `[{'optimizer.lr': 0.1, ...}, ...]`.

  Raises:
    InputError: it has none, or none that is of this form.
  """
  made = runpy.run_path(path).get('sweep')
  if made is None:
    raise InputError(f'--config={path} has no sweep(): a function that returns [{{FIELD: VALUE}}]')
  try:
    found = list(made())
  except Exception as error:  # raised by the user's function
    raise InputError(f'--config={path}: sweep(): {type(error).__name__}: {error}') from error
  if not found or not all(isinstance(point, dict) and point for point in found):
    raise InputError(f'--config={path}: sweep() must return some {{FIELD: VALUE}}, not {found!r}')
  return found


def take_point(config: ConfigDict, point: dict) -> None:
  """Puts the values of a point of a sweep into a config; InputError where they do not fit."""
  known = flat(config.to_dict())
  for field, value in point.items():
    if field not in known:
      raise InputError(f'sweep(): config.{field}: no such field{hint(field, known, "config.")}')
    try:
      config.update_from_flattened_dict({field: value})
    except (TypeError, ValueError) as error:
      raise InputError(f'sweep(): config.{field}={value!r}: {error}') from error
