"""The crop of a photo at a place in a batch, and what stands there for one that is unreadable."""

import functools
import logging
import threading

import numpy as np

from googlenet_jax.data import augment as aug
from googlenet_jax.data import boxes, decode
from googlenet_jax.data.sources import Records
from googlenet_jax.errors import InputError

LOG = logging.getLogger('googlenet_jax')
COUNTING = threading.Lock()  # no part of `Crops`, which are sent to workers

READABLE = np.array(b'', 'S256')  # mark of a record; that of an unreadable one is 'INDEX WHY'


class Crops:
  """The crop of a record; a place without an example is not valid.

  In evaluation such a place is black. In training the place of an unreadable record holds the next
  readable one, because what a network normalises by its batch has to look like images. Its example
  tells which record was unreadable and why: the process that reads may not be the one that counts
  (`checked`).

  Args:
    records: encoded images.
    size: side of a crop, pixels.
    resize_shorter: shorter side in evaluation, before the centre crop, pixels.
    augment: augmentation of training images.
    max_bad: records that may be unreadable before `InputError` ends the run.
    test_crops: crops of a photo in evaluation: 1, or 10 or 144 (`boxes.test_boxes`).
  """

  def __init__(
    self,
    records: Records,
    size: int,
    resize_shorter: int,
    augment: aug.Augment,
    max_bad: int,
    test_crops: int = 1,
  ):
    self._records, self._size = records, size
    self._centre = functools.partial(boxes.centre_box, resize_shorter=resize_shorter, size=size)
    self._views = functools.partial(
      boxes.test_boxes, crops=test_crops, size=size, resize_shorter=resize_shorter
    )
    seen = len(self._views(size, size))
    self._nothing = np.zeros((size, size, 3) if seen == 1 else (seen, size, size, 3), np.uint8)
    self._augment, self._max_bad = augment, max_bad
    self._bad = {}  # marks of unreadable records

  def unreadable(self) -> list[int]:
    """Records that could not be read so far, ascending."""
    return sorted(self._bad)

  def checked(self, batch: dict) -> dict:
    """A batch without marks; records that another process could not read are named and counted.

    Raises:
      InputError: there are too many.
    """
    for mark in filter(None, dict.fromkeys(batch['unreadable'].tolist())):
      index, _, why = mark.decode(errors='replace').partition(' ')
      if int(index) not in self._bad:
        self._count(int(index), why)
    return {name: x for name, x in batch.items() if name != 'unreadable'}

  def evaluation(self, index: int) -> dict:
    """The evaluation crop of a record, or all its test crops; none beyond the last one."""
    if index >= self._records.count:
      return self._example()
    if self._nothing.ndim == 3:
      return self._read(index, self._centre, decode.crop)
    return self._read(index, self._views, decode.views)

  def random(self, index: int, rng: np.random.Generator) -> dict:
    """A training crop of a record, whose randomness is `rng`'s alone."""
    augment = self._augment
    interpolation = augment.interpolation[rng.integers(len(augment.interpolation))]
    choose = self._centre
    if augment.area:
      area, aspect = augment.area, augment.aspect
      choose = functools.partial(boxes.random_box, rng=rng, area=area, aspect=aspect)
    crop = functools.partial(decode.crop_quickly, interpolation=interpolation)
    drawn = rng.bit_generator.state
    found = self._read(index, choose, crop)
    mark = found['unreadable']
    for other in range(index + 1, index + self._records.count):
      if found['image'] is not self._nothing:
        break
      rng.bit_generator.state = drawn  # whether a box was drawn before the record turned out bad
      found = self._read(other % self._records.count, choose, crop)
      found |= {'valid': np.bool_(False), 'unreadable': mark}
    return found

  def _read(self, index, choose, crop) -> dict:
    if index not in self._bad:
      try:
        data, label = self._labelled(index)
        return self._example(crop(data, choose, self._size), label)
      except InputError:
        raise
      except Exception as error:  # decoders raise anything on broken data, and all mean the same
        self._count(index, str(error))
    return self._example(mark=self._bad[index])

  def _labelled(self, index):
    data, label = self._records.read(index)
    label, classes = int(label), len(self._records.class_names)
    if not 0 <= label < classes:
      raise InputError(f'{self._records.name(index)} has label {label}, outside 0..{classes - 1}')
    return data, label

  def _example(self, image=None, label=0, mark=READABLE) -> dict:
    valid = np.bool_(image is not None)
    image = image if valid else self._nothing
    return {'image': image, 'label': np.int32(label), 'valid': valid, 'unreadable': mark}

  def _count(self, index: int, why: str) -> None:
    with COUNTING:
      if index in self._bad:
        return  # another thread was first
      count, name = len(self._bad) + 1, self._records.name(index)
      if count <= self._max_bad + 1:  # threads read on until the error is seen, and name no more
        LOG.warning('%s cannot be read and is left out (%d so far): %s', name, count, why)
      # After its line: the program may end as soon as every record is known to be bad.
      self._bad[index] = np.array(f'{index} {why}'.encode(), READABLE.dtype)
    if count > self._max_bad:
      raise too_many_bad(count, self._records.count, self._max_bad, f'{name} ({why})')


def too_many_bad(bad: int, count: int, allowed: int, last: str) -> InputError:
  """The error of a split with more unreadable records than it may have."""
  return InputError(
    f'{bad} of {count} records cannot be read, like {last}: replace them, or raise '
    f'--config.dataset.max_bad_share, which allows {allowed}'
  )


def named_unreadable(records: Records, index: int) -> str:
  """A record's name and why it cannot be read, for a person."""
  try:
    decode.crop(records.read(index)[0], lambda width, height: (0, 0, width, height), 1)
    why = 'now it can'
  except Exception as error:  # as in `Crops`
    why = error
  return f'{records.name(index)} ({why})'
