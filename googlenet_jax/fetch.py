"""Published files from the web: resumed where they broke off, checked, whole or not there."""

import fcntl
import hashlib
import http.client
import pathlib
import re
import urllib.error
import urllib.request
from typing import NamedTuple

from tqdm import tqdm

from googlenet_jax import parallel
from googlenet_jax.errors import InputError

CHUNK = 1 << 20  # bytes
PATIENCE = 30  # seconds without an answer


class Published(NamedTuple):
  """A file that somebody published.

  Attributes:
    url: its address.
    size: bytes; 0 where only the server tells.
    sha256: digest, hex, or its beginning.
  """

  url: str
  size: int
  sha256: str

  @property
  def name(self) -> str:
    """Name of the file."""
    return self.url.rpartition('/')[2]


def fetch(file: Published, folder: pathlib.Path, instead: str) -> pathlib.Path:
  """The file in a folder; fetched where it is not there.

  Args:
    file: what to fetch.
    folder: folder that keeps it, made where absent.
    instead: what a person can do without a network, for errors.

  Raises:
    InputError: it cannot be fetched, or what comes is another file.
  """
  path, part, lock = (folder / x for x in (file.name, f'{file.name}.part', f'.{file.name}.lock'))
  if path.exists():
    return path
  if parallel.several_processes():
    raise InputError(f'{path} is not there: fetch it in one process, or {instead}')
  try:
    folder.mkdir(parents=True, exist_ok=True)
    with lock.open('w') as held:
      fcntl.flock(held, fcntl.LOCK_EX)
      if not path.exists():  # another process may have fetched it meanwhile
        _complete(file, part, instead)
        part.rename(path)
      # Only once the file is there: who still waits at this lock, or makes the next, finds it.
      lock.unlink(missing_ok=True)
  except (OSError, http.client.HTTPException) as error:
    why = f'{file.url} cannot be fetched to {folder} ({_why(error)})'
    raise InputError(f'{why}: {instead}') from error
  return path


def digest(path: pathlib.Path) -> str:
  """SHA-256 of a file, hex."""
  with path.open('rb') as stream:
    return hashlib.file_digest(stream, 'sha256').hexdigest()


def _complete(file: Published, part: pathlib.Path, instead: str) -> None:
  """Fetches what is missing of the file, and checks the whole."""
  if part.exists() and file.size and part.stat().st_size > file.size:
    part.unlink()
  have = part.stat().st_size if part.exists() else 0
  expected = have if have and have == file.size else _download(file, part, have)
  size = part.stat().st_size
  if size < expected:
    raise InputError(
      f'{file.url} broke off after {size:,} of {expected:,} bytes: the same command goes on there'
    )
  if not (found := digest(part)).startswith(file.sha256):
    part.unlink()
    raise InputError(
      f'{file.url} gave another file than the published one (SHA-256 {found[:8]}..., not '
      f'{file.sha256[:8]}...), which was removed: try again, or {instead}'
    )


def _download(file: Published, part: pathlib.Path, have: int) -> int:
  """Appends what is missing of the file, under a bar; returns the bytes that it should have."""
  headers = {'Range': f'bytes={have}-'} if have else {}
  request = urllib.request.Request(file.url, headers=headers)
  try:
    answer = urllib.request.urlopen(request, timeout=PATIENCE)
  except urllib.error.HTTPError as error:
    if have and error.code == 416:  # nothing is left to send: the digest tells
      return have
    raise
  with answer:
    stretch = re.fullmatch(r'bytes (\d+)-\d+/(\d+)', answer.headers.get('Content-Range', ''))
    have = int(stretch[1]) if answer.status == 206 and stretch else 0
    left = int(answer.headers.get('Content-Length', 0))
    total = int(stretch[2]) if have else left
    if file.size and total and total != file.size:
      raise OSError(f'it has {total:,} bytes there, not {file.size:,}')
    total = file.size or total
    with (
      part.open('r+b' if have else 'wb') as out,
      tqdm(
        desc=file.name,
        total=total or None,
        initial=have,
        unit='B',
        unit_scale=True,
        dynamic_ncols=True,
      ) as bar,
    ):
      out.seek(have)
      while chunk := answer.read(CHUNK):
        out.write(chunk)
        bar.update(len(chunk))
  return total


def _why(error: Exception) -> str:
  if isinstance(error, urllib.error.HTTPError):
    return f'the server answers {error.code}'
  return str(getattr(error, 'reason', error)) or type(error).__name__
