"""Which GPUs a process of a cluster uses, by the variables that SLURM and Open MPI give it."""

import os
import re
import subprocess
import sys

import jax
import pytest

from googlenet_jax import cluster
from googlenet_jax.errors import InputError

FOUR = '0,1,2,3'


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch):
  for name in list(os.environ):
    if re.match('SLURM|OMPI|JAX_LOCAL|(CUDA|ROCR|HIP)_VISIBLE', name):
      monkeypatch.delenv(name)


@pytest.fixture
def asked(monkeypatch):
  """What `jax.distributed.initialize` is called with, instead of being called."""
  calls = []
  monkeypatch.setattr(jax.distributed, 'initialize', lambda *args, **_: calls.append(args))
  return calls


def slurm(counts, rank, host=0, **others):
  names = {'SLURM_STEP_NUM_TASKS': 8, 'SLURM_LOCALID': rank, 'SLURM_NODEID': host}
  return names | {'SLURM_STEP_TASKS_PER_NODE': counts} | others


def ompi(size, rank, **others):
  names = {'OMPI_COMM_WORLD_SIZE': 8, 'OMPI_COMM_WORLD_LOCAL_RANK': rank}
  return names | {'OMPI_COMM_WORLD_LOCAL_SIZE': size} | others


def visible(gpus):
  return {'CUDA_VISIBLE_DEVICES': gpus}


@pytest.mark.parametrize(
  ('environment', 'devices'),
  [
    (slurm('1(x8)', 0, 5, **visible(FOUR), SLURM_GPUS_ON_NODE=4), []),
    (slurm('1', 0), []),
    (ompi(1, 0), []),
    (ompi(1, 0, **visible(FOUR)), []),
    (slurm('4(x2)', 3, 1, **visible(FOUR), SLURM_GPUS_ON_NODE=4), [3]),
    (ompi(4, 3, **visible(FOUR)), [3]),
    (ompi(4, 3), [3]),
    (slurm('4(x2),3,1', 2, 2), [2]),
    (slurm('4(x2),3,1', 0, 3), []),
    # --gpus-per-task=1: numbered from 0 in a cgroup, or by the host
    (slurm('4(x2)', 3, **visible('0'), SLURM_GPUS_ON_NODE=4), []),
    (slurm('4(x2)', 3, **visible('3'), SLURM_GPUS_ON_NODE=4), []),
    (slurm('4(x2)', 3, ROCR_VISIBLE_DEVICES='0', SLURM_GPUS_ON_NODE=4), []),
    (slurm('2(x4)', 1, **visible('0,1'), SLURM_GPUS_ON_NODE=4), []),  # --gpus-per-task=2
    (slurm('2(x4)', 1, **visible(FOUR), SLURM_GPUS_ON_NODE=4), [2, 3]),
    (ompi(2, 1, **visible('GPU-a,GPU-b')), [1]),
    # mpirun in a SLURM job: the step is that of its helpers, one a host
    (slurm('1(x2)', 0, 1, SLURM_GPUS_ON_NODE=4) | ompi(4, 2, **visible(FOUR)), [2]),
    (slurm('4', 2, JAX_LOCAL_DEVICE_IDS='1'), None),
  ],
)
def test_processes_of_a_host_share_its_gpus(environment, devices, asked, monkeypatch):
  for name, value in environment.items():
    monkeypatch.setenv(name, str(value))
  cluster.join('on')
  assert asked == [(None, None, None, devices)]


def test_devices_that_are_given_count(asked, monkeypatch):
  cluster.join('auto', 'here:1', 4, 2, ['2', '3'])
  cluster.join('auto', 'here:1', 4, 2)
  for name, value in slurm('4', 2).items():
    monkeypatch.setenv(name, str(value))
  cluster.join('auto', devices=['0'])
  assert asked == [('here:1', 4, 2, [2, 3]), ('here:1', 4, 2, None), (None, None, None, [0])]


def test_more_processes_than_gpus(asked, monkeypatch):
  for name, value in slurm('8', 7, **visible(FOUR), SLURM_GPUS_ON_NODE=4).items():
    monkeypatch.setenv(name, str(value))
  with pytest.raises(InputError, match=r'^SLURM: 8 processes share 4 GPUs of this host: start 4$'):
    cluster.join('on')
  assert not asked


@pytest.mark.parametrize('counts', ['', '4(x2)'])
def test_counts_that_do_not_tell(counts, asked, monkeypatch):
  for name, value in slurm(counts, 0, 2).items():
    monkeypatch.setenv(name, str(value))
  with pytest.raises(InputError, match=r'^SLURM: .* give each its own, --local_device_ids=I$'):
    cluster.join('on')
  assert not asked


@pytest.mark.parametrize(('rank', 'shown'), [(0, 'all'), (1, '1')])
def test_jax_hides_what_it_is_told_to(rank, shown):
  # One real process of a SLURM step, joined to itself: what is visible is jax's own setting.
  code = (
    'import jax; from googlenet_jax import cluster; cluster.join("on"); '
    'print(jax.config.read("jax_cuda_visible_devices"))'
  )
  environment = slurm(rank + 1, rank, **visible('0,1'), SLURM_GPUS_ON_NODE=2)
  environment |= {'SLURM_JOB_ID': os.getpid(), 'SLURM_STEP_NODELIST': 'localhost'}
  environment |= {'SLURM_NTASKS': 1, 'SLURM_PROCID': 0}
  environment = os.environ | {name: str(value) for name, value in environment.items()}
  done = subprocess.run(
    [sys.executable, '-c', code], capture_output=True, text=True, check=False, env=environment
  )
  assert done.returncode == 0, done.stderr
  assert done.stdout.split() == [shown]
