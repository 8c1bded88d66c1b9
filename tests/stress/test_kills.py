"""SIGKILL at random moments of a run on the digits: every one of them goes on bit for bit.

    python -m pytest -s tests/stress/test_kills.py

25 moments, ten of them while a checkpoint is being written; about 15 minutes on two cores.
"""

import json
import random
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from etils import epath
from processes import arrays
from program import ROOT
from tfevents import events

from googlenet_jax.run import metrics_log

TIMES = ('time', 'seconds', 'images_per_second', 'input_wait')
ITEMS = ('params', 'batch_stats', 'opt_state', 'average', 'log_sums', 'nonfinite')
COMMAND = [
  sys.executable,
  str(ROOT / 'main.py'),
  '--config=configs/digits.py',
  '--config.train.duration=6 epochs',
  '--config.eval.every=10 steps',
  '--config.log.every=7 steps',
  '--config.average.name=ema',
]


def start(workdir):
  return subprocess.Popen(
    [*COMMAND, f'--workdir={workdir}'],
    stdout=subprocess.DEVNULL,
    stderr=subprocess.PIPE,
    text=True,
    cwd=ROOT,
  )


def finish(workdir):
  running = start(workdir)
  errors = running.communicate()[1]
  assert running.returncode == 0, errors


def history(workdir):
  lines = metrics_log.read(epath.Path(workdir))
  return [{name: x for name, x in line.items() if name not in TIMES} for line in lines]


def scalars(workdir):
  """(tag, step, value) of all that the event files hold, but for times."""
  found = [(x.tag, e.step, x.simple_value) for e in events(workdir) for x in e.summary.value]
  return [x for x in found if x[0].rpartition('/')[2] not in TIMES]


def left(workdir):
  summary = json.loads((workdir / 'summary.json').read_text())
  scores = {name: summary[name] for name in summary if 'top' in name or 'loss' in name}
  state = {item: arrays(workdir, item) for item in ITEMS}
  return (
    state,
    history(workdir),
    scalars(workdir),
    scores | {'step': summary['tested_step']},
  )


@pytest.fixture(scope='module')
def straight(tmp_path_factory):
  """A run that nothing happened to, the second: its programs were compiled already."""
  for name in ('first', 'straight'):
    workdir, began = tmp_path_factory.mktemp(name) / 'run', time.monotonic()
    finish(workdir)
    seconds = time.monotonic() - began
  state, lines, recorded, scores = left(workdir)
  assert recorded and len(recorded) == len({(tag, step) for tag, step, _ in recorded})
  assert len(lines) == len({(line['step'], line['split']) for line in lines})
  return (state, lines, recorded, scores), seconds


@pytest.mark.parametrize('moment', range(25))
def test_killed_at_any_moment_the_run_ends_the_same(straight, tmp_path, moment):
  expected, seconds = straight
  rng, workdir = random.Random(moment), tmp_path / 'run'
  running = start(workdir)
  if moment < 15:
    time.sleep(rng.uniform(0, seconds))
  else:  # in the midst of the n-th checkpoint
    wanted = f'{10 * rng.randint(1, 11)}.orbax-checkpoint-tmp*'
    while running.poll() is None and not list(workdir.glob(f'checkpoints/{wanted}')):
      time.sleep(0.001)
    time.sleep(rng.uniform(0, 0.1))
  running.kill()
  running.communicate()
  there = [path.name for path in workdir.glob('checkpoints/*')]
  print(f'\n{moment}: killed ({running.returncode}) with {there}')
  finish(workdir)
  found = left(workdir)
  jax.tree.map(np.testing.assert_array_equal, found[0], expected[0])
  assert found[1:] == expected[1:]
