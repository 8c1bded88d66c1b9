"""Writers by name: what is told of every record of a run beside `metrics.jsonl`.

A writer is made of the run's folder, and anew where the run goes on: it is told of the earlier
records first.
"""

import importlib.util
import json
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from etils import epath
from flax.traverse_util import flatten_dict

from googlenet_jax import files, registry
from googlenet_jax.errors import InputError


class Writer(Protocol):
  """What a class of the table gives."""

  def write(self, lines: list[dict]) -> None:
    """Takes records, `{'step', 'split', 'time', name: value}`."""

  def close(self) -> None:
    """Finishes; nothing is written after it."""


APART = ('step', 'split', 'time', 'epoch', 'seconds')  # fields of a record that are not drawn
PICTURES = ('curves.png', 'confusion.png')  # pictures that are drawn at a run's end


def measured(line: dict) -> dict[str, float]:
  """What a record measured, `{'validation/top1': value}`."""
  return {f'{line["split"]}/{name}': x for name, x in line.items() if name not in APART}


def config(workdir: epath.Path) -> dict[str, Any]:
  """The config that a run began with, by its fields, 'optimizer.lr'; {} where none was written."""
  path = workdir / 'config.json'
  return flatten_dict(files.read_json(path), sep='.') if path.exists() else {}


def pictures(workdir: epath.Path) -> list[epath.Path]:
  """Those of `PICTURES` that are there."""
  return [path for name in PICTURES if (path := workdir / name).exists()]


def pixels(path: epath.Path) -> np.ndarray:
  """A picture as `[H, W, 3]` uint8."""
  from PIL import Image

  with path.open('rb') as file:
    return np.asarray(Image.open(file).convert('RGB'))


class TensorBoard:
  """Event files of TensorBoard, in place of the run's earlier ones: curves, pictures, config."""

  def __init__(self, workdir: epath.Path):
    # Imported here: whoever reads a config or loads weights writes no events.
    from tensorboardX import event_file_writer  # its `SummaryWriter` hangs on a full disk

    self._workdir = workdir
    # tensorboardX writes local files only: for gs:// they are copied at the end.
    self._remote = '://' in str(workdir)
    self._folder = tempfile.mkdtemp() if self._remote else str(workdir)
    for old in workdir.glob('events.out.tfevents.*'):
      old.unlink()
    with files.written(self._folder):
      self._events = event_file_writer.EventsWriter(f'{self._folder}/events')
      self._add_config(config(workdir))

  def _add_config(self, fields):
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.summary import hparams

    plain = {
      name: x if isinstance(x, bool | int | float | str) else json.dumps(x)
      for name, x in fields.items()
    }
    for summary in hparams(plain, {'validation/top1': 0, 'test/top1': 0}) if plain else ():
      self._events.write_event(Event(summary=summary))

  def write(self, lines: list[dict]) -> None:
    """See `Writer`."""
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.summary import scalar

    with files.written(self._folder):
      for line in lines:
        for name, value in measured(line).items():
          # Records of the first versions hold no times.
          told = {'wall_time': line.get('time', 0.0), 'step': line['step']}
          self._events.write_event(Event(**told, summary=scalar(name, value)))
      self._events.flush()

  def close(self) -> None:
    """See `Writer`."""
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.summary import image

    with files.written(self._folder):
      for path in pictures(self._workdir):
        summary = image(path.stem, pixels(path), dataformats='HWC')
        self._events.write_event(Event(wall_time=time.time(), summary=summary))
      self._events.close()
    if self._remote:
      for path in epath.Path(self._folder).glob('events.*'):
        (self._workdir / path.name).write_bytes(path.read_bytes())
      shutil.rmtree(self._folder)


class WeightsAndBiases:
  """A run of Weights & Biases (`pip install wandb`), which a resumed run goes on with.

  Its settings are those of the environment: WANDB_MODE=offline, WANDB_API_KEY, WANDB_DIR. What it
  was sent, and by which id, is kept in `wandb.json`: nothing is sent twice. Records that a run
  went back from stay there.

  Args:
    workdir: folder of the run; its name is the run's.
    project: name of the project.
    entity: team or person; '' for one's own.

  Raises:
    InputError: Weights & Biases refuses the run.
  """

  needs = 'wandb'

  def __init__(self, workdir: epath.Path, project: str = 'googlenet_jax', entity: str = ''):
    import wandb

    self._workdir, self._image, self._path = workdir, wandb.Image, workdir / 'wandb.json'
    self._known = {'id': secrets.token_hex(8), 'sent': {}}  # the last step of each split
    if self._path.exists():
      self._known = files.read_json(self._path)
    try:
      self._run = wandb.init(
        project=project,
        entity=entity or None,
        name=workdir.name,
        id=self._known['id'],
        resume='allow',
        config=config(workdir),
        settings=wandb.Settings(console='off', silent=True),
      )
    except wandb.errors.Error as error:
      raise InputError(f"config.log.writers has 'wandb': {error}") from error
    self._run.define_metric('*', step_metric='step')

  def write(self, lines: list[dict]) -> None:
    """See `Writer`."""
    for line in lines:
      if line['step'] > self._known['sent'].get(line['split'], -1):
        self._run.log({'step': line['step'], **measured(line)})
        self._known['sent'][line['split']] = line['step']
    files.write(self._path, json.dumps(self._known) + '\n')

  def close(self) -> None:
    """See `Writer`."""
    found = {path.stem: self._image(pixels(path)) for path in pictures(self._workdir)}
    if found:
      self._run.log(found)
    self._run.finish()


WRITERS: dict[str, Callable[..., Writer]] = {
  'tensorboard': TensorBoard,
  'wandb': WeightsAndBiases,
}


def create(
  names: Sequence[str], fields: dict[str, dict]
) -> tuple[Callable[[epath.Path], Writer], ...]:
  """Makers of writers by name.

  Raises:
    InputError: there are none of these names or fields, or the package that one `needs` is absent.
  """
  made = []
  for name, own in registry.by_name(names, fields, 'log.writers', 'log.writer_fields').items():
    writer = registry.find(name, WRITERS, 'log.writers')
    package = getattr(writer, 'needs', '')
    if package and not importlib.util.find_spec(package):
      raise InputError(f'config.log.writers has {name!r}: pip install {package}')
    made.append(registry.bind(writer, 'log.writer_fields', own))
  return tuple(made)
