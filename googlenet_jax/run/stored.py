"""The checkpoints that lie in a workdir: steps, scores, and whether a disk has changed them.

Each holds `meta`, the version of its layout and the state's counts, and `SHA256SUMS` of all its
files, which `sha256sum -c` reads too: Orbax restores what a disk has changed without a word. Orbax
writes and restores them (`checkpoint.py`); nothing here needs it.
"""

import hashlib
import json
import logging

from etils import epath

from googlenet_jax import files, parallel
from googlenet_jax.errors import InputError

LOG = logging.getLogger('googlenet_jax')

# Version of a run: raised when its state, or the order of its data, changes. 1 had no digests and
# no `skipped_batches`, 2 another order in memory and no `learning_rate` among its sums.
FORMAT = 4
SUMS = 'SHA256SUMS'
STAMP = '_CHECKPOINT_METADATA'  # Orbax's, with the time at which the folder got its name
COMMITTED = 'commit_success.txt'  # likewise, written last
UNSIGNED = SUMS, STAMP, COMMITTED
SCORE, SCORES = 'validation_top1', 'metrics/metrics'  # and the file that Orbax keeps it in


class Stored:
  """The finished checkpoints of a workdir.

  Args:
    workdir: folder of the run; the checkpoints are in its folder `checkpoints`.
    read_only: whether to touch nothing until `open`, as when another process may be training
      there; else a damaged checkpoint is moved to the folder `damaged`.
  """

  def __init__(self, workdir: epath.Path, *, read_only: bool = False):
    workdir = epath.Path(workdir)  # `resolve` would take gs:// for a local folder
    self._workdir = workdir if '://' in str(workdir) else workdir.resolve()
    self._folder = self._workdir / 'checkpoints'
    self._read_only = read_only
    self._scores, self._damaged = {}, []

  def scored(self, step: int) -> bool:
    """Whether the checkpoint of a step, that `latest` or `best` found, has a score."""
    return self._scores.get(step) is not None

  def latest(self) -> int | None:
    """Step of the last checkpoint that is undamaged, None where there is none."""
    return max(self._intact(), default=None)

  def best(self) -> int | None:
    """Step of the best checkpoint on validation, the last where none was scored."""
    intact = self._intact()
    scored = [step for step, score in intact.items() if score is not None]
    # Of equals the last, as Orbax keeps it.
    return max(scored or intact, key=lambda step: (intact[step] or 0, step), default=None)

  def _intact(self) -> dict[int, float | None]:
    """The undamaged checkpoints' steps and scores, the same in every process; warns of others."""
    self._scores = {step: score for step, score in parallel.from_main(self._look)}
    return self._scores

  def _look(self) -> list[tuple[int, float | None]]:
    intact = []
    for step in _steps(self._folder):
      folder = self._folder / str(step)
      damage = _damage(folder)
      if not folder.exists():
        continue  # another process trains here, and needs it no more
      if not damage:
        scores = folder / SCORES
        intact.append((step, json.loads(scores.read_text())[SCORE] if scores.exists() else None))
        continue
      self._damaged.append(folder)
      LOG.warning('WARNING: checkpoint %s is damaged (%s) and is not used', folder, damage)
    if not self._read_only:
      self.open()
    return intact

  def open(self) -> None:
    """Moves what is damaged away, from now on at once; for the main process of a run."""
    self._read_only = False
    for folder in self._damaged:
      moved = self._workdir / 'damaged' / folder.name
      moved.parent.mkdir(exist_ok=True)
      if moved.exists():
        moved.rmtree()
      folder.rename(moved)
      LOG.warning('WARNING: %s was moved to %s', folder, moved)
    self._damaged = []


def sign(folder: epath.Path) -> None:
  """Writes the digests of a checkpoint's files."""
  (folder / SUMS).write_text(_lines(_sums(folder)))
  files.settle(folder / SUMS)


def add_score(folder: epath.Path, validation_top1: float) -> None:
  """Gives a checkpoint without a score one; the other digests stay those of what was saved."""
  (folder / SCORES).parent.mkdir(exist_ok=True)
  text = json.dumps({SCORE: validation_top1})
  files.write(folder / SCORES, text)
  signed = _lines({SCORES: hashlib.sha256(text.encode()).hexdigest()})
  files.write(folder / SUMS, (folder / SUMS).read_text() + signed)


def meta(folder: epath.Path) -> dict:
  """What a checkpoint's `meta` says: its format, and the state's counts."""
  return json.loads((folder / 'meta' / 'metadata').read_text())


def _steps(folder: epath.Path) -> list[int]:
  """Steps of the finished checkpoints in a folder, ascending."""
  paths = [path for path in folder.iterdir() if path.name.isdigit()] if folder.exists() else []
  if '://' in str(folder):  # there a folder has its name from the start
    paths = [path for path in paths if (path / COMMITTED).exists()]
  return sorted(int(path.name) for path in paths)


def _sums(folder: epath.Path) -> dict[str, str]:
  """SHA-256 of every file in a folder, by its name relative to it."""
  found = {}
  for path in sorted(folder.iterdir()):
    if path.is_dir():
      found |= {f'{path.name}/{name}': sum_ for name, sum_ in _sums(path).items()}
    # A score that was being written, and what file managers and servers leave: '.DS_Store', '.nfs'.
    elif not (path.name in UNSIGNED or path.suffix == '.part' or path.name.startswith('.')):
      with path.open('rb') as file:
        found[path.name] = hashlib.file_digest(file, 'sha256').hexdigest()
  return found


def _lines(sums: dict[str, str]) -> str:
  return ''.join(f'{sum_}  {name}\n' for name, sum_ in sums.items())


def _damage(folder: epath.Path) -> str:
  """What is wrong with the files of a checkpoint, '' for nothing.

  Raises:
    InputError: they were written by another version.
  """
  try:
    json.loads((folder / STAMP).read_text())
    written = meta(folder)['format']
  except (OSError, ValueError, KeyError, TypeError) as error:
    return f'its metadata: {error}'
  if written != FORMAT:
    age = 'a newer' if written > FORMAT else 'an earlier'
    raise InputError(
      f'checkpoint {folder} was written by {age} version of googlenet_jax (format {written}, not '
      f'{FORMAT}): use that version, or another --workdir'
    )
  try:
    lines = (folder / SUMS).read_text().splitlines()
    found = _sums(folder)
  except (OSError, ValueError) as error:
    return str(error)
  signed = {name: sum_ for sum_, _, name in (line.partition('  ') for line in lines)}
  if SCORES not in signed:  # `add_score` did not come to sign it: it is whole, as it is written
    found.pop(SCORES, None)
  wrong = sorted(name for name, _ in signed.items() ^ found.items())
  return ', '.join(f'{name} is not as it was signed' for name in dict.fromkeys(wrong[:3]))
