"""What the CPU forms gain: the training step with them and with XLA's own forms.

    python -m benchmarks.cpu_forms

Builds the step of `configs/cifar10.py` (on random images) four times, with each form
replaced in turn, runs the variants in turn in one process, and prints the median and the
range of the seconds a step. Takes about three minutes on two cores.
"""

import os
import statistics
import time
import types
from unittest import mock

import flax.linen as nn
import jax
import numpy as np
from absl import app, flags
from jax import lax

from configs import cifar10
from googlenet_jax import experiment, parallel
from googlenet_jax.data import pipeline, sources
from googlenet_jax.models import cpu_forms, layers

ROUNDS = flags.DEFINE_integer('rounds', 15, 'timed steps of each variant')


def stock_max_pool(x, window, stride, padding):
  """XLA's own gradient, select-and-scatter."""
  return nn.max_pool(x, (window, window), (stride, stride), padding)


def stock_1x1(x, kernel, dimension_numbers):
  """The 1x1 convolution as a convolution."""
  del dimension_numbers
  numbers = ('NHWC', 'HWIO', 'NHWC')
  kernel = kernel[None, None]
  return lax.conv_general_dilated(x, kernel, (1, 1), 'VALID', dimension_numbers=numbers)


STOCK_LAX = types.SimpleNamespace(**vars(lax) | {'dot_general': stock_1x1})
VARIANTS = {
  'as the project has it': (),
  'stock max-pool gradient': ((cpu_forms, 'max_pool', stock_max_pool),),
  'stock 1x1 convolutions': ((layers, 'lax', STOCK_LAX),),
  'both stock': ((cpu_forms, 'max_pool', stock_max_pool), (layers, 'lax', STOCK_LAX)),
}


class Variant:
  """A compiled step and its state."""

  def __init__(self, patches):
    config = cifar10.get_config()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (1024, 32, 32, 3), dtype=np.uint8)
    labels = rng.integers(0, 10, 1024).astype(np.int32)
    split = sources.Split(images, labels, np.ones(1024, bool), tuple('0123456789'))
    fields = {'mean': config.dataset.mean, 'std': config.dataset.std}
    data = pipeline.in_memory(split, train=True, **fields)
    self.run = experiment.Run(config, data)
    self.state = self.run.initial_state()
    self.resident = parallel.replicate(data.resident)
    self.images, self.seconds = config.train.batch_size, []
    for target, name, form in patches:
      mock.patch.object(target, name, form).start()
    self.step()  # traced and compiled under the patches
    mock.patch.stopall()
    self.seconds.clear()

  def step(self):
    """One timed step."""
    began = time.perf_counter()
    self.state = self.run.step(self.state, (), self.resident, self.run.key, np.int32(1))
    jax.block_until_ready(self.state)
    self.seconds.append(time.perf_counter() - began)


def main(_):
  """Prints the table."""
  variants = {name: Variant(patches) for name, patches in VARIANTS.items()}
  for _ in range(ROUNDS.value):
    for variant in variants.values():
      variant.step()
  first = next(iter(variants.values()))
  print(f'jax {jax.__version__}, {os.cpu_count()} cores, {ROUNDS.value} steps of {first.images}')
  for name, variant in variants.items():
    median = statistics.median(variant.seconds)
    ratio = statistics.median(a / b for a, b in zip(variant.seconds, first.seconds, strict=True))
    print(
      f'{name:<24} {median:6.3f} s a step ({min(variant.seconds):.3f} to '
      f'{max(variant.seconds):.3f}), {variant.images / median:4.0f} images/s, '
      f'{ratio:.2f} times the first'
    )


if __name__ == '__main__':
  app.run(main)
