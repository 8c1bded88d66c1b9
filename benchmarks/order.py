"""The order of data in memory: a bijection at a batch's positions, and a permutation of the set.

    python -m benchmarks.order [--examples=45000] [--rounds=10] [--json=FILE]

The training step of `configs/experiments/base.py` (batch 64, augmentation included) on random
pixels, with the order as it is and as it was: a permutation of all examples, made anew in every
step. Each runs in a process of its own on all cores, in turn. About three minutes on two cores.
"""

import jax
import jax.numpy as jnp
from absl import app, flags

from benchmarks import interleave, machine, step
from benchmarks.noise import workload
from configs.experiments import base
from googlenet_jax import startup
from googlenet_jax.data import pipeline

EXAMPLES = flags.DEFINE_integer('examples', 45_000, 'size of the training set')


def permuted(key: jax.Array, positions: jax.Array, count: int) -> jax.Array:
  """`shuffle.shuffled` by permutations of the whole set."""
  epochs = positions // count

  def fill(epoch, index):
    order = jax.random.permutation(jax.random.fold_in(key, epoch), count)
    return jnp.where(epochs == epoch, order[positions % count], index)

  start = jnp.zeros(positions.shape, jnp.int32)
  return jax.lax.fori_loop(epochs[0], epochs[-1] + 1, fill, start)


def build(examples: int, whole: bool):
  """The training step; `whole` permutes the whole set."""
  startup.prepare()
  step.keep_compiled()
  if whole:
    pipeline.shuffled = permuted
  return workload(base.get_config(), 32, 10, examples=examples, augmented=True).steps()


def main(_):
  """Prints the table."""
  contestants = {
    name: interleave.Contestant(build, (EXAMPLES.value, whole))
    for name, whole in (('at the positions', False), ('whole permutation', True))
  }
  results = interleave.run(contestants, rounds=step.ROUNDS.value, steps=step.STEPS.value or 10)
  batch = base.get_config().train.batch_size
  about = f'{EXAMPLES.value} examples: {machine.describe("flax")}'
  interleave.report(results, batch, about, step.JSON.value)


if __name__ == '__main__':
  app.run(main)
