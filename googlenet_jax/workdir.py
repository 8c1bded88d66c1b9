"""The folder of a run: which run it holds, and who may write to it."""

import contextlib
import fcntl
import logging
import os
import socket
from collections.abc import Iterator

from etils import epath
from ml_collections import ConfigDict

from googlenet_jax import config as configs
from googlenet_jax import parallel, record, weights
from googlenet_jax.errors import InputError

LOG = logging.getLogger('googlenet_jax')


def check(config: ConfigDict, workdir: epath.Path) -> None:
  """Raises InputError if the workdir is a file, or holds a run of another config."""
  try:
    there = next((path for path in (workdir, *workdir.parents) if path.exists()), None)
    if there is not None and not there.is_dir():
      raise InputError(f'--workdir={workdir}: {there} is a file: give a folder')
    path = workdir / 'config.json'
    earlier = record.read_json(path) if path.exists() else None
  except (OSError, ImportError) as error:  # ImportError: etils, of what gs:// needs
    raise InputError(f'--workdir={workdir} cannot be read: {error}') from error
  differing = configs.differences(earlier, config) if earlier else []
  if differing:
    raise InputError(
      f'{workdir} holds a run of another config ({"; ".join(differing)}): give another '
      '--workdir, or the same values'
    )


def begin(config: ConfigDict, description: weights.Description, workdir: epath.Path) -> None:
  """Says in a workdir what the run is."""
  record.write(workdir / 'config.json', configs.to_json(config))
  record.write(workdir / 'network.json', description.to_json() + '\n')


def network(workdir: epath.Path) -> weights.Description:
  """What the network is of a run that was begun."""
  about = workdir / 'network.json'
  try:
    text = parallel.from_main(about.read_text)
  except OSError as error:
    raise InputError(f'{about} cannot be read: {error}') from error
  return weights.Description.from_json(text, str(about))


def check_classes(
  description: weights.Description, class_names: tuple[str, ...], workdir: epath.Path
) -> None:
  """Raises InputError if the data's classes are not the run's: labels would have changed too."""
  earlier, now = description.class_names, weights.called(class_names)
  if earlier != now:
    raise InputError(
      f'{workdir} holds a run of {len(earlier)} classes ({", ".join(earlier[:3])}, ...), the '
      f'data has {len(now)} ({", ".join(now[:3])}, ...)'
    )


@contextlib.contextmanager
def locked(workdir: epath.Path) -> Iterator[None]:
  """Makes a workdir and keeps other runs out; a lock goes with the process that holds it.

  In an object store nothing is locked.

  Raises:
    InputError: another run is in it, or it cannot be written.
  """
  record.make_folder(workdir)
  if '://' in str(workdir):
    yield
    return
  with contextlib.ExitStack() as stack:
    try:
      file = stack.enter_context(open(workdir / 'lock', 'a+'))
    except OSError as error:
      raise InputError(f'--workdir={workdir} cannot be written: {error}') from error
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
      file.seek(0)
      raise InputError(
        f'--workdir={workdir}: {file.read().strip()} trains there: wait for it, or give another'
      ) from error
    except OSError as error:  # a file system without locks
      LOG.warning('WARNING: %s cannot be locked against a second run: %s', workdir, error)
    try:
      file.truncate(0)
      file.write(f'process {os.getpid()} on {socket.gethostname()}\n')
      file.flush()
    except OSError as error:
      raise InputError(f'--workdir={workdir} cannot be written: {error}') from error
    yield
