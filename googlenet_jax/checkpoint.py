"""Checkpoints of a run, with Orbax.

A checkpoint holds each part of the state as an item of its own (`params`, `batch_stats`,
`opt_state`, `average`, `log_sums`, `nonfinite`), `meta`: the version of this layout and the state's
counts, and `SHA256SUMS` of all these files, which `sha256sum -c` reads too: Orbax restores what a
disk has changed without a word.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import logging

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from orbax.checkpoint import checkpoint_managers as policies

from googlenet_jax import files, parallel, train_state
from googlenet_jax.errors import InputError
from googlenet_jax.train_state import TrainState

LOG = logging.getLogger('googlenet_jax')

# Of a run: raised when its state, or the order of its data, changes. 1 had no digests and no
# `skipped_batches`, 2 another order in memory and no `learning_rate` among its sums.
FORMAT = 4
COUNTS = ('step', 'skipped_batches')
ITEMS = tuple(f.name for f in dataclasses.fields(TrainState) if f.name not in COUNTS)
SUMS = 'SHA256SUMS'
STAMP = '_CHECKPOINT_METADATA'  # Orbax's, with the time at which the folder got its name
SCORE, SCORES = 'validation_top1', 'metrics/metrics'  # and the file that Orbax keeps it in
REFUSED = 'os_error_code='  # in TensorStore's ValueErrors: the system did not write


class _Manager(ocp.CheckpointManager):
  def reached_preemption(self, step):
    return False  # the loop asks jax where to stop, and jax knows one row of numbers only


class Checkpoints:
  """The checkpoints of a workdir: the last few, and the best on validation.

  Args:
    workdir: its folder `checkpoints` is made when the first one is saved.
    keep: how many of the last are kept, beside the best.
    read_only: touch nothing, as when another process may be training there, until `open`; else a
      damaged checkpoint is moved to the folder `damaged`.
  """

  def __init__(self, workdir: epath.Path, keep: int = 2, *, read_only: bool = False):
    workdir = epath.Path(workdir)  # `resolve` would take gs:// for a local folder
    self._workdir = workdir if '://' in str(workdir) else workdir.resolve()
    self._keep, self._read_only = keep, read_only
    self._folder = self._workdir / 'checkpoints'
    self._saving = None
    self._scores, self._damaged = {}, []

  @functools.cached_property
  def _manager(self):  # of Orbax; made when it is first needed, as it makes folders
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
        # Called when all is written, before Orbax gives the folder its name.
        async_options=ocp.AsyncOptions(post_finalization_callback=self._sign),
      ),
    )

  def _sign(self) -> None:
    if not parallel.is_main():
      return
    unnamed = list(self._folder.glob(f'{self._saving}.orbax-checkpoint-tmp*'))
    # In an object store the folder has its name from the start.
    folder = unnamed[0] if unnamed else self._folder / str(self._saving)
    (folder / SUMS).write_text(_lines(_sums(folder)))

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
        if validation_top1 is not None and self._manager.metrics(step) is None:
          parallel.from_main(lambda: self._add_score(step, validation_top1))
          self._manager.reload()
        return
      self._manager.wait_until_finished()
      self._saving = step
      # Orbax writes no empty trees: an item without arrays is left out.
      items = {
        name: getattr(state, name) for name in ITEMS if jax.tree.leaves(getattr(state, name))
      }
      self._manager.save(
        step,
        args=ocp.args.Composite(
          meta=ocp.args.JsonSave({'format': FORMAT} | counts),
          **{n: ocp.args.StandardSave(parallel.globalize(tree)) for n, tree in items.items()},
        ),
        metrics=None if validation_top1 is None else {SCORE: validation_top1},
        force=True,  # it is wanted, whatever Orbax thinks of the interval
      )

  def _add_score(self, step, validation_top1):
    folder = self._folder / str(step)
    (folder / 'metrics').mkdir(exist_ok=True)
    text = json.dumps({SCORE: validation_top1})
    files.write(folder / SCORES, text)
    # The other digests stay those of what was saved.
    signed = _lines({SCORES: hashlib.sha256(text.encode()).hexdigest()})
    files.write(folder / SUMS, (folder / SUMS).read_text() + signed)

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

  def _intact(self) -> dict[int, float | None]:
    """The undamaged checkpoints' steps and scores, the same in every process; warns of others."""
    found = parallel.from_main(self._look)
    if '_manager' in vars(self):
      self._manager.reload()
    self._scores = {step: score for step, score in found}
    return self._scores

  def _look(self) -> list[tuple[int, float | None]]:
    intact = []
    for step in _steps(self._folder):
      folder = self._folder / str(step)
      damage = _damage(folder)
      if not folder.exists():
        continue  # another process trains here, and needs it no more
      if not damage:
        scores = folder / SCORES
        intact.append((step, json.loads(scores.read_text())[SCORE] if scores.exists() else None))
        continue
      self._damaged.append(folder)
      LOG.warning('WARNING: checkpoint %s is damaged (%s) and is not used', folder, damage)
    if not self._read_only:
      self.open()
    return intact

  def open(self) -> None:
    """Moves what is damaged away, from now on at once; for the main process of a run."""
    self._read_only = False
    for folder in self._damaged:
      moved = self._workdir / 'damaged' / folder.name
      moved.parent.mkdir(exist_ok=True)
      if moved.exists():
        moved.rmtree()
      folder.rename(moved)
      LOG.warning('WARNING: %s was moved to %s', folder, moved)
    self._damaged = []

  def restore(self, state: TrainState, step: int) -> TrainState:
    """The state at a step.

    Args:
      state: any state of the same run; it gives the structure, its values are not used.
      step: that `latest` or `best` gave.
    """
    items = {name: getattr(state, name) for name in ITEMS}
    found = self._read(step, {n: tree for n, tree in items.items() if jax.tree.leaves(tree)})
    meta = _meta(self._folder / str(step))
    counts = {name: parallel.replicate(np.int32(meta[name])) for name in COUNTS}
    return state.replace(**counts, **items | found)

  def variables(self, model, image_shape: tuple[int, int, int], step: int) -> dict:
    """What `model.apply` takes, at a step; the averaged values where the run has them.

    Args:
      model: the run's network, for any number of devices.
      image_shape: (H, W, C).
      step: that `latest` or `best` gave.
    """
    wanted = train_state.abstract_variables(model, image_shape)
    if (self._folder / str(step) / 'average').exists():
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


def _steps(folder: epath.Path) -> list[int]:
  """Steps of the finished checkpoints in a folder, ascending."""
  names = [path.name for path in folder.iterdir()] if folder.exists() else []
  return sorted(int(name) for name in names if name.isdigit())


def _meta(folder: epath.Path) -> dict:
  return json.loads((folder / 'meta' / 'metadata').read_text())


def _sums(folder: epath.Path) -> dict[str, str]:
  """SHA-256 of every file in a folder, by its name relative to it."""
  found = {}
  for path in sorted(folder.iterdir()):
    if path.is_dir():
      found |= {f'{path.name}/{name}': sum_ for name, sum_ in _sums(path).items()}
    elif path.name not in (SUMS, STAMP):
      with path.open('rb') as file:
        found[path.name] = hashlib.file_digest(file, 'sha256').hexdigest()
  return found


def _lines(sums: dict[str, str]) -> str:
  return ''.join(f'{sum_}  {name}\n' for name, sum_ in sums.items())


def _damage(folder: epath.Path) -> str:
  """What is wrong with the files of a checkpoint, '' for nothing.

  Raises:
    InputError: they were written by another version.
  """
  try:
    json.loads((folder / STAMP).read_text())
    written = _meta(folder)['format']
  except (OSError, ValueError, KeyError, TypeError) as error:
    return f'its metadata: {error}'
  if written != FORMAT:
    age = 'a newer' if written > FORMAT else 'an earlier'
    raise InputError(
      f'checkpoint {folder} was written by {age} version of googlenet_jax (format {written}, not '
      f'{FORMAT}): use that version, or another --workdir'
    )
  try:
    lines = (folder / SUMS).read_text().splitlines()
    found = _sums(folder)
  except (OSError, ValueError) as error:
    return str(error)
  signed = {name: sum_ for sum_, _, name in (line.partition('  ') for line in lines)}
  wrong = [name for name, sum_ in signed.items() if found.get(name) != sum_]
  return ', '.join(f'{name} is {"another" if name in found else "missing"}' for name in wrong[:3])
