"""What a run leaves in its workdir beside checkpoints: metrics, event files, pictures.

`metrics.jsonl` is the record: a line per measurement, `{"step", "split", "time", ...}`, the time in
seconds since 1970. Event files and curves are made from it and can be made again:
`python -m googlenet_jax.run.metrics_log WORKDIR`.
"""

import contextlib
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from etils import epath

from googlenet_jax import files
from googlenet_jax.writers import TensorBoard, Writer


def read(workdir: epath.Path) -> list[dict]:
  """The records in `metrics.jsonl`, none where there is no such file.

  A last line without an end is left out: the run was killed while it wrote it.
  """
  return files.read_lines(workdir / 'metrics.jsonl')


class MetricsLog:
  """Writes the record of a run, a line when it is added.

  An object store cannot append: there `save` writes the whole.

  Args:
    workdir: folder of the run.
    step: step that the run goes on from; later lines of an interrupted run are dropped, since
      they will be measured again. None leaves the file alone.
    active: whether this process writes at all.
    lines: what `read` gave; None reads it.
    writers: what is told of every line too (`writers.WRITERS`).
    titles: titles of the heads in the curves, by name.
    pictures: whether curves are drawn.
  """

  def __init__(
    self,
    workdir: epath.Path,
    step: int | None,
    *,
    active: bool = True,
    lines: list[dict] | None = None,
    writers: Sequence[Callable[[epath.Path], Writer]] = (TensorBoard,),
    titles: Mapping[str, str] = MappingProxyType({}),
    pictures: bool = True,
  ):
    self.lines = read(workdir) if lines is None else lines
    self._workdir, self._path, self._active = workdir, workdir / 'metrics.jsonl', active
    self._remote = '://' in str(workdir)
    self._makers, self._writers = writers, []
    self._titles, self._pictures = titles, pictures
    self.rewind(step)

  def rewind(self, step: int | None) -> None:
    """Drops the lines after a step (None drops none); the writers begin anew."""
    if step is not None:
      self.lines = [line for line in self.lines if line['step'] <= step]
    if not self._active:
      return
    for writer in self._writers:
      writer.close()
    if step is not None:  # a torn line goes too
      self._write()
    self._writers = [make(self._workdir) for make in self._makers]
    for writer in self._writers:
      writer.write(self.lines)

  def add(self, step: int, split: str, **values) -> None:
    """Adds a measurement: `split` is 'train', 'validation', 'test' or one '_averaged'."""
    line = {'step': step, 'split': split, 'time': round(time.time(), 3), **values}
    self.lines.append(line)
    if not self._active:
      return
    if not self._remote:
      with files.written(self._path), open(self._path, 'a') as file:
        file.write(json.dumps(line) + '\n')
    for writer in self._writers:
      writer.write([line])

  def save(self) -> None:
    """Makes sure that all lines are on the disk; to be called before a checkpoint is saved."""
    if self._active and self._remote:
      self._write()
    elif self._active and self._path.exists():
      with files.written(self._path):
        files.settle(self._path)

  def find(self, step: int, split: str) -> dict | None:
    """The last record of a split at a step."""
    found = [line for line in self.lines if (line['step'], line['split']) == (step, split)]
    return found[-1] if found else None

  def close(self) -> None:
    """Draws the curves and closes the writers."""
    if not self._active:
      return
    self.save()
    if self.lines and self._pictures:
      from googlenet_jax import plots  # Matplotlib: a second, in which the first step is done

      files.write(self._workdir / 'curves.png', plots.curves(self.lines, self._titles))
    for writer in self._writers:
      writer.close()

  def _write(self):
    files.write(self._path, ''.join(json.dumps(line) + '\n' for line in self.lines))


if __name__ == '__main__':
  if len(sys.argv) != 2 or not (epath.Path(sys.argv[1]) / 'metrics.jsonl').exists():
    print('error: give one folder that holds metrics.jsonl', file=sys.stderr)
    sys.exit(2)
  from googlenet_jax import losses
  from googlenet_jax.errors import InputError
  from googlenet_jax.run import workdirs

  folder, titles, writers = epath.Path(sys.argv[1]), {}, (TensorBoard,)
  try:
    with contextlib.ExitStack() as stack:
      try:
        stack.enter_context(workdirs.locked(folder))
      except workdirs.Busy:  # the run that is at work there writes its own, and loses no line
        writers = ()
      if (folder / workdirs.NETWORK).exists():
        titles = losses.head_titles(workdirs.network(folder).create())
      MetricsLog(folder, None, writers=writers, titles=titles).close()
  except InputError as error:
    print(f'error: {error}', file=sys.stderr)
    sys.exit(2)
