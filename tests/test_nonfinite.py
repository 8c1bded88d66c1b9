"""The guard step by step against a count by hand, and what ends a run that skips."""

import jax
import numpy as np
import pytest
from etils import epath

from googlenet_jax import nonfinite, parallel, train_state
from googlenet_jax.checkpoint import Checkpoints
from googlenet_jax.errors import InputError
from googlenet_jax.run.recovery import Recovery

HEADS = ('main', 'aux1')


def initial():
  """A state of one parameter, before its first step."""
  return train_state.TrainState(
    step=np.int32(0),
    params={'scale': np.float32(0)},
    batch_stats={},
    opt_state=(),
    average={},
    log_sums={},
    nonfinite=nonfinite.zeros(HEADS),
    skipped_batches=np.int32(0),
  )


def walk(on_nonfinite, *steps):
  """The states after steps that add 1 to the parameter: '.' or what is not finite in them."""

  @jax.jit
  def step(state, losses, gradient):
    params = {'scale': state.params['scale'] + 1}
    sums = {f'{head}_loss': loss for head, loss in zip(HEADS, losses, strict=True)}
    changed, grads = state.replace(params=params), {'scale': gradient}
    return nonfinite.guard(state, changed, sums, grads, params, on_nonfinite=on_nonfinite)

  bad = {'.': (), 'main': (0,), 'both': (0, 1), 'gradient': (2,)}
  states = [initial()]
  for what in steps:
    values = np.ones(3, np.float32)
    values[list(bad[what])] = np.inf if what == 'gradient' else np.nan
    states.append(jax.tree.map(np.asarray, step(states[-1], values[:2], values[2])))
  return states[1:]


def test_what_is_skipped_counts_as_a_step_and_changes_nothing():
  states = walk('skip', '.', 'main', 'gradient', '.', 'both', '.')
  assert [int(x.step) for x in states] == [1, 2, 3, 4, 5, 6]
  assert [float(x.params['scale']) for x in states] == [1, 1, 1, 2, 2, 3]
  assert [int(x.nonfinite.consecutive) for x in states] == [0, 1, 2, 0, 1, 0]
  counts = states[-1].nonfinite
  assert (counts.steps, counts.update) == (3, 1)
  assert counts.heads == {'main': 2, 'aux1': 1}


@pytest.mark.parametrize('on_nonfinite', ['stop', 'rollback'])
def test_after_a_bad_step_the_state_stays(on_nonfinite):
  states = walk(on_nonfinite, '.', 'both', '.', 'gradient', '.')
  assert [int(x.step) for x in states] == [1] * 5
  assert [float(x.params['scale']) for x in states] == [1] * 5
  assert [int(x.nonfinite.steps) for x in states] == [0, 1, 1, 2, 2]


def test_a_record_clears_all_counts_but_the_streak():
  counts = walk('skip', 'main', 'main')[-1].nonfinite
  kept, none = (nonfinite.cleared(counts, streak=streak) for streak in (False, True))
  assert (kept.steps, kept.heads['main'], kept.consecutive) == (0, 0, 2)
  assert none.consecutive == 0


def test_a_streak_ends_the_run(tmp_path):
  said = []
  checkpoints = Checkpoints(epath.Path(tmp_path))
  titles = {head: head.replace('aux1', 'aux1 (4a)') for head in HEADS}
  recovery = Recovery(
    on_nonfinite='skip',
    heads=titles,
    schedule=lambda step: 0.5,
    checkpoints=checkpoints,
    restore=None,
    say=said.append,
  )
  almost = parallel.replicate(walk('skip', '.', *['gradient'] * 19)[-1])
  recovery.check_skips(almost, 20)
  assert said == [
    'WARNING: 19 of the last steps up to 20 skipped: a gradient or a new parameter is not finite '
    'at learning rate 0.5'
  ]
  both = parallel.replicate(walk('skip', 'both')[-1])
  recovery.check_skips(both, 1)
  assert 'the loss of main, aux1 (4a) is not finite' in said[1]  # not in the order of a tree's keys
  last = parallel.replicate(walk('skip', '.', *['gradient'] * 20)[-1])
  with pytest.raises(InputError, match=r'^20 steps in a row up to 21: .* no checkpoint yet'):
    recovery.check_skips(last, 21)
