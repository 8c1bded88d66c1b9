"""What a run leaves in its workdir beside checkpoints: metrics, event files, pictures.

`metrics.jsonl` is the record: a line a measurement, `{"step", "split", "time", ...}`, the time in
seconds since 1970. Event files and curves are made from it and can be made again:
`python -m googlenet_jax.metrics_log WORKDIR`.
"""

import json
import shutil
import sys
import tempfile
import time

from etils import epath
from tensorboardX.event_file_writer import EventsWriter  # `SummaryWriter` hangs on a full disk
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.summary import scalar

from googlenet_jax import files, plots


def read(workdir: epath.Path) -> list[dict]:
  """The records in `metrics.jsonl`, none where there is no such file.

  A last line without an end is left out: the run was killed while it wrote it.
  """
  path = workdir / 'metrics.jsonl'
  text = path.read_text() if path.exists() else ''
  return [files.read_json(path, line) for line in text.split('\n')[:-1]]


class MetricsLog:
  """Writes the record of a run, a line when it is added.

  An object store cannot append: there `save` writes the whole.

  Args:
    workdir: of the run.
    step: that the run goes on from; later lines of an interrupted run are dropped, since
      they will be measured again. None leaves the file alone.
    active: whether this process writes at all.
    lines: what `read` gave; None reads it.
  """

  def __init__(
    self,
    workdir: epath.Path,
    step: int | None,
    active: bool = True,
    lines: list[dict] | None = None,
  ):
    self.lines = read(workdir) if lines is None else lines
    self._workdir, self._path, self._active = workdir, workdir / 'metrics.jsonl', active
    # tensorboardX writes local files only: for gs:// they are copied at the end.
    self._remote = '://' in str(workdir)
    self._folder = tempfile.mkdtemp() if self._remote and active else str(workdir)
    self._events = None
    self.rewind(step)

  def rewind(self, step: int | None) -> None:
    """Drops the lines after a step (None drops none); the event file is made again."""
    if step is not None:
      self.lines = [line for line in self.lines if line['step'] <= step]
    if not self._active:
      return
    if self._events:
      self._events.close()  # of the file that is removed now
    for place in {self._workdir, epath.Path(self._folder)}:
      for old in place.glob('events.out.tfevents.*'):
        old.unlink()
    if step is not None:  # a torn line goes too
      self._write()
    with files.written(self._folder):
      self._events = EventsWriter(f'{self._folder}/events')
    self._event(*self.lines)

  def add(self, step: int, split: str, **values) -> None:
    """Adds a measurement: `split` is 'train', 'validation', 'test' or one '_averaged'."""
    line = {'step': step, 'split': split, 'time': round(time.time(), 3), **values}
    self.lines.append(line)
    if not self._active:
      return
    if not self._remote:
      with files.written(self._path), open(self._path, 'a') as file:
        file.write(json.dumps(line) + '\n')
    self._event(line)

  def save(self) -> None:
    """Makes sure that all lines are in the file; to be called before a checkpoint is saved."""
    if self._active and self._remote:
      self._write()

  def find(self, step: int, split: str) -> dict | None:
    """The last record of a split at a step."""
    found = [line for line in self.lines if (line['step'], line['split']) == (step, split)]
    return found[-1] if found else None

  def close(self) -> None:
    """Draws the curves and closes the event file."""
    if not self._active:
      return
    self.save()
    with files.written(self._folder):
      self._events.close()
    if self._remote:
      for path in epath.Path(self._folder).glob('events.*'):
        (self._workdir / path.name).write_bytes(path.read_bytes())
      shutil.rmtree(self._folder)
    if self.lines:
      files.write(self._workdir / 'curves.png', plots.curves(self.lines))

  def _write(self):
    files.write(self._path, ''.join(json.dumps(line) + '\n' for line in self.lines))

  def _event(self, *lines):
    with files.written(self._folder):
      for line in lines:
        for name, value in line.items():
          if name not in ('step', 'split', 'time'):
            summary = scalar(f'{line["split"]}/{name}', value)
            # Records of the first versions hold no times.
            event = Event(wall_time=line.get('time', 0.0), step=line['step'], summary=summary)
            self._events.write_event(event)
      self._events.flush()


if __name__ == '__main__':
  if len(sys.argv) != 2 or not (epath.Path(sys.argv[1]) / 'metrics.jsonl').exists():
    print('error: give one folder that holds metrics.jsonl', file=sys.stderr)
    sys.exit(2)
  MetricsLog(epath.Path(sys.argv[1]), None).close()  # a run that is at work there loses no line
