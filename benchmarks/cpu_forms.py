"""Gains of forms and settings, and the price of the guard: the training step with each and without.

    python -m benchmarks.cpu_forms --case=training|cifar10 [--json=FILE] [--variants=A,B]

The cases and flags are those of `benchmarks.step`, whose figure for this project is the first
line here. One after another, a part is replaced: by XLA's max pool or its convolutions, by Flax's
batch norm, by malloc's own settings, by YNNPACK's convolutions, by no guard against steps that are
not finite. `--variants` chooses some of these, and `--xla=--NAME=X` adds one with a flag of XLA's.
Each variant runs in a process of its own, all in turn.
About twenty minutes on two cores.
"""

import os

import flax.linen as nn
from absl import app, flags

from benchmarks import interleave, machine, step
from googlenet_jax import startup, steps
from googlenet_jax.models import cpu_forms, layers

SOME = flags.DEFINE_list(
  'variants', None, 'names of the variants, after the first; all if not given'
)
XLA = flags.DEFINE_multi_string('xla', [], 'flag of XLA that makes a further variant')


def stock_max_pool(x, window, stride, padding):
  """XLA's own pool; its gradient is select-and-scatter."""
  return nn.max_pool(x, (window, window), (stride, stride), padding)


class FlaxBatchNorm(nn.BatchNorm):
  """Flax's own, called as ours is."""

  def __call__(self, x, pool=None):
    """`[..., C]` normalised, then pooled."""
    y = super().__call__(x)
    return pool(y) if pool else y


def no_guard(state, changed, *_, **__):
  """The state after a step, whatever it is."""
  return changed.replace(step=state.step + 1, nonfinite=state.nonfinite)


# What stands in for a part: file, name, replacement.
REPLACEMENTS = {
  'stock max pool': (cpu_forms, 'max_pool', stock_max_pool),
  'batch norm of flax': (layers, 'BatchNorm', FlaxBatchNorm),
  'stock convolutions': (cpu_forms, 'convolution', cpu_forms.stock_convolution),
  'memory not kept': (startup, 'keep_memory', lambda: None),
  'YNNPACK convolutions': (startup, 'xla_flags', lambda: os.environ.get('XLA_FLAGS', '')),
  'no guard': (steps, 'guard', no_guard),
}
VARIANTS = {
  'this project': (),
  **{name: (name,) for name in REPLACEMENTS},
  'all of these': tuple(REPLACEMENTS),
}


def build(case: step.Case, replaced: tuple[str, ...]):
  """The training step with some parts replaced, or with further XLA flags."""
  for name in replaced:
    if name in REPLACEMENTS:
      setattr(*REPLACEMENTS[name])
    else:
      os.environ['XLA_FLAGS'] = f'{os.environ.get("XLA_FLAGS", "")} {name}'
  return step.ours(case)


def main(_):
  """Prints the table."""
  case = step.CASES[step.CASE.value]
  first, *others = VARIANTS
  if unknown := [name for name in SOME.value or () if name not in others]:
    raise app.UsageError(f'--variants={unknown[0]}: use some of {", ".join(others)}')
  names = [first, *(others if SOME.value is None else SOME.value)]
  variants = {name: VARIANTS[name] for name in names} | {flag: (flag,) for flag in XLA.value}
  contestants = {
    name: interleave.Contestant(build, (case, replaced)) for name, replaced in variants.items()
  }
  count = step.STEPS.value or (10 if case.size == 32 else 2)
  results = interleave.run(contestants, rounds=step.ROUNDS.value, steps=count)
  about = machine.describe('flax')
  interleave.report(results, case.batch, f'{step.CASE.value}: {about}', step.JSON.value)


if __name__ == '__main__':
  app.run(main)
