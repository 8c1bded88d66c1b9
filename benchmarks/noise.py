"""A training run on noise that lies on the device: what benchmarks time the steps of."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from googlenet_jax import experiment, parallel
from googlenet_jax.data import augmentations, pipeline, sources


class Workload(NamedTuple):
  """A training run whose steps are timed.

  Attributes:
    run: its parts.
    step: `(state, count) -> state`.
    state: its initial state.
    batch: images a step.
  """

  run: experiment.Run
  step: Callable
  state: Any
  batch: int

  def steps(self) -> Callable[[], None]:
    """A function that does the next step and waits for it; the first one uses up `state`."""
    state = self.state

    def step():
      nonlocal state
      state = jax.block_until_ready(self.step(state, 1))

    return step


def workload(
  config, size: int, classes: int, *, examples: int = 0, augmented: bool = False
) -> Workload:
  """A run of a config on square noise.

  Args:
    size: side of an image, pixels.
    classes: number of classes.
    examples: size of the set; 0 for two batches.
    augmented: whether the config's augmentation acts.
  """
  rng, batch = np.random.default_rng(0), config.train.batch_size
  shape = examples or 2 * batch, size, size, 3
  pixels = rng.integers(0, 256, shape, dtype=np.uint8)
  names = tuple(map(str, range(classes)))
  split = sources.arrays(pixels, rng.integers(0, classes, len(pixels)), names)
  fields = {'mean': config.dataset.mean, 'std': config.dataset.std}
  if augmented:
    fields['augment'] = augmentations.create(**config.augment.to_dict())
  data = pipeline.in_memory(split, train=True, **fields)
  run, device_data = experiment.Run(config, data), parallel.replicate(data.device_data)

  def step(state, count):
    return run.step(state, (), device_data, run.key, np.int32(count))

  return Workload(run, step, run.initial_state(), batch)
