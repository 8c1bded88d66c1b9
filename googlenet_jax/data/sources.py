"""Image sets, decoded once into memory or one by one: scikit-learn's digits and TFDS sets."""

import concurrent.futures
import hashlib
import itertools
import logging
import os
import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from etils import epath

from googlenet_jax.data import prepare
from googlenet_jax.errors import InputError

LOG = logging.getLogger('googlenet_jax')

DIGITS = {'train': 1437, 'test': 360}  # examples


class Split(NamedTuple):
  """A split of a classification set.

  Attributes:
    images: `[N, H, W, C]` uint8.
    labels: `[N]` int32, below `len(class_names)`.
    valid: `[N]` bool; False for a record that could not be decoded, whose place has the pixels of
      the next one that could.
    class_names: in label order.
  """

  images: np.ndarray
  labels: np.ndarray
  valid: np.ndarray
  class_names: tuple[str, ...]

  def digest(self) -> str:
    """BLAKE2 of all that can be seen of the split."""
    found = hashlib.blake2b(digest_size=16)
    for array in (self.images, self.labels, self.valid):
      found.update(np.ascontiguousarray(array))
    return found.hexdigest()


class Records(NamedTuple):
  """A split whose images are decoded when they are wanted; safe to read from many threads.

  Attributes:
    count: examples.
    read: `index -> (encoded image, label)`; raises anything where it cannot.
    name: `index ->` what a person calls the record.
    class_names: in label order.
    digest: `() ->` a digest of what tells these records from others without reading them.
    channels: of the images, 1 where all are gray.
    counts: `[classes]` images of each class; None where only reading them would tell.
  """

  count: int
  read: Callable[[int], tuple[bytes, int]]
  name: Callable[[int], str]
  class_names: tuple[str, ...]
  digest: Callable[[], str] = str
  channels: int = 3
  counts: np.ndarray | None = None


class Span(NamedTuple):
  """A stretch of a set that a split takes.

  Attributes:
    part: what it is a stretch of: a split of the set as it is stored, or a folder.
    first, last: from where to where, in `unit`.
    unit: 'examples', or '%' of a folder (by the hash of the photos' names).
  """

  part: str
  first: int
  last: int
  unit: str = 'examples'


def shared(one: list[Span], other: list[Span]) -> str:
  """What two splits share, for a person: 'examples 1200 to 1437 of train'; '' for nothing."""
  parts = []
  for x, y in itertools.product(one, other):
    first, last = max(x.first, y.first), min(x.last, y.last)
    if x.part == y.part and first < last:
      stretch = f'{first}% to {last}%' if x.unit == '%' else f'examples {first} to {last}'
      parts.append(f'{stretch} of {x.part}')
  return ' and '.join(parts)


def load(name: str, split: str, data_dir: str = '') -> Split:
  """Reads a split of a set.

  Args:
    name: 'digits', or a TFDS classification set ('cifar10', 'svhn_cropped', ...).
    split: in TFDS's notation, 'train[:45000]'; digits know 'train', 'test' and numbers.
    data_dir: folder that holds TFDS sets; '' for TFDS's own default.

  Raises:
    InputError: absent, unprepared or unusable set, or an empty split.
  """
  result = _digits(split) if name == 'digits' else _tfds(name, split, data_dir)
  wrong = (result.labels < 0) | (result.labels >= len(result.class_names))
  if wrong.any():
    raise InputError(
      f'dataset {name!r}: record {wrong.argmax()} of {split!r} has label '
      f'{result.labels[wrong.argmax()]}, outside 0..{len(result.class_names) - 1}'
    )
  return result


def spans(name: str, split: str, data_dir: str = '') -> list[Span]:
  """The stretches that a split takes; see `load` for the arguments and errors."""
  if name == 'digits':
    return [_digits_span(split)]
  import tensorflow_datasets as tfds

  builder, _ = _open_tfds(name, split, data_dir)
  infos = builder.info.splits
  instructions = tfds.core.ReadInstruction.from_spec(split).to_absolute(infos)
  return [
    Span(x.splitname, x.from_ or 0, infos[x.splitname].num_examples if x.to is None else x.to)
    for x in instructions
  ]


def _digits_span(split: str) -> Span:
  match = re.fullmatch(r'(train|test)(?:\[(\d*):(\d*)\])?', split)
  if not match:
    raise InputError(f"dataset 'digits': no split {split!r}: use 'train', 'test', 'train[:1200]'")
  ends = slice(*(int(n) if n else None for n in match.groups()[1:]))
  first, last, _ = ends.indices(DIGITS[match[1]])
  if first >= last:
    raise InputError(f"dataset 'digits': split {split!r} holds no example")
  return Span(match[1], first, last)


def _digits(split: str) -> Split:
  """scikit-learn's 1,797 handwritten digits, 8x8."""
  from sklearn import datasets, model_selection  # a second of import, for this set alone

  part, first, last, _ = _digits_span(split)
  data = datasets.load_digits()
  images = np.round(data.images * (255 / 16)).astype(np.uint8)[..., None]
  labels = data.target.astype(np.int32)
  train, test = model_selection.train_test_split(
    np.arange(len(labels)), test_size=DIGITS['test'], random_state=0, stratify=labels
  )
  rows = {'train': train, 'test': test}[part][first:last]
  return Split(images[rows], labels[rows], np.ones(len(rows), bool), tuple('0123456789'))


def _tfds(name: str, split: str, data_dir: str) -> Split:
  builder, features = _open_tfds(name, split, data_dir)
  if None in features['image'].shape:
    raise InputError(
      f'dataset {name!r} has images of shape {features["image"].shape}: only those of one size '
      'can be held in memory; stream them with --config.dataset.in_memory=False'
    )
  source = builder.as_data_source(split)
  count = len(source)
  LOG.info('decoding %s %s: %d images', name, split, count)
  images = np.zeros((count, *features['image'].shape), np.uint8)
  labels, valid = np.zeros(count, np.int32), np.ones(count, bool)
  for i in range(count):
    try:
      record = source[i]
      images[i], labels[i] = record['image'], record['label']
    except Exception as error:  # decoders raise anything on broken data
      valid[i], why = False, error
      LOG.warning('%s %s: record %d left out: %s', name, split, i, error)
  if not valid.any():
    raise InputError(
      f'dataset {name!r}: none of the {count} records of {split!r} can be read: {why}'
    )
  readable = np.flatnonzero(valid)
  for i in np.flatnonzero(~valid):  # black images would count in batch statistics
    other = readable[np.searchsorted(readable, i) % len(readable)]
    images[i], labels[i] = images[other], labels[other]
  return Split(images, labels, valid, tuple(features['label'].names))


def tfds_records(name: str, split: str, data_dir: str = '') -> Records:
  """The encoded images of a TFDS classification set; see `load` for the arguments."""
  import tensorflow_datasets as tfds

  builder, features = _open_tfds(name, split, data_dir)
  source = builder.as_data_source(split, decoders={'image': tfds.decode.SkipDecoding()})
  classes = len(features['label'].names)

  def read(i):
    record = source[i]
    if not 0 <= record['label'] < classes:
      raise InputError(
        f'dataset {name!r}: record {i} of {split!r} has label {record["label"]}, outside '
        f'0..{classes - 1}'
      )
    return record['image'], record['label']

  def digest():
    parts = builder.info.splits[split].file_instructions
    paths = [epath.Path(part.filename) for part in parts]
    files = [(path.name, part.skip, part.take) for path, part in zip(paths, parts, strict=True)]
    with concurrent.futures.ThreadPoolExecutor(32) as pool:  # in a bucket each takes 50 ms
      sizes = list(pool.map(lambda path: path.stat().length, paths))
    return digest_of(str(builder.info.version), files, sizes)

  return Records(
    count=len(source),
    read=read,
    name=lambda i: f'{name} {split}, record {i}',
    class_names=tuple(features['label'].names),
    digest=digest,
    channels=1 if features['image'].shape[-1] == 1 else 3,
  )


def digest_of(*parts) -> str:
  """BLAKE2 of what `repr` tells of some values."""
  return hashlib.blake2b(os.fsencode(repr(parts)), digest_size=16).hexdigest()


def _open_tfds(name: str, split: str, data_dir: str):
  """A TFDS set's builder and features; prepares the set where it must.

  Raises:
    InputError: it cannot be prepared, is damaged, is no classification set of uint8 images, or has
      no such split.
  """
  prepared = prepare.ensure(name, data_dir)

  import tensorflow_datasets as tfds  # reads ArrayRecord without TensorFlow

  logging.getLogger('absl').addFilter(lambda record: 'OpenCV' not in record.getMessage())
  try:
    builder = tfds.builder_from_directory(prepared)
  except Exception as error:  # of a damaged set, and TFDS raises anything then
    raise InputError(
      _damaged(name, prepared, str(error).strip().splitlines()[0].rstrip('.'))
    ) from error
  features = builder.info.features
  missing = {'image', 'label'} - set(features)
  if missing or not hasattr(features['label'], 'names'):
    raise InputError(
      f'dataset {name!r} in {prepared} is no classification set: it needs the features '
      f'"image" and "label", it has {", ".join(features)}'
    )
  if features['image'].np_dtype != np.uint8:
    raise InputError(
      f'dataset {name!r} in {prepared} has images of {features["image"].np_dtype}: only uint8 is '
      'read; prepare it with images of 8 bits'
    )
  try:
    files = builder.info.splits[split].file_instructions
  except (ValueError, AssertionError, KeyError, NotImplementedError) as error:
    raise InputError(
      f'dataset {name!r} in {prepared} has no split {split!r} (it has '
      f'{", ".join(f"{k} of {v.num_examples}" for k, v in builder.info.splits.items())}): '
      f'{str(error).splitlines()[0]}'
    ) from error
  if not files:
    raise InputError(f'dataset {name!r} in {prepared}: split {split!r} holds no example')
  there = {path.name for path in prepared.iterdir()}
  lacking = [
    name for name in (epath.Path(file.filename).name for file in files) if name not in there
  ]
  if lacking:
    raise InputError(_damaged(name, prepared, f'it lacks {lacking[0]}'))
  return builder, features


def _damaged(name, prepared, why):
  return f'dataset {name!r} in {prepared} is damaged: {why}: remove it and prepare it again'
