"""The training step of a narrow Xception, its depthwise convolutions in our form and in XLA's own.

    python -m benchmarks.depthwise [--json=FILE]

Xception as `configs/experiments/family.py` has it, batch 64, on noise of 32 pixels. Each form in a
process of its own, in turn. About five minutes on two cores.
"""

import jax
from absl import app, flags

from benchmarks import interleave, machine
from benchmarks.noise import workload
from benchmarks.step import keep_compiled
from configs.experiments import family
from googlenet_jax import schema, startup
from googlenet_jax.models import cpu_forms

ROUNDS = flags.DEFINE_integer('depthwise_rounds', 5, 'rounds of each')
JSON = flags.DEFINE_string('depthwise_json', '', 'file for the figures')
STEPS = 3  # in a round


def stock(x, kernel, padding):
  """XLA's own convolution."""
  return cpu_forms.stock_convolution(x, kernel, 1, padding, x.shape[-1])


def build(form):
  """A step, with a form of depthwise convolutions; None for ours."""
  startup.prepare()
  keep_compiled()
  if form:
    cpu_forms._depthwise = form
  config = family.get_config()
  schema.update(config, family.ARMS['Xception'])
  work = workload(config, 32, 10, examples=512)
  state = work.state

  def step():
    nonlocal state
    state = jax.block_until_ready(work.step(state, 1))

  return step


def main(_):
  """Prints the table."""
  contestants = {
    'this project': interleave.Contestant(build, (None,)),
    "XLA's own": interleave.Contestant(build, (stock,)),
  }
  results = interleave.run(contestants, rounds=ROUNDS.value, steps=STEPS)
  batch = family.get_config().train.batch_size
  interleave.report(results, batch, f'xception: {machine.describe("flax")}', JSON.value)


if __name__ == '__main__':
  app.run(main)
