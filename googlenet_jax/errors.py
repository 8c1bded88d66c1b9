"""The error that bad input raises."""


class InputError(ValueError):
  """Something that the user gave is unusable.

  The message is one line: what is wrong, where, and what to do. `main.py` prints it and
  exits with status 2; everything else that is raised is a bug and keeps its traceback.
  """
