"""Photos read, decoded and cropped by threads, and put on the devices before they are asked for."""

import collections
import concurrent.futures
import contextlib
import gc
import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from multiprocessing import resource_tracker

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from googlenet_jax import parallel
from googlenet_jax.data.crops import Crops
from googlenet_jax.data.sources import Records

END = 2**32  # positions are counted up to here


class Stream:
  """A pipeline's `feed`: batches by step, read ahead from the step that was asked for last.

  An example is a function of its position, so neither threads nor processes, nor where it
  begins, change what a step sees.

  Args:
    example: `position -> {name: array}`; called by many threads at once, and in workers.
    checked: `batch -> batch`, called in this process with each one.
    threads: threads that decode; 0 for one per core.
    workers: processes that the threads are spread over, because those of one process wait for each
      other; each makes whole batches. 0 for none but this one.
    prefetch: batches that are decoded ahead, one or more by each worker, beside two that are put
      on the devices.
    process: index of this process, and how many there are; None asks jax.
  """

  def __init__(
    self,
    example: Callable[[int], dict],
    checked: Callable[[dict], dict] = dict,
    threads: int = 0,
    workers: int = 0,
    prefetch: int = 2,
    process: tuple[int, int] | None = None,
  ):
    self._example, self._checked = example, checked
    self._process, self._processes = process or (jax.process_index(), jax.process_count())
    self._threads, self._workers = threads or cores(), workers
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
    if self._workers:  # Grain's cycles hold batches, and these memory that all processes share
      gc.collect()

  def _begin(self, step, batch_size):
    import grain  # half a second, Orbax with it, that a photo's prediction needs not

    share, devices = batch_size // self._processes, jax.local_device_count()
    first, example = self._process * share, self._example

    def position(index):  # position of this process's `index`-th example
      return index // share * batch_size + first + index % share

    def shape(x):
      return x.reshape(devices, 1, share // devices, *x.shape[1:])

    examples = grain.MapDataset.range(step * share, END // self._processes)
    examples = examples.map(lambda index: example(position(index)))
    if self._workers:
      if not flags.FLAGS.is_parsed():  # Grain asks for one of its own
        flags.FLAGS.mark_as_parsed()
      resource_tracker.ensure_running()  # it lets signals through again where it begins
      threads, ahead = max(1, self._threads // self._workers), -(-self._prefetch // self._workers)
      batches = examples.batch(share).to_iter_dataset(grain.ReadOptions(threads, threads))
      options = grain.MultiprocessingOptions(self._workers, ahead)
      batches = batches.mp_prefetch(options, _end_with_parent)
    else:
      options = grain.ReadOptions(self._threads, max(self._prefetch * share, self._threads))
      batches = examples.to_iter_dataset(options).batch(share)
    batches = batches.map(lambda batch: jax.tree.map(shape, self._checked(batch)))
    placed = grain.experimental.device_put(
      batches, parallel.by_device(), cpu_buffer_size=0, device_buffer_size=1
    )
    with _without_signals():
      begun = iter(placed)
      begun.start_prefetch()
    return begun


@contextlib.contextmanager
def _without_signals():
  """What begins here is not told of SIGINT and SIGTERM, which all processes of a job are sent."""
  before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
  try:
    yield
  finally:
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with_parent(index: int, count: int) -> None:
  """In a worker: ends it where the process that began it was killed, and waits for it no more."""
  del index, count

  def watch():
    multiprocessing.parent_process().join()
    os._exit(1)

  threading.Thread(target=watch, daemon=True).start()


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


def in_order(crops: Crops, batches: int, share: int, threads: int = 0) -> Iterator[dict]:
  """This process's share of each batch of evaluation crops in turn, the next two read ahead.

  Args:
    crops: what is read; its `checked` has seen each batch `[share, ...]`.
    batches: number of batches.
    share: number of examples of a batch that this process takes.
    threads: see `Stream`.
  """
  pool = concurrent.futures.ThreadPoolExecutor(threads or cores())
  begin = lambda index: [pool.submit(crops.evaluation, index + i) for i in range(share)]  # noqa: E731
  process, processes = jax.process_index(), jax.process_count()
  starts = ((batch * processes + process) * share for batch in range(batches))
  try:
    ahead = collections.deque(map(begin, itertools.islice(starts, 3)))
    while ahead:
      examples = [future.result() for future in ahead.popleft()]
      yield crops.checked(jax.tree.map(lambda *parts: np.stack(parts), *examples))
      ahead.extend(map(begin, itertools.islice(starts, 1)))
  finally:
    pool.shutdown(cancel_futures=True)


def cores() -> int:
  """CPU cores that this process may use."""
  return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
