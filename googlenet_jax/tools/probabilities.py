"""Class probabilities of encoded images: means over crops, of each of several networks."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from googlenet_jax import parallel
from googlenet_jax.data import pipeline
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
  devices = jax.device_count()
  batch_size = -(-min(max(batch_size // crops, 1), records.count) // devices) * devices
  with contextlib.ExitStack() as stack:
    every = [_Reader(network, records, batch_size, crops, threads) for network in networks]
    for reader in every:
      stack.callback(reader.close)
    for i in passing(-(-records.count // batch_size), 'classifying', parallel.is_main()):
      rows = np.arange(i * batch_size, min((i + 1) * batch_size, records.count))
      shares, valid, labels = zip(*(reader(i) for reader in every), strict=True)
      shares, valid, labels = np.stack(shares), np.all(valid, 0), labels[0]
      yield Batch(rows, shares[:, : len(rows)], valid[: len(rows)], labels[: len(rows)])


class _Reader:
  """One network on the records, batch by batch."""

  def __init__(self, network: Network, records, batch_size, crops, threads):
    preprocessing = network.description.preprocessing
    data = pipeline.streamed(
      records,
      train=False,
      image_size=preprocessing.size,
      test_crops=crops,
      max_bad=records.count,
      threads=threads,
      **{
        name: getattr(preprocessing, name) for name in ('mean', 'std', 'resize_shorter', 'channels')
      },
    )
    self._feed, self.close, self._batch_size = data.feed, data.close, batch_size
    self._step = _compiled(network.model, preprocessing, crops)
    self._variables = parallel.replicate(network.variables)
    self._carry = (
      np.zeros((batch_size, len(network.description.class_names)), np.float32),
      np.zeros(batch_size, bool),
      np.zeros(batch_size, np.int32),
    )

  def __call__(self, step: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    host_batch = self._feed(step, 1, self._batch_size)
    return parallel.fetch(self._step(self._carry, host_batch, self._variables))


@functools.lru_cache(16)  # what a network is compiled to serves every call
def _compiled(model: nn.Module, preprocessing: Preprocessing, crops: int) -> Callable:
  """The step of `_Reader`, for all devices."""
  size, channels = preprocessing.size, preprocessing.channels
  shape = (size, size, channels)

  def step(unused, host_batch, variables):
    host_batch = jax.tree.map(lambda x: x[0], host_batch)
    images = pipeline.normalised(host_batch['image'], shape, preprocessing.mean, preprocessing.std)
    images = images.reshape(-1, *shape)
    parts = [images[i : i + PART] for i in range(0, len(images), PART)]
    logits = jnp.concatenate([model.apply(variables, part, train=False).logits for part in parts])
    shares = jax.nn.softmax(logits).reshape(len(host_batch['valid']), crops, -1).mean(1)
    gathered = lax.all_gather((shares, host_batch['valid'], host_batch['label']), parallel.AXIS)
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), gathered)

  return parallel.compile_step(step, arguments=1)
