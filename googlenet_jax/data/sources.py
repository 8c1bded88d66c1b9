"""What a dataset gives: arrays in memory, or records that are decoded one by one."""

import hashlib
import itertools
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from googlenet_jax.errors import InputError


class Split(NamedTuple):
  """A split of a classification set.

  Attributes:
    images: `[N, H, W, C]` uint8.
    labels: `[N]` int32, below `len(class_names)`.
    valid: `[N]` bool; False for a record that could not be decoded, whose place has the pixels of
      the next one that could.
    class_names: names in label order.
    spans: stretches of a larger set that these are; none where that is not known.
    source: file that the split is from, where the same set has several.
  """

  images: np.ndarray
  labels: np.ndarray
  valid: np.ndarray
  class_names: tuple[str, ...]
  spans: tuple['Span', ...] = ()
  source: str = ''

  def digest(self) -> str:
    """BLAKE2 of all that can be seen of the split, after its source."""
    found = hashlib.blake2b(digest_size=16)
    for array in (self.images, self.labels, self.valid):
      found.update(np.ascontiguousarray(array))
    return f'{self.source}:{found.hexdigest()}'.removeprefix(':')


class Records(NamedTuple):
  """A split whose images are decoded when they are wanted; safe to read from many threads.

  For `dataset.workers` it has to be sent to other processes: cloudpickle must take `read`.

  Attributes:
    count: number of examples.
    read: `index -> (encoded image, label)`; raises anything where it cannot.
    name: `index ->` what a person calls the record.
    class_names: names in label order.
    digest: `() ->` a digest of what tells these records from others without reading them.
    channels: number of channels, 1 where all are gray.
    counts: `[classes]` images of each class; None where only reading them would tell.
    spans: stretches of a larger set that these are; none where that is not known.
  """

  count: int
  read: Callable[[int], tuple[bytes, int]]
  name: Callable[[int], str]
  class_names: tuple[str, ...]
  digest: Callable[[], str] = str
  channels: int = 3
  counts: np.ndarray | None = None
  spans: tuple['Span', ...] = ()


class Span(NamedTuple):
  """A stretch of a set that a split takes.

  Attributes:
    part: what it is a stretch of: a split of the set as it is stored, or a folder.
    first, last: bounds of the stretch, in `unit`.
    unit: 'examples', or '%' of a folder (by the hash of the photos' names).
  """

  part: str
  first: int
  last: int
  unit: str = 'examples'


def spans(split: str, sizes: Mapping[str, int], what: str) -> tuple[Span, ...]:
  """The stretches that a split takes, in TFDS's notation: 'train', 'train[:1200]+test[-10%:]'.

  Args:
    split: the split.
    sizes: examples of each part.
    what: beginning of the errors.

  Raises:
    InputError: no such part, or a stretch that holds nothing.
  """
  return tuple(_span(text.strip(), sizes, what) for text in split.split('+'))


def _span(split, sizes, what):
  match = re.fullmatch(r'(\w+)(?:\[(-?\d+%?)?:(-?\d+%?)?\])?', split)
  if not match or match[1] not in sizes:
    parts, example = ', '.join(map(repr, sizes)), f'{next(iter(sizes))}[:90%]'
    raise InputError(f'{what}: no split {split!r}: use {parts}, or a part, {example!r}')
  size = sizes[match[1]]

  def place(text):
    share = text and text.endswith('%')
    return round(int(text[:-1]) * size / 100) if share else text and int(text)

  first, last, _ = slice(place(match[2]), place(match[3])).indices(size)
  if first >= last:
    raise InputError(f'{what}: split {split!r} holds no example')
  return Span(match[1], first, last)


def joined(spans: Sequence[Span], parts: Mapping[str, np.ndarray]) -> np.ndarray:
  """The stretches of arrays, by their parts, one after the other."""
  return np.concatenate([parts[span.part][span.first : span.last] for span in spans])


def shared(one: Sequence[Span], other: Sequence[Span]) -> str:
  """What two splits share, for a person: 'examples 1200 to 1437 of train'; '' for nothing."""
  parts = []
  for x, y in itertools.product(one, other):
    first, last = max(x.first, y.first), min(x.last, y.last)
    if x.part == y.part and first < last:
      stretch = f'{first}% to {last}%' if x.unit == '%' else f'examples {first} to {last}'
      parts.append(f'{stretch} of {x.part}')
  return ' and '.join(parts)


def arrays(
  images: np.ndarray, labels: np.ndarray, class_names: Sequence[str] = (), *, what: str = 'arrays'
) -> Split:
  """A split of arrays.

  Args:
    images: `[N, H, W, C]` or `[N, H, W]` uint8.
    labels: `[N]` whole numbers from 0 on.
    class_names: names in label order; numbers by default.
    what: name of the arrays, for errors.

  Raises:
    InputError: they are no such arrays.
  """
  images, labels = np.asarray(images), np.asarray(labels)
  images = images[..., None] if images.ndim == 3 else images
  names = tuple(class_names) or tuple(map(str, range(int(labels.max(initial=1)) + 1)))
  return checked(Split(images, labels, np.ones(len(images), bool), names), what)


def checked(split: Split, what: str) -> Split:
  """The split with labels of int32; InputError where it is not what `Split` says."""
  images, labels, classes = split.images, split.labels, len(split.class_names)
  if images.ndim != 4 or images.dtype != np.uint8 or not images.size:
    is_now = f'{images.dtype}{list(images.shape)}'
    raise InputError(f'{what}: images are {is_now}: give uint8[N, H, W, C]')
  if labels.shape != images.shape[:1] or labels.dtype.kind not in 'iu':
    is_now = f'{labels.dtype}{list(labels.shape)}'
    raise InputError(f'{what}: labels are {is_now}: give int[{len(images)}]')
  wrong = (labels < 0) | (labels >= classes)
  if wrong.any():
    raise InputError(
      f'{what}: record {wrong.argmax()} has label {labels[wrong.argmax()]}, outside '
      f'0..{classes - 1}'
    )
  return split._replace(labels=labels.astype(np.int32))


def digest_of(*parts) -> str:
  """BLAKE2 of what `repr` tells of some values."""
  return hashlib.blake2b(os.fsencode(repr(parts)), digest_size=16).hexdigest()
