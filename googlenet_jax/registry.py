"""One way to name a part: by a table of the project's own, or as `module:attribute` of a user's.

The working directory is searched too, so `mine:Net` finds `Net` in a `mine.py` beside the run.
"""

import functools
import importlib
import inspect
import operator
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from googlenet_jax.errors import InputError, hint


def find(name: str, table: Mapping[str, Any], field: str, *, made: bool = False) -> Any:
  """The part of this name.

  Args:
    name: key of the table, or 'module:attribute'.
    table: the project's own parts.
    field: name of the config's field, 'train.loss', for errors.
    made: whether it may be an object, not only what makes one or a function.

  Raises:
    InputError: neither, or the user's module cannot be imported.
  """
  if name in table:
    return table[name]
  module, colon, attribute = str(name).partition(':')
  if not colon:
    known = hint(name, table) or f': use {", ".join(table)}, or module:attribute of your own'
    raise InputError(f'config.{field}={name!r}: no such name{known}')
  try:
    found = operator.attrgetter(attribute)(_module(module))
  except AttributeError as error:
    raise InputError(f'config.{field}={name!r}: {error}') from error
  except InputError:
    raise
  except Exception as error:  # raised by the user's module while it is imported
    raise InputError(
      f'config.{field}={name!r}: {type(error).__name__}: {str(error).strip() or module}'
    ) from error
  if not made and not callable(found):
    raise InputError(f'config.{field}={name!r} is {found!r}: name a function or a class')
  return found


def _module(name: str):
  here = os.getcwd()  # `python main.py` has the folder of main.py on the path, not this one
  if here not in sys.path:
    sys.path.append(here)
  return importlib.import_module(name)


def parameters(part: Callable) -> dict[str, inspect.Parameter]:
  """The keyword parameters of a function or a class; of a flax module, its fields."""
  found = inspect.signature(part).parameters
  named = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
  return {
    name: parameter
    for name, parameter in found.items()
    if parameter.kind in named and name not in ('parent', 'name')
  }


def takes(part: Callable, name: str) -> bool:
  """Whether a part can be called with this keyword."""
  found = inspect.signature(part).parameters.values()
  return name in parameters(part) or any(x.kind == x.VAR_KEYWORD for x in found)


def bind(
  part: Callable, field: str, fields: Mapping[str, Any], offered: Mapping[str, Any] | None = None
) -> Callable:
  """The part with its keyword fields put in.

  Args:
    part: function or class.
    field: name of the config's free fields, 'optimizer.fields', for errors.
    fields: free fields, each of which the part must take.
    offered: values that are put in where the part takes them.

  Raises:
    InputError: it does not take a field; the nearest name is suggested.
  """
  for name in fields:
    if not takes(part, name):
      known = parameters(part)
      near = hint(name, known) or f': it has {", ".join(known) or "none"}'
      raise InputError(f'config.{field}: {called(part)} has no field {name!r}{near}')
  given = {name: x for name, x in (offered or {}).items() if name in parameters(part)}
  return functools.partial(part, **{**given, **fields})


def called(part: Callable) -> str:
  """The name of a part, for a person."""
  part = getattr(part, 'func', part)
  return getattr(part, '__name__', type(part).__name__)


def call(
  part: Callable,
  field: str,
  fields: Mapping[str, Any],
  *arguments,
  offered: Mapping[str, Any] | None = None,
) -> Any:
  """What a part returns, its fields put in; InputError where one is missing or unusable.

  Args:
    arguments: arguments before the fields.
    part, field, fields, offered: see `bind`.
  """
  made = bind(part, field, fields, offered)
  try:
    return made(*arguments)
  except InputError:
    raise
  except (TypeError, ValueError) as error:
    raise InputError(f'config.{field}: {called(part)}: {error}') from error


def by_name(
  names: Sequence[str], fields: Mapping[str, Any], field: str, free: str
) -> dict[str, Mapping[str, Any]]:
  """The free fields of each of several parts.

  Args:
    names: names of the parts.
    fields: free fields by the part's name, or by what follows its colon.
    field: name of the config's field that names the parts, for errors.
    free: name of the config's field of their fields, for errors.

  Raises:
    InputError: a name that is there twice, fields of another part, or no dict.
  """
  if twice := [name for name in names if names.count(name) > 1]:
    raise InputError(f'config.{field}={names!r}: {twice[0]!r} is there twice')
  known = {key: name for name in names for key in (name, name.rpartition(':')[2])}
  result = {name: {} for name in names}
  for key, own in fields.items():
    if key not in known:
      raise InputError(f'config.{free}: {key!r} is not in config.{field}{hint(key, known)}')
    if not isinstance(own, Mapping):
      raise InputError(f"config.{free}[{key!r}]={own!r}: use a dict like {{'depth': 3}}")
    result[known[key]] = own
  return result
