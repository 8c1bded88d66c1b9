"""Where figures come from: the command, the code, the machine."""

import functools
import hashlib
import importlib.metadata
import operator
import os
import pathlib
import platform
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from etils import epath
from ml_collections import ConfigDict

import googlenet_jax
from googlenet_jax import registry
from googlenet_jax.data import stream

ROOT = pathlib.Path(googlenet_jax.__file__).parents[1]
# What a run does not depend on, as the resolved config is recorded: experiments go on while other
# things are worked on. Of these, what computes the figures of a record counts.
APART = (
  'configs', 'evidence', 'tools', 'weights', 'api.py', 'checks.py', 'cli.py', 'cluster.py',
  'command_line.py', 'config_files.py', 'effects.py', 'manual.py', 'modes.py', 'plots.py',
  'predictor.py', 'progress.py', 'rules.py', 'schema.py',
)  # fmt: skip
FIGURES = 'evidence/outcomes.py', 'evidence/result.py', 'tools/cost.py', 'tools/trace.py'
# Fields that may name a user's own part, which outcomes depend on.
PARTS = (
  'model.name', 'dataset.name', 'augment.extra', 'train.loss', 'optimizer.name', 'schedule.name',
  'eval.metrics',
)  # fmt: skip
STARTS_FROM = 'init.weights', 'init.run'  # a file; or a run, which its records tell from others


def origin(config: ConfigDict) -> dict[str, Any]:
  """The command, the code, the machine and XLA's flags of this process, for a run."""
  program, *arguments = sys.argv
  return {
    'command': shlex.join([pathlib.Path(program).name, *arguments]),
    **commit(),
    'package': package(),
    'parts': parts(config),
    'host': socket.gethostname(),
    'processor': processor(),
    'xla_flags': os.environ.get('XLA_FLAGS', ''),
    'versions': versions(),
  }


def commit() -> dict[str, Any]:
  """The commit of the checkout that the package lies in, and whether files of it were changed.

  None and None for an installed package, and where git is absent or fails.
  """
  if not (ROOT / '.git').exists() or not shutil.which('git'):
    return {'commit': None, 'changed': None}

  def git(*arguments):
    # Read only: without the lock that `status` takes to refresh the index.
    command = ['git', '--no-optional-locks', '-C', str(ROOT), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return None if done.returncode else done.stdout.strip()

  changed = git('status', '--porcelain', '--untracked-files=no')
  return {
    'commit': git('rev-parse', 'HEAD'),
    'changed': None if changed is None else bool(changed),
  }


@functools.cache
def package() -> str:
  """Digest of the code that outcomes depend on, as it was when this was first called."""
  return _code(lambda name: name.parts[0] not in APART or name.as_posix() in FIGURES)


def _code(counts: Callable[[pathlib.PurePath], bool]) -> str:
  """Digest of the package's files that count, names relative to it."""
  root = pathlib.Path(googlenet_jax.__file__).parent
  found = hashlib.blake2b(digest_size=8)
  for path in sorted(root.rglob('*.py')):
    name = path.relative_to(root)
    if counts(name):
      found.update(f'{name.as_posix()}\0'.encode() + path.read_bytes() + b'\0')
  return found.hexdigest()


@functools.cache
def _reader() -> str:
  """Digest of the code that reads weights, as it was when this was first called."""
  return _code(lambda name: name.parts[0] == 'weights')


def parts(config: ConfigDict) -> dict[str, str]:
  """Digests of what a run takes from outside of the package, beside its data.

  By module, the files that hold a user's own parts, as they were imported; by field, what training
  starts from, and with weights the code that reads them. Of what such a file imports nothing is
  told, nor of one that cannot be read.

  Raises:
    InputError: a part cannot be imported.
  """
  found = {}
  for field in PARTS:
    value = operator.attrgetter(field)(config)
    for name in (value,) if isinstance(value, str) else value:
      if ':' in name:
        part, module = registry.find(name, {}, field, made=True), name.partition(':')[0]
        for where in (module, getattr(part, '__module__', None) or module):  # it may be imported
          found[where] = _digest(getattr(sys.modules.get(where), '__file__', None))
  for field in STARTS_FROM:
    if value := operator.attrgetter(field)(config):
      path = epath.Path(value).expanduser()
      found[field] = _digest(path / 'metrics.jsonl' if path.is_dir() else path)
  if config.init.weights:
    found['googlenet_jax.weights'] = _reader()
  return {name: digest for name, digest in found.items() if digest}


@functools.cache
def _digest(path: str | epath.Path | None) -> str:
  """Digest of a file as it was when this was first called; '' where none can be read."""
  try:
    content = epath.Path(path).read_bytes()
  except (OSError, TypeError):  # in a zip file, a name to be fetched; None of what is built in
    return ''
  return hashlib.blake2b(content, digest_size=8).hexdigest()


def processor() -> str:
  """The CPU's model, and how many of its cores this process may use."""
  path = pathlib.Path('/proc/cpuinfo')
  lines = path.read_text().splitlines() if path.exists() else []
  names = [line.partition(':')[2].strip() for line in lines if line.startswith('model name')]
  return f'{stream.cores()} cores of {names[0] if names else platform.processor()}'


def command() -> str:
  """The command line, without the places of this machine."""
  program, *arguments = sys.argv
  return shlex.join([pathlib.Path(program).name, *map(without_places, arguments)])


def without_places(text: str) -> str:
  """The text with absolute paths and addresses as DIR."""
  return re.sub(r'(?:(?<![^\s=,"\'(])[/~]|\w+://)[^\s,"\')]*', 'DIR', text)


def _version(name):
  try:
    return importlib.metadata.version(name)
  except importlib.metadata.PackageNotFoundError:
    return None


def versions() -> dict[str, str | None]:
  """Versions of what computes and decodes; None for what is installed under another name."""
  names = 'jax', 'jaxlib', 'flax', 'optax', 'numpy', 'grain', 'pillow', 'simplejpeg'
  names = *names, 'opencv-python-headless'
  packages = {name: _version(name) for name in names}
  own = {'googlenet_jax': googlenet_jax.__version__, 'python': platform.python_version()}
  return packages | own
