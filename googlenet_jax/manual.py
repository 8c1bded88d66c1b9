"""The text of --help: the modes with an example and the flags that count in each."""

import textwrap
from collections.abc import Mapping

from googlenet_jax.modes import Mode

WIDTH = 100  # characters of a line


def text(about: str, modes: Mapping[str, Mode], flags: Mapping[str, tuple]) -> str:
  """The help of the program.

  Args:
    about: what it is.
    modes: modes by name.
    flags: default, meaning and modes of each flag; () for all modes.
  """
  lines = [about.strip(), '', 'Modes, each with an example and the flags that count in it:']
  for mode, (_, meaning, example) in modes.items():
    own = [f'--{name}' for name, (_, _, where) in flags.items() if mode in where]
    lines += ['', f'{mode}: {meaning}', f'    python main.py {example}']
    lines += textwrap.wrap(' '.join(own), WIDTH, initial_indent='    ', subsequent_indent='    ')
  lines += ['', 'Flags:', '']
  lines += _entry('mode', 'one of those above (default train)')
  lines += _entry('config', 'file or name of the config; --help=config lists its fields')
  lines += _entry('config.FIELD', 'value of a field, --config.optimizer.lr=0.05')
  for name, (default, meaning, _) in flags.items():
    shown = '' if default in ('', [], False, 0, -1) else f' (default {default})'
    lines += _entry(name, f'{meaning}{shown}')
  lines += _entry('version', 'the version of this package and of what it rests on')
  lines += _entry('help', 'this; --helpfull adds the fields of a config')
  return '\n'.join(lines)


def _entry(name, meaning):
  head = f'  --{name}'.ljust(22)
  indent = ' ' * 22
  return textwrap.wrap(meaning, WIDTH, initial_indent=head, subsequent_indent=indent)


def version() -> str:
  """The versions that a figure depends on, a line each."""
  from googlenet_jax.run import origin

  versions = origin.versions()
  own = {name: versions.pop(name) for name in ('googlenet_jax', 'python')}
  return '\n'.join(f'{name} {number}' for name, number in (own | versions).items())
