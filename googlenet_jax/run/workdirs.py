"""Folders of runs: which run one holds, and who may write to it."""

import contextlib
import fcntl
import json
import logging
import os
import shlex
import socket
import time
from collections.abc import Iterable, Iterator
from typing import Any

from etils import epath
from ml_collections import ConfigDict

from googlenet_jax import files, parallel, schema, stored, weights
from googlenet_jax.data import class_lists
from googlenet_jax.errors import InputError
from googlenet_jax.run import origin
from googlenet_jax.weights.description import tuples

LOG = logging.getLogger('googlenet_jax')

CONFIG, NETWORK = 'config.json', 'network.json'  # what the run began with
SUMMARY = 'summary.json'  # written last: it says that all the rest is there
RUN = 'run.json'  # the version of all that a run leaves, and digests of its data
CHANGES = 'config_changes.jsonl'
STARTS = 'starts.jsonl'  # what each process ran with, from which step on
# What the summary of a finished run is about.
ANSWERED = (
  'dataset.test', 'eval.checkpoint', 'eval.flip', 'eval.metrics', 'eval.metric_fields',
  'eval.shifts',
)  # fmt: skip


class Busy(InputError):
  """Another process trains in a workdir, or has since this one looked."""


def begun(workdir: epath.Path) -> bool:
  """Whether a run was begun in a workdir."""
  return (workdir / CONFIG).exists()


def check(config: ConfigDict, workdir: epath.Path) -> None:
  """Raises InputError if the workdir is a file, or holds a run of another config or version."""
  with files.readable(f'--workdir={workdir}'):
    there = next((path for path in (workdir, *workdir.parents) if path.exists()), None)
    if there is not None and not there.is_dir():
      raise InputError(f'--workdir={workdir}: {there} is a file: give a folder')
    if not begun(workdir):
      return
    earlier = _earlier(workdir)
    path = workdir / RUN
    written = files.read_json(path).get('format') if path.exists() else 'before 3'
  if written != stored.FORMAT:
    raise InputError(
      f'{workdir} holds a run of another version of googlenet_jax (format {written}, not '
      f'{stored.FORMAT}): use that version, or another --workdir'
    )
  differing = schema.differences(earlier, config)
  if differing:
    raise InputError(
      f'{workdir} holds a run of another config ({"; ".join(differing)}): give another '
      '--workdir, or the same values'
    )


def _earlier(workdir: epath.Path) -> dict:
  """The fields that a run was last started with, flat."""
  fields = schema.flat(files.read_json(workdir / CONFIG))
  for line in files.read_lines(workdir / CHANGES):
    fields |= line['fields']
  return fields


def config(workdir: epath.Path) -> ConfigDict | None:
  """The config that the run in a workdir was last started with; None where there is no run.

  Raises:
    InputError: it cannot be read, or has fields that are not there any more.
  """
  with files.readable(f'--workdir={workdir}'):
    if not begun(workdir):
      return None
    fields = _earlier(workdir)
  result = schema.config()
  for field, value in fields.items():
    if field not in schema.FIELDS:
      raise InputError(f'{workdir} holds a run of another version, with {field}: give --config')
    group, _, name = field.rpartition('.')
    (result[group] if group else result)[name] = tuples(value)
  return result


def _others(config: ConfigDict, workdir: epath.Path, fields: Iterable[str]) -> dict[str, Any]:
  """What the run in a workdir was last started with, of those fields where the config differs."""
  now, defaults = (schema.flat(json.loads(schema.to_json(x))) for x in (config, schema.config()))
  earlier = defaults | _earlier(workdir)  # a run of an earlier commit lacks newer fields
  return {field: earlier[field] for field in fields if earlier[field] != now[field]}


def check_choice(config: ConfigDict, workdir: epath.Path) -> None:
  """Raises InputError if a run that goes on would be judged otherwise than before.

  By validation the best checkpoint is chosen, and the training's end where there is patience.
  """
  if not begun(workdir) or not config.dataset.validation:
    return
  if was := _others(config, workdir, ['eval.flip']):
    raise InputError(
      f'{workdir} chooses its checkpoint with config.eval.flip={was["eval.flip"]}: go on with '
      'that; --mode=evaluate scores it otherwise'
    )


def finished(config: ConfigDict, workdir: epath.Path) -> dict | None:
  """The summary of the run in a workdir; None where it is not finished.

  Raises:
    InputError: the summary answers another question than the config's.
  """
  path = workdir / SUMMARY
  if not parallel.from_main(path.exists):
    return None
  parallel.from_main(lambda: check_answer(config, workdir))
  return parallel.from_main(lambda: files.read_json(path))


def check_answer(config: ConfigDict, workdir: epath.Path) -> None:
  """Raises InputError if a finished run's summary answers another question than the config's."""
  other = _others(config, workdir, ANSWERED)
  if other:
    was = ', '.join(f'config.{field}={value!r}' for field, value in other.items())
    now = schema.flat(config.to_dict())
    flags = ' '.join(f'--config.{field}={shlex.quote(str(now[field]))}' for field in other)
    advice = f'--mode=evaluate {flags} scores it anew' if config.dataset.test else 'give that'
    raise InputError(f'{workdir} is finished, and its summary is of {was}: {advice}')


def check_data(digests: dict[str, str], workdir: epath.Path) -> None:
  """Raises InputError if a split is not what it was when the run began.

  Args:
    digests: digests of the data, by the splits' notation, 'train[:80%]'.
    workdir: folder of the run.
  """
  earlier = _digests(workdir)
  for split, digest in digests.items():
    if earlier.get(split, digest) != digest:
      raise InputError(
        f'{workdir}: {split!r} of the dataset is not what it was when the run began: give that '
        'data, or another --workdir'
      )


def _digests(workdir: epath.Path) -> dict[str, str]:
  """Digests of the data of a run that was begun, by split; {} where none was."""
  return files.read_json(workdir / RUN)['data'] if begun(workdir) else {}


def begin(
  config: ConfigDict,
  description: weights.Description,
  digests: dict[str, str],
  workdir: epath.Path,
  *,
  step: int,
  new: bool,
) -> None:
  """Says in a workdir what the run is, and what is changed from a step on.

  `config.json` stays that of the beginning; it is written last, as it says that a run is there.

  Args:
    config: config that the run begins or resumes with.
    description: account of its network.
    digests: see `check_data`.
    workdir: folder of the run.
    step: step that it begins at, or resumes from.
    new: whether it has no checkpoint yet.
  """
  there, earlier = begun(workdir), _digests(workdir)
  if earlier | digests != earlier or not there:
    about = {'format': stored.FORMAT, 'data': earlier | digests}
    files.write(workdir / RUN, json.dumps(about, indent=2) + '\n')
  if new:
    files.write(workdir / NETWORK, description.to_json() + '\n')
  _append(workdir / STARTS, step, origin.origin(config))
  if not there:
    files.write(workdir / CONFIG, schema.to_json(config))
    return
  now, before = schema.flat(json.loads(schema.to_json(config))), _earlier(workdir)
  changed = {field: value for field, value in now.items() if before.get(field) != value}
  if changed:
    _append(workdir / CHANGES, step, {'fields': changed})


def _append(path: epath.Path, step: int, told: dict) -> None:
  """Adds a line of JSON; the file is whole at any time."""
  lines = path.read_text() if path.exists() else ''
  line = json.dumps({'step': step, 'time': round(time.time(), 3), **told})
  files.write(path, f'{lines}{line}\n')


def starts(workdir: epath.Path) -> list[dict]:
  """What each process ran with that trained in a workdir; none where none did."""
  return files.read_lines(workdir / STARTS)


def network(workdir: epath.Path) -> weights.Description:
  """What the network is of a run that was begun."""
  about = workdir / NETWORK
  with files.readable(about):
    text = parallel.from_main(about.read_text)
  return weights.Description.from_json(text, str(about))


def check_classes(
  description: weights.Description, class_names: tuple[str, ...], workdir: epath.Path
) -> None:
  """Raises InputError if the data's classes are not the run's: labels would have changed too."""
  earlier, now = description.class_names, class_lists.display_names(class_names)
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
    Busy: another run is in it.
    InputError: it cannot be written.
  """
  files.make_folder(workdir)
  if '://' in str(workdir):
    yield
    return
  with contextlib.ExitStack() as stack:
    with files.written(f'--workdir={workdir}'):
      file = stack.enter_context(open(workdir / 'lock', 'a+'))
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
      file.seek(0)
      raise Busy(
        f'--workdir={workdir}: {file.read().strip()} trains there: wait for it, or give another'
      ) from error
    except OSError as error:  # a file system without locks
      LOG.warning('WARNING: %s cannot be locked against a second run: %s', workdir, error)
    with files.written(f'--workdir={workdir}'):
      file.truncate(0)
      file.write(f'process {os.getpid()} on {socket.gethostname()}\n')
      file.flush()
    yield
