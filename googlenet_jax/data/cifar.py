"""CIFAR-10 and CIFAR-100: as TFDS prepared them, else from the archives of their authors.

The archives need no TensorFlow. Their order is not that of TFDS, so splits by number hold other
images: digests of such a split begin with the archive's name, and a run does not go on with the
other. Krizhevsky, "Learning multiple layers of features from tiny images", 2009.
"""

import logging
import pathlib
import tarfile
import zlib
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from googlenet_jax.data import prepare, sources, tfds_sets
from googlenet_jax.data.sources import Records, Split
from googlenet_jax.errors import InputError
from googlenet_jax.fetch import Published, fetch

LOG = logging.getLogger('googlenet_jax')

SIDE, CHANNELS = 32, 3
SIZES = {'train': 50_000, 'test': 10_000}


class Archive(NamedTuple):
  """An archive of binary files.

  Attributes:
    file: the archive; size and digest are those of TFDS's list.
    folder: folder in it.
    parts: names of the files of each split.
    names: file of the classes' names.
    labels: bytes before the pixels of a record; the last is the label.
  """

  file: Published
  folder: str
  parts: dict[str, tuple[str, ...]]
  names: str
  labels: int


ARCHIVES = {
  'cifar10': Archive(
    Published(
      'https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz',
      170_052_171,
      'c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd',
    ),
    'cifar-10-batches-bin',
    {'train': tuple(f'data_batch_{i}.bin' for i in range(1, 6)), 'test': ('test_batch.bin',)},
    'batches.meta.txt',
    1,
  ),
  'cifar100': Archive(
    Published(
      'https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz',
      168_513_733,
      '58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec',
    ),
    'cifar-100-binary',
    {'train': ('train.bin',), 'test': ('test.bin',)},
    'fine_label_names.txt',
    2,  # the superclass comes first
  ),
}


def load(name: str, split: str, *, data_dir: str = '', in_memory: bool = True) -> Split | Records:
  """A split of CIFAR-10 or CIFAR-100.

  Args:
    name: 'cifar10' or 'cifar100'.
    split: split in TFDS's notation, 'train[:45000]'.
    data_dir: folder that holds TFDS sets; the archive is kept in its `downloads`.
    in_memory: False streams what TFDS prepared.

  Raises:
    InputError: no such split, an archive that cannot be fetched, or a damaged one.
  """
  folder = prepare.folder_of_sets(data_dir)
  if not in_memory or '://' in str(folder) or prepare.find(name, folder):
    return tfds_sets.tfds_set(name, split, data_dir=data_dir, in_memory=in_memory)
  return read(name, split, pathlib.Path(folder))


def read(name: str, split: str, folder: pathlib.Path) -> Split:
  """A split of the archive in a folder's `downloads`; see `load`."""
  archive, downloads = ARCHIVES[name], folder / 'downloads'
  spans = sources.spans(split, SIZES, f'dataset {name!r}')
  instead = (
    'give --config.dataset.data_dir=DIR of a folder that holds the set as TFDS prepares it, or put '
    f'the archive in {downloads}'
  )
  path = fetch(archive.file, downloads, instead)
  LOG.info('reading %s %s from %s, whose order is not that of TFDS', name, split, path)
  try:
    files = archive.names, *(file for x in spans for file in archive.parts[x.part])
    wanted = {f'{archive.folder}/{file}': file for file in files}
    with tarfile.open(path, 'r|gz') as tar:  # in one pass: to go back is to unpack all again
      found = {wanted[x.name]: tar.extractfile(x).read() for x in tar if x.name in wanted}
    names = tuple(found[archive.names].decode().split())
    parts = {x.part: b''.join(found[file] for file in archive.parts[x.part]) for x in spans}
    length = archive.labels + SIDE * SIDE * CHANNELS
    rows = {part: np.frombuffer(x, np.uint8).reshape(-1, length) for part, x in parts.items()}
    rows = sources.joined(spans, rows)
  except (OSError, EOFError, KeyError, ValueError, zlib.error, tarfile.TarError) as error:
    raise InputError(f'{path} is damaged ({error}): remove it') from error
  images = rows[:, archive.labels :].reshape(-1, CHANNELS, SIDE, SIDE).transpose(0, 2, 3, 1)
  made = sources.arrays(np.ascontiguousarray(images), rows[:, archive.labels - 1], names)
  return made._replace(spans=spans, source=archive.file.name)


DATASETS: dict[str, Callable[..., Split | Records]] = {
  name: partial(load, name) for name in ARCHIVES
}
