"""The guard against steps whose loss, gradients or new parameters are not finite.

On the devices `guard` leaves such a step out and counts it; what the run then does is in
`run/recovery.py`.
"""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from googlenet_jax import parallel

ON_NONFINITE = ('stop', 'skip', 'rollback')


class Counts(flax.struct.PyTreeNode):
  """Steps that were not finite, int32; all but the streak since the last training record.

  Attributes:
    steps: number of them.
    consecutive: the current streak.
    heads: steps by head whose loss was not finite.
    update: steps with a gradient or a new parameter that was not finite.
  """

  steps: jax.Array
  consecutive: jax.Array
  heads: dict[str, jax.Array]
  update: jax.Array


def zeros(heads: tuple[str, ...]) -> Counts:
  """Counts before the first step, of a network with these heads."""
  zero = jnp.zeros((), jnp.int32)
  return Counts(steps=zero, consecutive=zero, heads=dict.fromkeys(heads, zero), update=zero)


def cleared(counts: Counts, *, streak: bool) -> Counts:
  """Counts back at zero, replicated; the streak only where `streak` says so."""
  zero = parallel.replicate(jax.tree.map(lambda _: np.int32(0), counts))
  return zero if streak else zero.replace(consecutive=counts.consecutive)


def chosen(taken: jax.Array, changed, state):
  """The one tree of arrays or the other.

  With a `jnp.where` for each array, XLA:CPU makes the test part of each one's program, and takes
  three times as long to compile.
  """
  return lax.cond(taken, lambda: changed, lambda: state)


def guard(state, changed, sums: dict, grads, params, *, on_nonfinite: str):
  """The state after a step if all of it was finite; else the one before, with new counts.

  With 'skip' a step that is left out still advances `state.step`. Otherwise it does not, and later
  steps are left out too until the host, which looks at the counts only now and then, clears them.

  Args:
    state: state before the step.
    changed: state after it, except for `step` and `nonfinite`, which are set here.
    sums: the step's sums, of which the losses by head are tested ('main_loss').
    grads: gradients.
    params: new parameters that these gradients are of, a tree of the same structure.
    on_nonfinite: one of `ON_NONFINITE`.
  """
  counts, skip = state.nonfinite, on_nonfinite == 'skip'
  finite = jax.tree.map(lambda g, p: jnp.all(jnp.isfinite(g) & jnp.isfinite(p)), grads, params)
  heads = {head: ~jnp.isfinite(sums[f'{head}_loss']) for head in counts.heads}
  update = ~jnp.stack(jax.tree.leaves(finite)).all()
  bad = jnp.stack([*heads.values(), update]).any()
  taken = ~bad if skip else ~bad & (counts.steps == 0)
  after = chosen(taken, changed, state)
  counts = Counts(
    steps=counts.steps + bad,
    consecutive=jnp.where(taken, 0, counts.consecutive + 1),
    heads={head: count + heads[head] for head, count in counts.heads.items()},
    update=counts.update + update,
  )
  return after.replace(step=state.step + (taken | skip), nonfinite=counts)
