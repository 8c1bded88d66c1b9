"""What a figure was measured on, in one line, and where figures are kept."""

import importlib.metadata
import json
import pathlib
import platform

from googlenet_jax.run import origin


def describe(*packages: str) -> str:
  """The processor, the cores that may be used, Python, jax and other packages' versions."""
  versions = ', '.join(f'{name} {importlib.metadata.version(name)}' for name in ('jax', *packages))
  return f'{origin.processor()}; Python {platform.python_version()}, {versions}'


def save(path: str, about: str, rows: dict[str, dict], **more) -> None:
  """Writes figures as JSON; nothing where the path is ''.

  Args:
    about: result of `describe`.
    rows: the table.
    more: what else says how it was measured ('rounds').
  """
  if path:
    text = json.dumps({'machine': about, **more, 'rows': rows}, indent=2)
    pathlib.Path(path).write_text(text + '\n')
