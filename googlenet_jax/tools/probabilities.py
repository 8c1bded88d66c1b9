"""Class probabilities of encoded images: means over crops, of each of several networks."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from googlenet_jax import parallel
from googlenet_jax.data import pipeline, stream
from googlenet_jax.data.augment import NONE
from googlenet_jax.data.crops import Crops
from googlenet_jax.data.sources import Records
from googlenet_jax.errors import InputError
from googlenet_jax.progress import passing
from googlenet_jax.weights import Network, Preprocessing

PART = 36  # images at once: two cores do 35 a second so, and 28 of 144 at once


class Batch(NamedTuple):
  """What networks say of some records.

  Attributes:
    rows: `[n]` indices of the records.
    shares: `[networks, n, classes]` float32, the mean over the crops of the softmax.
    valid: `[n]` bool, whether they were read.
    labels: `[n]` int32.
  """

  rows: np.ndarray
  shares: np.ndarray
  valid: np.ndarray
  labels: np.ndarray


def class_names(networks: Sequence[Network]) -> tuple[str, ...]:
  """The class names of networks; InputError where one has others."""
  names = networks[0].description.class_names
  for network in networks[1:]:
    if network.description.class_names != names:
      raise InputError(f'{network.source} has other classes than {networks[0].source}')
  return names


def probabilities(
  networks: Sequence[Network],
  records: Records,
  *,
  batch_size: int,
  crops: int = 1,
  threads: int = 0,
) -> Iterator[Batch]:
  """Softmax of the networks for every record, each with its own preprocessing.

  Args:
    networks: networks with their weights.
    records: encoded images; those that cannot be read are named in the log.
    batch_size: number of records at once, over all devices; fewer where each has many crops.
    crops: number of crops of a photo: 1, 10 or 144 (`boxes.test_boxes`).
    threads: number of threads that decode; 0 is one a core.

  Raises:
    InputError: networks of different classes.
  """
  class_names(networks)
  batch_size = batch_of(records.count, max(batch_size // crops, 1), jax.device_count())
  batches = -(-records.count // batch_size)
  with contextlib.ExitStack() as stack:
    each = [_outputs(network, records, batches, batch_size, crops, threads) for network in networks]
    for outputs in each:
      stack.enter_context(contextlib.closing(outputs))
    for i in passing(batches, 'classifying', parallel.is_main()):
      rows = np.arange(i * batch_size, min((i + 1) * batch_size, records.count))
      found = map(np.stack, zip(*map(next, each), strict=True))
      shares, valid, labels = (x[:, : len(rows)] for x in found)
      yield Batch(rows, shares, valid.all(0), labels[0])


def batch_of(count: int, most: int, devices: int) -> int:
  """Size of the batches of so many records: a power of two, at most `most`, for all devices.

  A program is compiled for each size.
  """
  return -(-min(most, 1 << (count - 1).bit_length()) // devices) * devices


def crops_of(records: Records, preprocessing: Preprocessing, crops: int = 1) -> Crops:
  """The evaluation crops of records, any of which may be unreadable."""
  size, shorter = preprocessing.size, preprocessing.resize_shorter
  return Crops(records, size, shorter, NONE, max_bad=records.count, test_crops=crops)


def _outputs(
  network: Network, records: Records, batches: int, batch_size: int, crops: int, threads: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
  """One network's shares, valid and labels of each batch."""
  preprocessing = network.description.preprocessing
  source = crops_of(records, preprocessing, crops)
  devices, share = jax.local_device_count(), batch_size // jax.process_count()
  # A method is equal to that of the same model alone: a model's fields may lack a hash.
  step = _compiled(network.model.apply, preprocessing, crops)
  variables = parallel.replicate(network.variables)
  with contextlib.closing(stream.in_order(source, batches, share, threads)) as feed:
    for batch in feed:
      by_device = jax.tree.map(lambda x: x.reshape(devices, -1, *x.shape[1:]), batch)
      yield parallel.fetch(step((), by_device, variables))


@functools.lru_cache(16)  # what a network is compiled to serves every call
def _compiled(apply: Callable, preprocessing: Preprocessing, crops: int) -> Callable:
  """The step of `_outputs`, for all devices."""
  size, channels = preprocessing.size, preprocessing.channels
  shape = (size, size, channels)

  def step(unused, host_batch, variables):
    images = pipeline.normalised(host_batch['image'], shape, preprocessing.mean, preprocessing.std)
    images = images.reshape(-1, *shape)
    parts = [images[i : i + PART] for i in range(0, len(images), PART)]
    logits = jnp.concatenate([apply(variables, part, train=False).logits for part in parts])
    shares = jax.nn.softmax(logits).reshape(len(host_batch['valid']), crops, -1).mean(1)
    gathered = lax.all_gather((shares, host_batch['valid'], host_batch['label']), parallel.AXIS)
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), gathered)

  return parallel.MappedStep(step, arguments=1)
