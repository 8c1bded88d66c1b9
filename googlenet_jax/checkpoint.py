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

from googlenet_jax import parallel, train_state
from googlenet_jax.errors import InputError
from googlenet_jax.train_state import TrainState

FORMAT = 1
ITEMS = tuple(f.name for f in dataclasses.fields(TrainState) if f.name != 'step')


def _score(metrics) -> float:
  return metrics['validation_top1']


class Checkpoints:
  """The checkpoints of a workdir: the last few, and the best on validation.

  Args:
    workdir: its folder `checkpoints` is made when the first one is saved.
    keep: how many of the last are kept, beside the best.
    read_only: touch nothing, as when another process may be training there.
  """

  def __init__(self, workdir: epath.Path, keep: int = 2, *, read_only: bool = False):
    best = policies.BestN(get_metric_fn=_score, n=1, keep_checkpoints_without_metrics=False)
    self._manager = ocp.CheckpointManager(
      epath.Path(workdir).resolve() / 'checkpoints',
      item_names=(*ITEMS, 'meta'),
      options=ocp.CheckpointManagerOptions(
        preservation_policy=policies.AnyPreservationPolicy([policies.LatestN(keep), best]),
        best_fn=_score,
        cleanup_tmp_directories=not read_only,
        read_only=read_only,
        create=not read_only,
      ),
    )

  def save(self, state: TrainState, validation_top1: float | None) -> None:
    """Saves in the background; a step that is there already is left alone."""
    step = int(parallel.fetch(state.step))
    if step in self._manager.all_steps():
      return
    # Orbax writes no empty trees: an item without arrays is left out.
    items = {name: getattr(state, name) for name in ITEMS if jax.tree.leaves(getattr(state, name))}
    self._manager.save(
      step,
      args=ocp.args.Composite(
        meta=ocp.args.JsonSave({'format': FORMAT, 'step': step}),
        **{n: ocp.args.StandardSave(parallel.globalize(tree)) for n, tree in items.items()},
      ),
      metrics=None if validation_top1 is None else {'validation_top1': validation_top1},
    )

  def latest(self) -> int | None:
    """Step of the last checkpoint, None where there is none."""
    return self._manager.latest_step()

  def best(self) -> int | None:
    """Step of the best checkpoint on validation, the last where none was scored."""
    step = self._manager.best_step()
    return self.latest() if step is None else step

  def restore(self, state: TrainState, step: int) -> TrainState:
    """The state at a step.

    Args:
      state: any state of the same run; it gives the structure, its values are not used.
      step: of a checkpoint that is there.

    Raises:
      InputError: the checkpoint was written by a newer version.
    """
    items = {name: getattr(state, name) for name in ITEMS}
    found = self._read(step, {n: tree for n, tree in items.items() if jax.tree.leaves(tree)})
    return state.replace(step=parallel.replicate(np.int32(step)), **items | found)

  def variables(self, model, image_shape: tuple[int, int, int], step: int) -> dict:
    """What `model.apply` takes, at a step; the averaged values where the run has them.

    Args:
      model: the run's network, for any number of devices.
      image_shape: (H, W, C).
      step: of a checkpoint that is there.

    Raises:
      InputError: the checkpoint was written by a newer version.
    """
    wanted = train_state.abstract_variables(model, image_shape)
    if (self._manager.directory / str(step) / 'average').exists():
      count = jax.ShapeDtypeStruct((), np.int32)
      found = self._read(step, {'average': wanted | {'count': count}})['average']
      return {name: found[name] for name in wanted}
    return wanted | self._read(step, {n: tree for n, tree in wanted.items() if tree})

  def _read(self, step: int, items: dict) -> dict:
    """The items of a checkpoint, replicated; `items` gives their structure."""
    meta = self._manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore())).meta
    if meta['format'] > FORMAT:
      raise InputError(
        f'checkpoint {step} in {self._manager.directory} has format {meta["format"]}, this '
        f'version reads up to {FORMAT}: use a newer version of googlenet_jax'
      )
    sharding = parallel.replicated()
    shapes = jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), items
    )
    args = {name: ocp.args.StandardRestore(tree) for name, tree in shapes.items()}
    found = self._manager.restore(step, args=ocp.args.Composite(**args))
    return {name: found[name] for name in items}

  def wait(self) -> None:
    """Returns when everything is on disk."""
    self._manager.wait_until_finished()

  def close(self) -> None:
    """Waits, and frees Orbax's threads."""
    self._manager.close()
