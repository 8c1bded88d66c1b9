"""Worker processes that decode photos: what they give, and their end."""

import os
import signal
import subprocess
import sys
import time

import pytest
from program import ROOT

# Feeds until SIGINT; the first line are the ids of the workers.
PROGRAM = """
import itertools, multiprocessing, signal, sys
from googlenet_jax.data import folder, pipeline

if __name__ == '__main__':  # a worker imports this file too
  asked = []
  signal.signal(signal.SIGINT, lambda *_: asked.append(1))
  records = folder.records(sys.argv[1], 'all')
  options = {'mean': (0.0,), 'std': (1.0,), 'image_size': 16, 'resize_shorter': 20}
  data = pipeline.streamed(records, train=True, workers=2, **options)
  for step in itertools.count():
    data.feed(step, 1, 8)
    if step == 3:
      print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    if asked:
      break
  data.close()
"""


@pytest.fixture
def running(two_classes, tmp_path):
  """The program, feeding, at the head of a group of processes; and the ids of its workers."""
  file = tmp_path / 'feeds.py'
  file.write_text(PROGRAM)
  # One device, whatever the tests have.
  env = os.environ | {'PYTHONPATH': str(ROOT), 'XLA_FLAGS': '', 'JAX_NUM_CPU_DEVICES': '1'}
  process = subprocess.Popen(
    [sys.executable, str(file), str(two_classes)],
    start_new_session=True,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    env=env,
    text=True,
  )
  workers = [int(pid) for pid in process.stdout.readline().split()]
  assert len(workers) == 2
  yield process, workers
  process.kill()
  process.communicate()


def ended(pids):
  """Whether all of the processes end within 20 seconds."""
  for _ in range(200):
    if not any(os.path.exists(f'/proc/{pid}') for pid in pids):
      return True
    time.sleep(0.1)
  return False


def test_a_signal_to_all_processes_leaves_their_end_to_the_first(running):
  process, workers = running
  os.killpg(process.pid, signal.SIGINT)
  assert process.communicate(timeout=60) == ('', '')
  assert process.returncode == 0
  assert ended(workers)


def test_workers_of_a_killed_process_end(running):
  process, workers = running
  process.kill()
  assert ended(workers)
