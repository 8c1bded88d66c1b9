"""Photos read, decoded and cropped by threads or workers, and put on the devices beforehand."""

import collections
import concurrent.futures
import contextlib
import gc
import itertools
import logging
import multiprocessing
import os
import signal
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from multiprocessing import resource_tracker

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from googlenet_jax import parallel
from googlenet_jax.data.crops import Crops
from googlenet_jax.data.sources import Records
from googlenet_jax.errors import InputError

END = 2**32  # examples that a process is fed at most


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
    prefetch: batches that are decoded ahead, beside two that are put on the devices. Each worker
      holds its share of them, rounded up, twice, and two more.
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
    self._stop = lambda: None

  def __call__(self, step: int, count: int, batch_size: int) -> dict:
    """Arrays `[local devices, count, share of the batch, ...]` on this process's devices."""
    if self._next != (step, batch_size):
      self.close()
      self._batches = self._begin(step, batch_size)
    try:
      batches = [next(self._batches) for _ in range(count)]
    except Exception as error:
      why = _trouble(error)
      if not why:
        raise
      raise InputError(f'dataset.workers={self._workers}: {why}') from error
    self._next = (step + count, batch_size)
    if count == 1:
      return batches[0]
    return jax.tree.map(lambda *parts: jnp.concatenate(parts, 1), *batches)

  def close(self) -> None:
    """Stops reading ahead."""
    self._stop()
    self._batches, self._next = None, None
    if self._workers:  # Grain's cycles hold batches, and these memory that all processes share
      gc.collect()

  def _begin(self, step, batch_size):
    import grain  # half a second, Orbax with it, that a photo's prediction needs not

    share, devices = batch_size // self._processes, jax.local_device_count()
    first, example, checked = self._process * share, self._example, self._checked
    makers = max(1, self._workers)

    def position(index):  # Grain deals the examples out to the makers in turn
      batch, place = divmod(index // makers, share)
      return (step + batch * makers + index % makers) * batch_size + first + place

    def shape(x):
      return x.reshape(devices, 1, share // devices, *x.shape[1:])

    threads = max(1, self._threads // makers)
    ahead = 0 if self._workers else self._prefetch * share
    options = grain.ReadOptions(threads, max(ahead, threads))
    examples = grain.MapDataset.range(END).map(lambda index: example(position(index)))
    batches = examples.to_iter_dataset(options).batch(share)
    if self._workers:
      if not flags.FLAGS.is_parsed():  # Grain asks for one of its own
        flags.FLAGS.mark_as_parsed()
      _track()
      options = grain.MultiprocessingOptions(makers, -(-self._prefetch // makers))
      batches = batches.mp_prefetch(options, _begin_worker)
    batches = batches.map(lambda batch: jax.tree.map(shape, checked(batch)))
    placed = grain.experimental.device_put(
      batches, parallel.by_device(), cpu_buffer_size=0, device_buffer_size=1
    )
    begun = iter(placed)
    with _without_signals() if self._workers else contextlib.nullcontext():
      begun.start_prefetch()
    self._stop = weakref.finalize(self, begun.close)
    return begun


def _track() -> None:
  """Begins Python's tracker of shared memory; later, it would let signals through again.

  What is left at the end of the program it removes, and need not warn of.
  """
  quiet = 'ignore::UserWarning:multiprocessing.resource_tracker'
  sys.warnoptions.append(quiet)  # handed on to the tracker
  try:
    resource_tracker.ensure_running()
  finally:
    sys.warnoptions.remove(quiet)


def _trouble(error: Exception) -> str:
  """What is wrong with workers, for a person; '' where the error is another."""
  if 'terminated unexpectedly' in str(error):  # as Grain has it
    return (
      'one of them has ended, perhaps for want of memory (in a container that of /dev/shm, '
      'docker run --shm-size): use fewer'
    )
  if any('cannot be pickled' in note for note in getattr(error, '__notes__', ())):
    return f'the data set cannot be sent to them ({error}): use 0'
  return ''


@contextlib.contextmanager
def _without_signals():
  """What begins here is not told of SIGINT and SIGTERM, which all processes of a job are sent."""
  before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
  try:
    yield
  finally:
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin_worker(index: int, count: int) -> None:
  """Makes a worker silent, and ends it where the process that began it was killed."""
  del index, count
  logging.disable()  # the other process names what it could not read

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
