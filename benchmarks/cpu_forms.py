"""The gain from each CPU-specific form: the training step with it and without.

    python -m benchmarks.cpu_forms --case=training|cifar10 [--json=FILE]

The cases and flags are those of `benchmarks.step`, whose figure for this project is the first
line here. A form is replaced by XLA's own, or XLA's flag left out, each in a process of its own,
all in turn.
About ten minutes on two cores.
"""

import flax.linen as nn
from absl import app

from benchmarks import interleave, machine, step
from googlenet_jax import startup
from googlenet_jax.models import cpu_forms


def stock_max_pool(x, window, stride, padding):
  """XLA's own pool; its gradient is select-and-scatter."""
  return nn.max_pool(x, (window, window), (stride, stride), padding)


STOCK = {'max_pool': stock_max_pool}
# Forms that are replaced; whether XLA's flag is set.
VARIANTS = {
  'this project': ((), True),
  'stock max pool': (('max_pool',), True),
  'YNNPACK convolutions': ((), False),
  'all stock': (('max_pool',), False),
}


def build(case: step.Case, forms: tuple[str, ...]):
  """The training step with some forms replaced."""
  for name in forms:
    setattr(cpu_forms, name, STOCK[name])
  return step.ours(case)


def main(_):
  """Prints the table."""
  case, contestants = step.CASES[step.CASE.value], {}
  for name, (forms, flag) in VARIANTS.items():
    environment = {'XLA_FLAGS': startup.xla_flags()} if flag else {}
    contestants[name] = interleave.Contestant(build, (case, forms), environment)
  steps = step.STEPS.value or (10 if case.size == 32 else 2)
  results = interleave.run(contestants, rounds=step.ROUNDS.value, steps=steps)
  about = machine.describe('flax')
  interleave.report(results, case.batch, f'{step.CASE.value}: {about}', step.JSON.value)


if __name__ == '__main__':
  app.run(main)
