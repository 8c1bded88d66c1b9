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
  except OSError as error:
    raise InputError(f'{path} cannot be written: {error}') from error


def make_folder(workdir: epath.Path) -> None:
  """Makes a workdir where there is none; InputError where it cannot be."""
  try:
    workdir.mkdir(parents=True, exist_ok=True)
  except (OSError, ImportError) as error:  # ImportError: etils, of what gs:// needs
    raise InputError(f'--workdir={workdir} cannot be written: {error}') from error


def read_json(path: epath.Path, text: str | None = None):
  """What a JSON file (or a line of it) holds; InputError where it holds none."""
  try:
    return json.loads(path.read_text() if text is None else text)
  except (OSError, ValueError) as error:
    raise InputError(f'{path} cannot be read: {error}') from error
