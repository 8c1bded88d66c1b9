"""The training step of a narrow Xception, its depthwise convolutions in our form and in XLA's own.

    python -m benchmarks.depthwise [--rounds=N] [--json=FILE]

Xception as `configs/experiments/family.py` has it, batch 64, on noise of 32 pixels. Each form in a
process of its own, in turn; the flags are those of `benchmarks.step`. About two minutes on two
cores.
"""

from absl import app

from benchmarks import interleave, machine, step
from benchmarks.noise import workload
from configs.experiments import family
from googlenet_jax import schema, startup
from googlenet_jax.models import cpu_forms


def stock(x, kernel, padding):
  """XLA's own convolution."""
  return cpu_forms.stock_convolution(x, kernel, 1, padding, x.shape[-1])


def build(form):
  """A step, with a form of depthwise convolutions; None for ours."""
  startup.prepare()
  step.keep_compiled()
  if form:
    cpu_forms._depthwise = form
  config = family.get_config()
  schema.update(config, family.ARMS['Xception'])
  return workload(config, 32, 10, examples=512).steps()


def main(_):
  """Prints the table."""
  contestants = {
    'this project': interleave.Contestant(build, (None,)),
    "XLA's own": interleave.Contestant(build, (stock,)),
  }
  results = interleave.run(contestants, rounds=step.ROUNDS.value, steps=step.STEPS.value or 3)
  batch = family.get_config().train.batch_size
  about = f'xception: {machine.describe("flax")}'
  interleave.report(results, batch, about, step.JSON.value)


if __name__ == '__main__':
  app.run(main)
