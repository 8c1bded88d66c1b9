"""Worker processes that decode photos: what they give, and their end."""

import gc
import multiprocessing
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest
from program import ROOT

from googlenet_jax.data import folder, pipeline
from googlenet_jax.errors import InputError

OPTIONS = {'train': True, 'mean': (0.0,), 'std': (1.0,), 'image_size': 16, 'resize_shorter': 20}

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
  try:
    workers = [int(pid) for pid in process.stdout.readline().split()]
    assert len(workers) == 2, process.communicate()
    yield process, workers
  finally:
    process.kill()
    process.communicate()


def ended(pids):
  """Whether all of the processes end within 20 seconds."""
  if not os.path.isdir('/proc'):
    pytest.skip('there is no /proc that tells which processes run')
  for _ in range(200):
    if not any(map(runs, pids)):
      return True
    time.sleep(0.1)
  return False


def runs(pid):
  """Whether there is such a process; one that has ended unnoticed (a zombie) does not count."""
  try:
    return pathlib.Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
  except (FileNotFoundError, ProcessLookupError):
    return False


def changed(two_classes, read):
  """The photos, of which `read(records, index)` makes what is read."""
  records = folder.records(str(two_classes), 'all')
  return records._replace(read=lambda index: read(records, index))


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


def test_a_worker_that_ends_is_an_error_of_one_line(two_classes):
  data = pipeline.streamed(folder.records(str(two_classes), 'all'), workers=2, **OPTIONS)
  data.feed(0, 1, 8)
  for child in multiprocessing.active_children():
    child.kill()
  with pytest.raises(InputError, match=r'dataset\.workers=2: one of them has ended'):
    data.feed(1, 40, 8)
  data.close()


def test_an_error_of_a_worker_is_that_of_a_thread(two_classes):
  def read(records, index):
    raise InputError(f'record {index} has label -1')

  data = pipeline.streamed(changed(two_classes, read), workers=2, **OPTIONS)
  with pytest.raises(InputError, match=r'^record \d+ has label -1'):
    data.feed(0, 1, 8)
  data.close()


def test_a_set_that_no_worker_can_be_sent_is_refused(two_classes):
  lock = threading.Lock()

  def read(records, index):
    with lock:
      return records.read(index)

  data = pipeline.streamed(changed(two_classes, read), workers=2, **OPTIONS)
  with pytest.raises(InputError, match=r'sent to them .*lock.*: use 0'):
    data.feed(0, 1, 8)
  data.close()


def test_workers_of_a_pipeline_that_is_dropped_end(two_classes):
  data = pipeline.streamed(folder.records(str(two_classes), 'all'), workers=2, **OPTIONS)
  data.feed(0, 2, 8)  # one of each
  workers = [child.pid for child in multiprocessing.active_children()]
  assert len(workers) == 2
  del data
  gc.collect()
  assert ended(workers)
