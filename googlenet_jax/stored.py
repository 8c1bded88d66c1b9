"""The files of checkpoints: their steps and scores, and whether a disk has changed them.

Each holds `meta`, the version of its layout and the state's counts, and `SHA256SUMS` of all its
files, which `sha256sum -c` reads too: Orbax restores what a disk has changed without a word. Orbax
writes and restores them (`checkpoint.py`); nothing here needs it.
"""

import hashlib
import json

from etils import epath

from googlenet_jax import files
from googlenet_jax.errors import InputError

# Version of a run: raised when its state, or the order of its data, changes. 1 had no digests and
# no `skipped_batches`, 2 another order in memory and no `learning_rate` among its sums.
FORMAT = 4
SUMS = 'SHA256SUMS'
STAMP = '_CHECKPOINT_METADATA'  # Orbax's, with the time at which the folder got its name
COMMITTED = 'commit_success.txt'  # likewise, written last
UNSIGNED = SUMS, STAMP, COMMITTED
SCORE, SCORES = 'validation_top1', 'metrics/metrics'  # and the file that Orbax keeps it in


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


def score(folder: epath.Path) -> float | None:
  """The score of a checkpoint; None where it has none."""
  scores = folder / SCORES
  return json.loads(scores.read_text())[SCORE] if scores.exists() else None


def meta(folder: epath.Path) -> dict:
  """What a checkpoint's `meta` says: its format, and the state's counts."""
  return json.loads((folder / 'meta' / 'metadata').read_text())


def steps(folder: epath.Path) -> list[int]:
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


def damage(folder: epath.Path) -> str:
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
