"""Writers by name: what is told of every record of a run beside `metrics.jsonl`.

A writer is made of the run's folder, and anew where the run goes on: it is told of the earlier
records first.
"""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from typing import Protocol

from etils import epath

from googlenet_jax import files, registry


class Writer(Protocol):
  """What a class of the table gives."""

  def write(self, lines: list[dict]) -> None:
    """Takes records, `{'step', 'split', 'time', name: value}`."""

  def close(self) -> None:
    """Finishes; nothing is written after it."""


class TensorBoard:
  """Event files of TensorBoard, in place of the run's earlier ones."""

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

  def write(self, lines: list[dict]) -> None:
    """See `Writer`."""
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.summary import scalar

    with files.written(self._folder):
      for line in lines:
        for name, value in line.items():
          if name not in ('step', 'split', 'time'):
            summary = scalar(f'{line["split"]}/{name}', value)
            # Records of the first versions hold no times.
            event = Event(wall_time=line.get('time', 0.0), step=line['step'], summary=summary)
            self._events.write_event(event)
      self._events.flush()

  def close(self) -> None:
    """See `Writer`."""
    with files.written(self._folder):
      self._events.close()
    if self._remote:
      for path in epath.Path(self._folder).glob('events.*'):
        (self._workdir / path.name).write_bytes(path.read_bytes())
      shutil.rmtree(self._folder)


WRITERS: dict[str, Callable[[epath.Path], Writer]] = {'tensorboard': TensorBoard}


def create(
  names: Sequence[str], fields: dict[str, dict]
) -> tuple[Callable[[epath.Path], Writer], ...]:
  """Makers of writers by name; InputError where there are none of these names or fields."""
  by_name = registry.by_name(names, fields, 'log.writers', 'log.writer_fields')
  return tuple(
    registry.bind(registry.find(name, WRITERS, 'log.writers'), 'log.writer_fields', own)
    for name, own in by_name.items()
  )
