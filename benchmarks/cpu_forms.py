"""What each thing gains that is done for CPUs: the training step with it and without.

    python -m benchmarks.cpu_forms --case=cifar10|training [--json=FILE]

The cases are those of `benchmarks.step`, whose figure for this project is the first line here. A
form is replaced by XLA's own, or XLA's flag left out, each in a process of its own, all in turn.
About ten minutes on two cores.
"""

from functools import partial

import flax.linen as nn
from absl import app, flags
from jax import lax

from benchmarks import contest, machine, step
from googlenet_jax import startup
from googlenet_jax.models import cpu_forms

CASE = flags.DEFINE_enum('case', 'cifar10', ['cifar10', 'training'], 'of benchmarks.step')
ROUNDS = flags.DEFINE_integer('rounds', 10, 'of each')
STEPS = flags.DEFINE_integer('steps', 0, 'of a round; 0 for 2, of cifar10 10')
JSON = flags.DEFINE_string('json', '', 'file for the figures')


def stock_max_pool(x, window, stride, padding):
  """XLA's own pool; its gradient is select-and-scatter."""
  return nn.max_pool(x, (window, window), (stride, stride), padding)


STOCK = {
  'max_pool': stock_max_pool,
  'conv_1x1': partial(
    lax.conv_general_dilated,
    window_strides=(1, 1),
    padding='VALID',
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
  ),
}
# Forms that are replaced; whether XLA's flag is set.
VARIANTS = {
  'this project': ((), True),
  'stock max pool': (('max_pool',), True),
  'stock 1x1': (('conv_1x1',), True),
  'YNNPACK convolutions': ((), False),
  'all stock': (('max_pool', 'conv_1x1'), False),
}


def build(case: step.Case, forms: tuple[str, ...]):
  """The training step with some forms replaced."""
  for name in forms:
    setattr(cpu_forms, name, STOCK[name])
  return step.ours(case)


def main(_):
  """Prints the table."""
  case, contestants = step.CASES[CASE.value], {}
  for name, (forms, flag) in VARIANTS.items():
    environment = {'XLA_FLAGS': startup.xla_flags()} if flag else {}
    contestants[name] = contest.Contestant(build, (case, forms), environment)
  steps = STEPS.value or (10 if case.size == 32 else 2)
  results = contest.run(contestants, rounds=ROUNDS.value, steps=steps)
  about = machine.describe('flax')
  contest.report(results, case.batch, f'{CASE.value}: {about}', JSON.value)


if __name__ == '__main__':
  app.run(main)
