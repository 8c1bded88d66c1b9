"""The crop of a photo at a place in a batch, and what stands there for one that is unreadable."""

import functools
import logging

import numpy as np

from googlenet_jax.data import augment as aug
from googlenet_jax.data import boxes, decode
from googlenet_jax.data.sources import Records
from googlenet_jax.errors import InputError

LOG = logging.getLogger('googlenet_jax')

NONE = -1  # in place of the index of an unreadable record


class Crops:
  """The crop of a record; a place without an example is not valid.

  In evaluation such a place is black. In training the place of an unreadable record holds the next
  readable one, because what a network normalises by its batch has to look like images. An example
  tells the index of the record that was unreadable: it may be read in another process than that
  which counts (`checked`).

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
    self._bad = set()

  def unreadable(self) -> list[int]:
    """Records of checked batches that could not be read, ascending."""
    return sorted(self._bad)

  def checked(self, batch: dict) -> dict:
    """A batch of examples without the records that could not be read, which are named and counted.

    Raises:
      InputError: there are too many.
    """
    for index in np.unique(batch['unreadable']).tolist():
      if index != NONE and index not in self._bad:
        self._count(index)
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
    for other in range(index + 1, index + self._records.count):
      if found['image'] is not self._nothing:
        break
      rng.bit_generator.state = drawn  # whether a box was drawn before the record turned out bad
      found = self._read(other % self._records.count, choose, crop)
      found |= {'valid': np.bool_(False), 'unreadable': np.int32(index)}
    return found

  def _read(self, index, choose, crop) -> dict:
    if index not in self._bad:
      try:
        data, label = self._records.read(index)
        return self._example(crop(data, choose, self._size), label)
      except InputError:
        raise
      except Exception as error:  # decoders raise anything on broken data, and all mean the same
        LOG.debug('record %d: %s', index, error)
    return self._example(unreadable=index)

  def _example(self, image=None, label=0, unreadable=NONE) -> dict:
    valid = np.bool_(image is not None)
    image = image if valid else self._nothing
    marks = {'valid': valid, 'unreadable': np.int32(unreadable)}
    return {'image': image, 'label': np.int32(label)} | marks

  def _count(self, index: int) -> None:
    self._bad.add(index)
    name, why = self._records.name(index), why_unreadable(self._records, index)
    LOG.warning('%s cannot be read and is left out (%d so far): %s', name, len(self._bad), why)
    if len(self._bad) > self._max_bad:
      last = f'{name} ({why})'
      raise too_many_bad(len(self._bad), self._records.count, self._max_bad, last)


def too_many_bad(bad: int, count: int, allowed: int, last: str) -> InputError:
  """The error of a split with more unreadable records than it may have."""
  return InputError(
    f'{bad} of {count} records cannot be read, like {last}: replace them, or raise '
    f'--config.dataset.max_bad_share, which allows {allowed}'
  )


def why_unreadable(records: Records, index: int) -> str:
  """Why a record cannot be read, for a person."""
  try:
    decode.crop(records.read(index)[0], lambda width, height: (0, 0, width, height), 1)
  except Exception as error:  # as in `Crops`
    return str(error)
  return 'now it can'


def named_unreadable(records: Records, index: int) -> str:
  """A record's name and why it cannot be read, for a person."""
  return f'{records.name(index)} ({why_unreadable(records, index)})'
