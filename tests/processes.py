"""Runs of the program in several processes on this machine, over loopback, and what they leave."""

import contextlib
import pathlib
import random
import re
import signal
import socket

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from program import Program

from googlenet_jax.checkpoint import Checkpoints
from googlenet_jax.run import metrics_log

# A small network with synchronised batch norm: what several processes must agree on.
CONFIG = """
from configs import default


def get_config():
  c = default.get_config()
  c.model.name, c.model.fields = 'resnet20', {'blocks': (1,), 'features': 8}
  c.train.sync_batch_norm = True
  c.train.batch_size = 24
  c.average.name = 'ema'
  c.eval.batch_size = 16
  c.log.every = '1 steps'
  return c


def sweep():
  return [{'optimizer.lr': lr} for lr in (0.1, 0.01)]
"""
DIGITS = ('--config.dataset.train=train[:64]', '--config.dataset.test=', '--config.augment.pad=1')
SCORED = ('--config.dataset.validation=train[1200:1237]', '--config.dataset.test=test[:50]')


def photos(folder):
  """Arguments of a run on a folder of photos, decoded as they are used."""
  return (
    '--config.dataset.name=folder',
    '--config.dataset.in_memory=False',
    f'--config.dataset.data_dir={folder}',
    '--config.dataset.train=all[:60%]',
    '--config.dataset.test=',
    '--config.dataset.image_size=16',
    '--config.augment.area=(0.25, 1.0)',
    '--config.augment.flip=True',
  )


def free_port() -> int:
  """A port that nobody uses, of those that the system gives to no one who asks for any."""
  for port in random.sample(range(10_000, 32_000), 100):
    with socket.socket() as tried, contextlib.suppress(OSError):
      tried.bind(('127.0.0.1', port))
      return port
  raise AssertionError('100 ports are in use')


class Job:
  """The processes of a run; killed after five minutes.

  Args:
    count: number of processes.
    workdir: folder of the run; `config.py` is written beside it.
    arguments: flags.
    last: further flags of the last process.
    config: text of the config file.
    devices: number of devices of each process.
  """

  LIMIT = 300.0  # seconds

  def __init__(
    self,
    count: int,
    workdir: pathlib.Path,
    *arguments: str,
    last: tuple[str, ...] = (),
    config=CONFIG,
    devices: int = 1,
  ):
    file = workdir.parent / 'config.py'
    file.write_text(config)
    port = free_port()
    self.processes = []
    for i in range(count):
      several = []
      if count > 1:
        several = [f'--coordinator=127.0.0.1:{port}', f'--process_count={count}']
        several += [f'--process_index={i}', *(last if i == count - 1 else ())]
      self.processes.append(
        Program(
          f'--config={file}',
          *arguments,
          f'--workdir={workdir}',
          *several,
          limit=self.LIMIT,
          cwd=pathlib.Path(__file__).parent,  # where `slow.py` lies
          JAX_NUM_CPU_DEVICES=str(devices),
        )
      )

  def wait_for(self, pattern: str) -> str:
    """Reads what the main process says until a line matches; returns the line."""
    said = ''
    for line in self.processes[0].stdout:
      said += line
      if re.match(pattern, line):
        return line
    raise AssertionError(f'{pattern!r} was not said: {said}{self.processes[0].communicate()}')

  def finish(self) -> list[tuple[int, str, str]]:
    """Status, output and errors of each process."""
    said = [process.communicate() for process in self.processes]
    return [(p.returncode, *x) for p, x in zip(self.processes, said, strict=True)]

  def send(self, index: int, signum: signal.Signals) -> None:
    """Sends a signal to one of the processes."""
    self.processes[index].send_signal(signum)


def run(count: int, workdir: pathlib.Path, *arguments: str, **fields) -> list[dict]:
  """A run to its end; its records."""
  for status, output, errors in Job(count, workdir, *arguments, **fields).finish():
    assert status == 0, output + errors
  return metrics_log.read(epath.Path(workdir))


def arrays(workdir: pathlib.Path, item: str) -> dict:
  """A part of the state in the last checkpoint, 'params' say, as numpy arrays."""
  step = Checkpoints(epath.Path(workdir)).latest()
  folder = workdir / 'checkpoints' / str(step) / item
  with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as reader:
    tree = reader.metadata(folder).item_metadata.tree
    kinds = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
    return reader.restore(folder, args=ocp.args.PyTreeRestore(restore_args=kinds))


def losses(lines: list[dict]) -> dict[int, float]:
  """The training loss by step, of records."""
  return {line['step']: line['loss'] for line in lines if line['split'] == 'train'}
