"""Checkpoints of a run, with Orbax.

A checkpoint holds each part of the state as an item of its own (`params`, `batch_stats`,
`opt_state`, `average`, `log_sums`, `nonfinite`), and what `stored.py` tells of.
"""

import contextlib
import dataclasses
import functools
import logging

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from orbax.checkpoint import checkpoint_managers as policies

from googlenet_jax import parallel, stored, train_state
from googlenet_jax.errors import InputError
from googlenet_jax.stored import FORMAT, SCORE
from googlenet_jax.train_state import TrainState

LOG = logging.getLogger('googlenet_jax')

COUNTS = ('step', 'skipped_batches')
ITEMS = tuple(f.name for f in dataclasses.fields(TrainState) if f.name not in COUNTS)
REFUSED = 'os_error_code='  # in TensorStore's ValueErrors: the system did not write


class _Manager(ocp.CheckpointManager):
  def reached_preemption(self, step):
    return False  # the loop asks jax where to stop, and jax knows one row of numbers only


class Checkpoints:
  """The checkpoints of a workdir: the last few, and the best on validation.

  Damaged ones stay where they are until `open`: another process may be training there.

  Args:
    workdir: folder of the run; its folder `checkpoints` is made when the first one is saved.
    keep: number of the last ones that are kept, beside the best.
  """

  def __init__(self, workdir: epath.Path, keep: int = 2):
    workdir = epath.Path(workdir)  # `resolve` would take gs:// for a local folder
    self._workdir = workdir if '://' in str(workdir) else workdir.resolve()
    self._folder = self._workdir / 'checkpoints'
    self._keep, self._saving, self._opened = keep, None, False
    self._scores, self._damaged = {}, []

  def scored(self, step: int) -> bool:
    """Whether the checkpoint of a step, that `latest` or `best` found, has a score."""
    return self._scores.get(step) is not None

  def latest(self) -> int | None:
    """Step of the last checkpoint that is undamaged, None where there is none."""
    return max(self._intact(), default=None)

  def best(self) -> int | None:
    """Step of the best checkpoint on validation, the last where none was scored."""
    intact = self._intact()
    scored = [step for step, score in intact.items() if score is not None]
    # Of equals the last, as Orbax keeps it.
    return max(scored or intact, key=lambda step: (intact[step] or 0, step), default=None)

  def open(self) -> None:
    """Moves what is damaged to the folder `damaged`, from now on at once.

    For the main process of a run.
    """
    self._opened = True
    for folder in self._damaged:
      moved = self._workdir / 'damaged' / folder.name
      moved.parent.mkdir(exist_ok=True)
      if '://' in str(moved):  # an object store has no folder without a file
        (moved.parent / 'about').write_text('Checkpoints that were not as they were signed.')
      if moved.exists():
        moved.rmtree()
      folder.rename(moved)
      LOG.warning('WARNING: %s was moved to %s', folder, moved)
    self._damaged = []

  def _intact(self) -> dict[int, float | None]:
    """The undamaged checkpoints' steps and scores, the same in every process; warns of others."""
    self._scores = {step: score for step, score in parallel.from_main(self._look)}
    if '_manager' in vars(self):
      self._manager.reload()
    return self._scores

  def _look(self) -> list[tuple[int, float | None]]:
    intact, self._damaged = [], []
    for step in stored.steps(self._folder):
      folder = self._folder / str(step)
      damage = stored.damage(folder)
      if not folder.exists():
        continue  # another process trains here, and needs it no more
      if not damage:
        intact.append((step, stored.score(folder)))
        continue
      self._damaged.append(folder)
      LOG.warning('WARNING: checkpoint %s is damaged (%s) and is not used', folder, damage)
    if self._opened:
      self.open()
    return intact

  @functools.cached_property
  def _manager(self):  # Orbax's; made when first needed, as it makes folders
    best = policies.BestN(
      get_metric_fn=lambda scores: scores[SCORE], n=1, keep_checkpoints_without_metrics=False
    )
    return _Manager(
      self._folder,
      item_names=(*ITEMS, 'meta'),
      options=ocp.CheckpointManagerOptions(
        preservation_policy=policies.AnyPreservationPolicy([policies.LatestN(self._keep), best]),
        best_fn=lambda scores: scores[SCORE],
        cleanup_tmp_directories=True,
        async_options=ocp.AsyncOptions(
          # Called when all is written, before Orbax gives the folder its name.
          post_finalization_callback=self._sign,
          # Seconds for a write, and that other processes wait for one that cannot. Orbax's own are
          # kept for one process: nobody waits then, and a slow file server may recover.
          timeout_secs=300 if parallel.several_processes() else 1200,
        ),
      ),
    )

  def _sign(self) -> None:
    if not parallel.is_main():
      return
    unnamed = list(self._folder.glob(f'{self._saving}.orbax-checkpoint-tmp*'))
    # In an object store the folder has its name from the start.
    folder = unnamed[0] if unnamed else self._folder / str(self._saving)
    stored.sign(folder)

  def save(self, state: TrainState, validation_top1: float | None) -> None:
    """Saves in the background.

    A step that is there already is left alone, but that a score takes the place of none.

    Raises:
      InputError: this one or the one before cannot be written.
    """
    counts = {name: int(parallel.fetch(getattr(state, name))) for name in COUNTS}
    step = counts['step']
    with _writing(self._folder):
      if step in self._manager.all_steps():
        if validation_top1 is not None:
          parallel.from_main(lambda: self._score(step, validation_top1))
          self._manager.reload()
        return
      self._manager.wait_until_finished()
      self._saving = step
      items = {name: _copied(getattr(state, name)) for name in ITEMS}
      self._manager.save(
        step,
        args=ocp.args.Composite(
          meta=ocp.args.JsonSave({'format': FORMAT} | counts),
          # Orbax writes no empty trees: an item without arrays is left out.
          **{n: ocp.args.StandardSave(x) for n, x in items.items() if jax.tree.leaves(x)},
        ),
        metrics=None if validation_top1 is None else {SCORE: validation_top1},
        force=True,  # it is wanted, whatever Orbax thinks of the interval
      )

  def _score(self, step, validation_top1):
    if self._manager.metrics(step) is None:
      stored.add_score(self._folder / str(step), validation_top1)

  def restore(self, state: TrainState, step: int, names: tuple[str, ...] = ITEMS) -> TrainState:
    """The state at a step.

    Args:
      state: any state of the same run; it gives the structure, its values are not used.
      step: step that `latest` or `best` gave.
      names: items that are read; the others stay as they are.
    """
    items = {name: getattr(state, name) for name in names}
    found = self._read(step, {n: tree for n, tree in items.items() if jax.tree.leaves(tree)})
    meta = stored.meta(self._folder / str(step))
    counts = {name: parallel.replicate(np.int32(meta[name])) for name in COUNTS}
    return state.replace(**counts, **items | found)

  def variables(self, model, image_shape: tuple[int, int, int], step: int) -> dict:
    """What `model.apply` takes, at a step; the averaged values where the run has them.

    Args:
      model: the run's network, for any number of devices.
      image_shape: shape (H, W, C) of its images.
      step: step that `latest` or `best` gave.
    """
    wanted = train_state.abstract_variables(model, image_shape)
    if parallel.from_main((self._folder / str(step) / 'average').exists):
      count = jax.ShapeDtypeStruct((), np.int32)
      found = self._read(step, {'average': wanted | {'count': count}})['average']
      return {name: found[name] for name in wanted}
    return wanted | self._read(step, {n: tree for n, tree in wanted.items() if tree})

  def _read(self, step: int, items: dict) -> dict:
    """The items of a checkpoint, replicated; `items` gives their structure."""
    sharding = parallel.replicated()
    shapes = jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), items
    )
    args = {name: ocp.args.StandardRestore(tree) for name, tree in shapes.items()}
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as reader:
      found = reader.restore(self._folder / str(step), args=ocp.args.Composite(**args))
    return {name: found[name] for name in items}

  def wait(self) -> None:
    """Returns when everything is on disk; InputError where it cannot be written."""
    if '_manager' in vars(self):
      with _writing(self._folder):
        self._manager.wait_until_finished()

  def close(self) -> None:
    """Waits, and frees Orbax's threads."""
    if '_manager' in vars(self):
      self._manager.close()


def _copied(tree):
  """A replicated tree as numpy arrays of their own, which no later step can change.

  Of jax's arrays Orbax keeps the sharding too: half of the time of a small checkpoint.
  """
  return jax.tree.map(np.array, parallel.fetch(tree))


@contextlib.contextmanager
def _writing(folder: epath.Path):
  """Raises what a disk refuses as an InputError."""
  try:
    yield
  except (OSError, ValueError) as error:
    if isinstance(error, ValueError) and REFUSED not in str(error):
      raise
    raise InputError(
      f'a checkpoint in {folder} cannot be written ({str(error).splitlines()[0]}); the earlier '
      'ones are as they were: make room, and the same command goes on'
    ) from error
