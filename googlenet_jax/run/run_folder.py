"""The workdir of a run as training opens it."""

import contextlib

from etils import epath
from ml_collections import ConfigDict

from googlenet_jax import experiment, parallel, weights
from googlenet_jax.checkpoint import Checkpoints
from googlenet_jax.data.pipeline import Pipeline
from googlenet_jax.errors import InputError
from googlenet_jax.run import metrics_log, origin, workdirs
from googlenet_jax.train_state import TrainState

# What a run that branches from another takes of it.
LEARNT = ('params', 'batch_stats', 'opt_state', 'average')


class RunFolder:
  """A workdir that a run begins or goes on in; until `begin` nothing is made or changed there.

  Args:
    config: checked (`checks.check`).
    workdir: folder of the run; may be absent.
    stack: holds the lock, which keeps other runs out.

  Attributes:
    workdir: the same folder.
    checkpoints: its checkpoints, read only until `begin`.
    latest: step of the checkpoint that the run goes on from; None for a run that begins.
    first: step that it begins at; above 0 for a resumed run or a branch of another.
    branches: whether it begins as a branch of another run.
    description: what the network is of a run that goes on; None for one that begins.
    branch_from: the same of the run that this one begins as a branch of; None for none.
    digests: digests of the splits, by their notation; there from `check_data` on.
    lines: records so far; there from `begin` on.

  Raises:
    InputError: another run is in it, or the processes have other configs or packages.
  """

  def __init__(self, config: ConfigDict, workdir: epath.Path, stack: contextlib.ExitStack):
    self._config, self.workdir, self._stack = config, workdir, stack
    told = config.to_dict()
    told['dataset']['data_dir'] = ''  # each host may have its own
    parallel.check_equal('config and package', f'{told} {origin.package()}')
    self._there = parallel.from_main(workdir.exists)
    if self._there:
      parallel.from_main(self._lock)
    self.checkpoints = Checkpoints(workdir, config.checkpoint.keep)
    self.latest = self.checkpoints.latest()
    self.first, self.description = self.latest or 0, None
    self._origin, self.branch_from = None, None
    self.branches = self.latest is None and bool(config.init.run)
    if self.latest is not None:
      self.description = workdirs.network(workdir)
    elif self.branches:
      self._origin = epath.Path(config.init.run).expanduser()
      self.first = self._last_of_origin()
      self.branch_from = workdirs.network(self._origin)

  def _lock(self):  # by one process for all, because they share the folder
    self._stack.enter_context(workdirs.locked(self.workdir))
    workdirs.check(self._config, self.workdir)
    workdirs.check_choice(self._config, self.workdir)

  def _last_of_origin(self) -> int:
    """The last step of the run that this one branches from."""
    step = Checkpoints(self._origin).latest()
    if step is None:
      raise InputError(
        f'config.init.run={self._config.init.run} holds no finished checkpoint: give the workdir '
        'of a run'
      )
    return step

  def start(self, run: experiment.Run) -> TrainState:
    """The state before the first step of this run: the initial one, or another run's last.

    Raises:
      InputError: the other run's state does not fit.
    """
    state = run.initial_state()
    if self._origin is None:
      return state
    where, end = f'config.init.run={self._config.init.run}', run.clock.total_steps
    found, own = self.branch_from, run.description
    if found.class_names != own.class_names or found.create() != own.create():
      raise InputError(
        f'{where} is of the network {found.model} {found.fields} of {len(found.class_names)} '
        f'classes, not {own.model} {own.fields} of {len(own.class_names)}: give the same'
      )
    if self.first >= end:
      raise InputError(
        f'{where} is at step {self.first:,}, and config.train.duration ends at {end:,}: give a '
        'longer one'
      )
    refused = InputError(
      f'{where}: its state does not fit: give the same network, optimizer, accumulation and average'
    )
    kinds = workdirs.config(self._origin).average.name, self._config.average.name
    if 'none' not in kinds and kinds[0] != kinds[1]:
      raise refused  # arrays of the same shapes that mean something else
    try:
      return Checkpoints(self._origin).restore(state, self.first, LEARNT)
    except (ValueError, KeyError) as error:  # Orbax, of another tree
      raise refused from error
    except FileNotFoundError as error:  # it trains on, and keeps the last few
      gone = f'checkpoint {self.first} was removed meanwhile: try again'
      raise InputError(f'{where}: {gone}') from error

  def check_data(self, description: weights.Description, splits: dict[str, Pipeline]) -> None:
    """Checks the data against that of the other processes and that which the run began with.

    Raises:
      InputError: data or classes are others.
    """
    names = self._config.dataset
    workdirs.check_classes(description, splits['train'].class_names, self.workdir)
    self.digests = {names[split]: data.digest() for split, data in splits.items()}
    parallel.check_equal(f'data of config.dataset.name={names.name!r}', str(self.digests))
    parallel.from_main(lambda: workdirs.check_data(self.digests, self.workdir))

  def begin(self, description: weights.Description) -> None:
    """Says in the workdir what the run is; to be called after `check_data`.

    Raises:
      InputError: it cannot be written; `workdirs.Busy`: another run has begun there meanwhile.
    """
    self.lines = parallel.from_main(lambda: metrics_log.read(self.workdir))
    if not self._there:
      parallel.from_main(self._lock)
      if self.checkpoints.latest() is not None:
        raise workdirs.Busy(
          f'{self.workdir}: another run has been there meanwhile: start this one again'
        )
    parallel.from_main(
      lambda: workdirs.begin(
        self._config,
        description,
        self.digests,
        self.workdir,
        step=self.first,
        new=self.latest is None,
      )
    )
    parallel.from_main(self.checkpoints.open)
