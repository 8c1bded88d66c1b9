"""Checkpoints of a run, with Orbax.

A checkpoint holds each part of the state as an item of its own (`params`, `batch_stats`,
`opt_state`, `average`, `log_sums`) and `meta`: the step and the version of this layout.
"""

import dataclasses

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from orbax.checkpoint import checkpoint_managers as policies

from googlenet_jax import parallel
from googlenet_jax.errors import InputError
from googlenet_jax.train_state import TrainState

FORMAT = 1
ITEMS = tuple(f.name for f in dataclasses.fields(TrainState) if f.name != 'step')


class Checkpoints:
  """The checkpoints of a workdir: the last few, and the best on validation.

  Args:
    workdir: its folder `checkpoints` is made when the first one is saved.
    keep: how many of the last are kept, beside the best.
  """

  def __init__(self, workdir: epath.Path, keep: int = 2):
    def score(metrics):
      return metrics['validation_top1']

    self._manager = ocp.CheckpointManager(
      epath.Path(workdir).resolve() / 'checkpoints',
      item_names=(*ITEMS, 'meta'),
      options=ocp.CheckpointManagerOptions(
        preservation_policy=policies.AnyPreservationPolicy(
          [
            policies.LatestN(keep),
            policies.BestN(get_metric_fn=score, n=1, keep_checkpoints_without_metrics=False),
          ]
        ),
        best_fn=score,
        cleanup_tmp_directories=True,
      ),
    )

  def save(self, state: TrainState, validation_top1: float | None) -> None:
    """Saves in the background; a step that is there already is left alone."""
    step = int(parallel.fetch(state.step))
    if step in self._manager.all_steps():
      return
    # Orbax drops empty trees: an item that has no arrays is simply not written.
    items = {name: getattr(state, name) for name in ITEMS if jax.tree.leaves(getattr(state, name))}
    self._manager.save(
      step,
      args=ocp.args.Composite(
        meta=ocp.args.JsonSave({'format': FORMAT, 'step': step}),
        **{name: ocp.args.StandardSave(tree) for name, tree in items.items()},
      ),
      metrics=None if validation_top1 is None else {'validation_top1': validation_top1},
    )

  def latest(self) -> int | None:
    """Step of the last checkpoint."""
    return self._manager.latest_step()

  def best(self) -> int | None:
    """Step of the best checkpoint on validation, the latest where none was scored."""
    return self._manager.best_step() or self.latest()

  def restore(self, state: TrainState, step: int) -> TrainState:
    """The state at a step.

    Args:
      state: any state of the same run; gives the structure, its values are not used.
      step: of a checkpoint that is there.

    Raises:
      InputError: the checkpoint was written by a newer version.
    """
    meta = self._manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore())).meta
    if meta['format'] > FORMAT:
      raise InputError(
        f'checkpoint {step} in {self._manager.directory} has format {meta["format"]}, this '
        f'version reads up to {FORMAT}: use a newer version of googlenet_jax'
      )
    wanted = {name: getattr(state, name) for name in ITEMS}
    shapes = jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding),
      {name: tree for name, tree in wanted.items() if jax.tree.leaves(tree)},
    )
    found = self._manager.restore(
      step,
      args=ocp.args.Composite(
        **{name: ocp.args.StandardRestore(tree) for name, tree in shapes.items()}
      ),
    )
    parts = wanted | {name: found[name] for name in shapes}
    return state.replace(step=parallel.replicate(np.int32(meta['step'])), **parts)

  def wait(self) -> None:
    """Returns when everything is on disk."""
    self._manager.wait_until_finished()

  def close(self) -> None:
    """Waits, and frees Orbax's threads."""
    self._manager.close()
