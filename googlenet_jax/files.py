"""Files that are written whole or not at all, and what cannot be read or written in one line."""

import contextlib
import json
import os

from etils import epath

from googlenet_jax.errors import InputError


def write(path: epath.Path, content: str | bytes) -> None:
  """Writes a file whole or not at all; InputError where it cannot be written."""
  part = path.with_name(path.name + '.part')
  with written(path):
    try:
      part.write_text(content) if isinstance(content, str) else part.write_bytes(content)
      settle(part)
      part.replace(path)
    except OSError:
      with contextlib.suppress(OSError):
        part.unlink(missing_ok=True)
      raise


def settle(path: epath.Path) -> None:
  """Waits until a file is on the disk, as the power may go; an object store does so by itself."""
  if '://' not in str(path):
    with open(path, 'rb+') as file:
      os.fsync(file)


@contextlib.contextmanager
def written(path):
  """Raises what the system refuses to write as an InputError."""
  try:
    yield
  except (OSError, ImportError) as error:  # ImportError: etils, of what gs:// needs
    raise InputError(f'{path} cannot be written: {error}') from error


def make_folder(folder: epath.Path) -> None:
  """Makes a folder where there is none; InputError where it cannot be."""
  with written(folder):
    folder.mkdir(parents=True, exist_ok=True)


def read_json(path: epath.Path):
  """What a JSON file holds; InputError where it holds none."""
  with readable(path):
    return json.loads(path.read_text())


def read_lines(path: epath.Path) -> list:
  """What the lines of a JSON file hold, none where there is no file; InputError as `read_json`.

  A last line without an end is left out: it was being written.
  """
  with readable(path):
    lines = path.read_text().split('\n')[:-1] if path.exists() else []
    return [json.loads(line) for line in lines]


@contextlib.contextmanager
def readable(path):
  """Raises what cannot be read as an InputError."""
  try:
    yield
  except InputError:  # a ValueError: told already
    raise
  except (OSError, ImportError, ValueError) as error:  # ImportError: etils, of what gs:// needs
    raise InputError(f'{path} cannot be read: {error}') from error
