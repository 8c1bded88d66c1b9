"""The error that bad input raises."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
  """Something that the user gave is unusable.

  The message is one line: what is wrong, where, and what to do. `cli.py` prints it and
  exits with status 2; everything else that is raised is a bug and keeps its traceback.
  """


def hint(name: str, known: Iterable[str], prefix: str = '') -> str:
  """'; did you mean PREFIX...?' with the known name most like this one; '' where none is like it.

  Of names with dots the last parts are compared too.
  """

  def likeness(other):
    pairs = (name, other), (name.rsplit('.', 1)[-1], other.rsplit('.', 1)[-1])
    return max(difflib.SequenceMatcher(None, *pair).ratio() for pair in pairs)

  best = max(known, key=likeness, default='')
  return f'; did you mean {prefix}{best}?' if best and likeness(best) >= 0.7 else ''
