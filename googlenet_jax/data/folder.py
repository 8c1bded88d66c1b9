"""Folders of photos: `root/<split>/<class>/*`, or `root/<class>/*` without splits."""

import concurrent.futures
import hashlib
import itertools
import logging
import os
import pathlib
import re

import numpy as np

from googlenet_jax.data import decode
from googlenet_jax.data.class_lists import read_class_list
from googlenet_jax.data.sources import Records, Span, digest_of
from googlenet_jax.errors import InputError

LOG = logging.getLogger('googlenet_jax')

ALL = 'all'  # the split that is the root itself
SPLIT = re.compile(r'([^\[\]]+)(?:\[(?:(\d+)%)?:(?:(\d+)%)?\])?')


def records(root: str, split: str, others: tuple[str, ...] = (), class_list: str = '') -> Records:
  """The photos of a split.

  Args:
    root: the folder; a class is a folder of photos, and its name that of the folder.
    split: 'train' for `root/train`, 'all' for a root without splits. A share of either hashes
      class and file name, so changes to other photos never move one: 'all[:80%]', 'train[90%:]'.
    others: splits whose classes count too, so that labels are the same in all of them.
    class_list: file with a class a line in label order, its folder's name first and what it is
      called after it, as in `synset_words.txt` (after a tab, where the folder's name has
      blanks); '' for the folders in the order of their names.

  Raises:
    InputError: no such folder, split or class, or no photo.
  """
  base = _base(root)
  parts = {name: _parse(base, name) for name in (split, *others) if name}
  found = {part[0]: _classes(part[0]) for part in parts.values()}
  folder, first, last = parts[split]
  names = sorted({name for classes in found.values() for name in classes})
  labels, class_names = dict(zip(names, range(len(names)), strict=True)), tuple(names)
  if class_list:
    labels, class_names = read_class_list(class_list)
    unknown = [name for name in names if name not in labels]
    if unknown:
      raise InputError(
        f'--config.dataset.classes={class_list}: it does not list {len(unknown)} of the folders '
        f'in {base}: {", ".join(unknown[:3])}{", ..." if unknown[3:] else ""} (a tab ends a name '
        'that has blanks)'
      )
  if len(class_names) < 2:
    raise InputError(
      f'{folder} holds one class only: put the photos of each in a folder of its own'
    )
  ignored, files = [], []
  for name in found[folder]:
    for entry in sorted(os.listdir(folder / name)):
      if entry.startswith('.') or not entry.lower().endswith(decode.EXTENSIONS):
        ignored.append(f'{name}/{entry}')
      elif first <= bucket(f'{name}/{entry}') < last:
        files.append((f'{name}/{entry}', labels[name]))
  if ignored:
    LOG.info('%s: %d files that are no images left out: %s ...', folder, len(ignored), ignored[0])
  if not files:
    raise InputError(f'{split!r} of {base} holds no photo ({", ".join(found[folder][:3])}, ...)')

  def sizes(group):
    return [os.path.getsize(folder / name) for name, _ in group]

  def digest():
    classes = [list(group) for _, group in itertools.groupby(files, lambda file: file[1])]
    # A class a thread: on a file server each photo takes a millisecond.
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
      return digest_of(files, list(pool.map(sizes, classes)))

  return Records(
    count=len(files),
    read=lambda i: ((folder / files[i][0]).read_bytes(), files[i][1]),
    name=lambda i: str(folder / files[i][0]),
    class_names=class_names,
    digest=digest,
    counts=np.bincount([label for _, label in files], minlength=len(class_names)),
    spans=(Span(str(folder.resolve()), first, last, '%'),),
  )


def layout(root: str) -> dict[str, str]:
  """The splits of a folder that is split already, as a config names them; {} of one that is not.

  `root/train/<class>`, and whichever of `root/val` (or `valid`, `validation`) and `root/test` have
  folders of classes too: photos without them have no labels. A tenth of `train` validates where
  nothing else does.
  """
  base = pathlib.Path(root).expanduser()

  def first(*names):
    return next((x for x in names if (base / x).is_dir() and _holds_classes(base / x)), '')

  train, test = first('train'), first('test')
  validation = first('val', 'valid', 'validation')
  if not train:
    return {}
  if not validation:
    train, validation = 'train[:90%]', 'train[90%:]'
  return {'train': train, 'validation': validation, 'test': test}


def bucket(name: str) -> float:
  """Where in [0, 100) a photo's share lies; a function of '<class>/<file>' alone."""
  digest = hashlib.blake2b(os.fsencode(name), digest_size=4).digest()
  return 100 * int.from_bytes(digest, 'big') / 2**32


def _base(root: str) -> pathlib.Path:
  base = pathlib.Path(root).expanduser()
  if not root or not base.is_dir():
    raise InputError(
      f"--config.dataset.data_dir={root or repr('')}: no folder; dataset 'folder' "
      'reads DIR/<class>/* or DIR/<split>/<class>/*'
    )
  return base


def _parse(base: pathlib.Path, split: str) -> tuple[pathlib.Path, int, int]:
  """The folder of a split, and the percents of it from which and to which it goes."""
  match = SPLIT.fullmatch(split)
  if not match:
    raise InputError(f"split {split!r} of a folder: write 'all', 'train' or 'train[80%:90%]'")
  folder = base if match[1] == ALL else base / match[1]
  if not folder.is_dir():
    there = sorted(path.name for path in base.iterdir() if path.is_dir())
    raise InputError(
      f'{base} has no folder {match[1]!r} (it has {", ".join(there[:5])}'
      f"{', ...' if there[5:] else ''}): a split is one of its folders, or 'all' where these are "
      'the classes; --config.dataset.train, .validation and .test name them'
    )
  return folder, int(match[2] or 0), int(match[3] or 100)


def _holds_classes(folder: pathlib.Path) -> bool:
  """Whether a folder holds folders and no photos, as a split does and a class does not."""
  found = False
  for entry in os.scandir(folder):
    if entry.name.lower().endswith(decode.EXTENSIONS):
      return False  # a class may hold a million more
    found |= entry.is_dir() and not entry.name.startswith('.')
  return found


def _classes(folder: pathlib.Path) -> list[str]:
  """Names of the class folders in a split, in order."""
  names = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
  names = [name for name in names if not name.startswith('.')]
  if not names:
    raise InputError(f'{folder} holds no folders: put the photos of each class in one of its own')
  for name in names:
    if _holds_classes(folder / name):
      raise InputError(
        f'{folder / name} holds folders, not photos: if {name!r} is a split, name all three, as '
        "--config.dataset.train=... --config.dataset.validation=... --config.dataset.test='' (no "
        'test)'
      )
  return names
