"""Photos read, decoded and cropped by threads, and put on the devices before they are asked for."""

import collections
import concurrent.futures
import functools
import itertools
import logging
import os
import threading
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from googlenet_jax import parallel
from googlenet_jax.data import augment as aug
from googlenet_jax.data import boxes, decode
from googlenet_jax.data.sources import Records
from googlenet_jax.errors import InputError

LOG = logging.getLogger('googlenet_jax')

END = 2**32  # positions are counted up to here


class Crops:
  """The crop of a record; a place without an example is not valid.

  In evaluation such a place is black. In training the place of an unreadable record holds the next
  readable one, because what a network normalises by its batch has to look like images.

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
    self._bad, self._lock = set(), threading.Lock()

  def unreadable(self) -> list[int]:
    """Records that this process could not read so far, ascending."""
    with self._lock:
      return sorted(self._bad)

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
      found = self._read(other % self._records.count, choose, crop) | {'valid': np.bool_(False)}
    return found

  def _read(self, index, choose, crop) -> dict:
    if index not in self._bad:
      try:
        data, label = self._records.read(index)
        return self._example(crop(data, choose, self._size), label)
      except InputError:
        raise
      except Exception as error:  # decoders raise anything on broken data, and all mean the same
        self._count(index, error)
    return self._example()

  def _example(self, image=None, label=0) -> dict:
    valid = np.bool_(image is not None)
    image = image if valid else self._nothing
    return {'image': image, 'label': np.int32(label), 'valid': valid}

  def _count(self, index: int, error: Exception) -> None:
    with self._lock:
      if index in self._bad:
        return
      self._bad.add(index)
      count = len(self._bad)
    name = self._records.name(index)
    LOG.warning('%s cannot be read and is left out (%d so far): %s', name, count, error)
    if count > self._max_bad:
      raise too_many_bad(count, self._records.count, self._max_bad, f'{name} ({error})')


def too_many_bad(bad: int, count: int, allowed: int, last: str) -> InputError:
  """The error of a split with more unreadable records than it may have."""
  return InputError(
    f'{bad} of {count} records cannot be read, like {last}: replace them, or raise '
    f'--config.dataset.max_bad_share, which allows {allowed}'
  )


def why_unreadable(records: Records, index: int) -> str:
  """A record's name and why it cannot be read, for a person."""
  try:
    decode.crop(records.read(index)[0], lambda width, height: (0, 0, width, height), 1)
  except Exception as error:  # as in `Crops`
    return f'{records.name(index)} ({error})'
  return f'{records.name(index)} (now it can)'


class Stream:
  """A pipeline's `feed`: batches by step, read ahead from the step that was asked for last.

  An example is a function of its position, so neither threads nor processes, nor where it
  begins, change what a step sees.

  Args:
    example: `position -> {name: array}`; called by many threads at once.
    threads: threads that decode; 0 for one per core.
    prefetch: batches that are decoded ahead, beside two that are put on the devices.
    process: index of this process, and how many there are; None asks jax.
  """

  def __init__(
    self,
    example: Callable[[int], dict],
    threads: int = 0,
    prefetch: int = 2,
    process: tuple[int, int] | None = None,
  ):
    self._example = example
    self._process, self._processes = process or (jax.process_index(), jax.process_count())
    self._threads = threads or cores()
    self._prefetch = prefetch
    self._batches, self._next = None, None

  def __call__(self, step: int, count: int, batch_size: int) -> dict:
    """Arrays `[local devices, count, share of the batch, ...]` on this process's devices."""
    if self._next != (step, batch_size):
      self.close()
      self._batches = self._begin(step, batch_size)
    batches = [next(self._batches) for _ in range(count)]
    self._next = (step + count, batch_size)
    if count == 1:
      return batches[0]
    return jax.tree.map(lambda *parts: jnp.concatenate(parts, 1), *batches)

  def close(self) -> None:
    """Stops reading ahead."""
    if self._batches is not None:
      self._batches.close()
    self._batches, self._next = None, None

  def _begin(self, step, batch_size):
    import grain  # half a second, Orbax with it, that a photo's prediction needs not

    share, devices = batch_size // self._processes, jax.local_device_count()
    first = self._process * share

    def position(index):  # position of this process's `index`-th example
      return index // share * batch_size + first + index % share

    def shape(x):
      return x.reshape(devices, 1, share // devices, *x.shape[1:])

    options = grain.ReadOptions(self._threads, max(self._prefetch * share, self._threads))
    batches = (
      grain.MapDataset.range(step * share, END // self._processes)
      .map(lambda index: self._example(position(index)))
      .to_iter_dataset(options)
      .batch(share)
      .map(lambda batch: jax.tree.map(shape, batch))
    )
    placed = grain.experimental.device_put(
      batches, parallel.by_device(), cpu_buffer_size=0, device_buffer_size=1
    )
    return iter(placed)


def training(
  crops: Crops, records: Records, seed: int, alternate: bool = False
) -> Callable[[int], dict]:
  """The example at each position: every record once an epoch, in an order of its own.

  Args:
    alternate: mirror each record in every second epoch (`augment.Augment`).
  """
  import grain

  indices = grain.MapDataset.range(records.count).seed(seed).shuffle().repeat()
  examples = indices.random_map(crops.random)

  def mirrored(position):
    first = np.random.default_rng((seed, indices[position])).integers(2)
    example = examples[position]
    if (first + position // records.count) % 2:
      example['image'] = example['image'][:, ::-1]
    return example

  return mirrored if alternate else examples.__getitem__


def in_order(
  example: Callable[[int], dict], batches: int, share: int, threads: int = 0
) -> Iterator[dict]:
  """This process's share of each batch in turn, `[share, ...]`, the next two read ahead.

  Args:
    example: `position -> {name: array}`; called by many threads at once.
    batches: number of batches.
    share: number of examples of a batch that this process takes.
    threads: see `Stream`.
  """
  pool = concurrent.futures.ThreadPoolExecutor(threads or cores())
  begin = lambda index: [pool.submit(example, index + i) for i in range(share)]  # noqa: E731
  process, processes = jax.process_index(), jax.process_count()
  starts = ((batch * processes + process) * share for batch in range(batches))
  try:
    ahead = collections.deque(map(begin, itertools.islice(starts, 3)))
    while ahead:
      examples = [future.result() for future in ahead.popleft()]
      yield jax.tree.map(lambda *parts: np.stack(parts), *examples)
      ahead.extend(map(begin, itertools.islice(starts, 1)))
  finally:
    pool.shutdown(cancel_futures=True)


def cores() -> int:
  """CPU cores that this process may use."""
  return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
