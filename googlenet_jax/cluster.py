"""Joins the processes of a cluster, with `jax.distributed`; one process per host or device."""

import contextlib
import glob
import importlib.util
import logging
import os
import re
import sys
import time
from collections.abc import Sequence

import jax

from googlenet_jax import startup
from googlenet_jax.errors import InputError

LOG = logging.getLogger('googlenet_jax')

# A process that ends without a word is missed after so long, seconds; jax's default is 100.
HEARTBEAT = 30

# Name; variables of the count of processes, of this one's rank on its host, and of how many a host
# has: '4' or, host by host, '4(x2),3'. In jax's order: `mpirun` starts helpers with SLURM.
LAUNCHERS = (
  (
    'Open MPI',
    'OMPI_COMM_WORLD_SIZE',
    'OMPI_COMM_WORLD_LOCAL_RANK',
    'OMPI_COMM_WORLD_LOCAL_SIZE',
  ),
  ('SLURM', 'SLURM_STEP_NUM_TASKS', 'SLURM_LOCALID', 'SLURM_STEP_TASKS_PER_NODE'),
)
VISIBLE = ('CUDA_VISIBLE_DEVICES', 'ROCR_VISIBLE_DEVICES', 'HIP_VISIBLE_DEVICES')


def found() -> str:
  """The cluster that started this process as one of several, '' for none."""
  for name, count, *_ in LAUNCHERS:
    if _number(count) > 1:
      return name
  # A pod alone may be anything: `launch/jobset.yaml` names the JobSet.
  if {'KUBERNETES_SERVICE_HOST', 'JOBSET_NAME'} <= set(os.environ):
    return 'a Kubernetes JobSet'
  chips = any(glob.glob(f'/dev/{name}') for name in startup.ACCELERATORS['libtpu'])
  return 'Cloud TPU' if chips and importlib.util.find_spec('libtpu') else ''


def local_devices() -> list[int] | None:
  """Which of the GPUs that it sees this process is to use: `[]` for all, None leaves it to jax.

  jax takes the one numbered by the local rank, even where a process has its host, or what it sees,
  for itself. Here those that all of a host's processes see are shared out among them, one each
  where their number is not told.

  Raises:
    InputError: the launcher does not tell how many processes are on this host, or they are more
      than its GPUs.
  """
  launcher = next((x for x in LAUNCHERS if x[1] in os.environ), None)
  if launcher is None or os.environ.get('JAX_LOCAL_DEVICE_IDS'):
    return None
  name, _, rank, local = launcher
  runs = re.findall(r'(\d+)(?:\(x(\d+)\))?', os.environ.get(local, ''))
  counts = [int(n) for n, times in runs for _ in range(int(times or 1))]
  host, rank = _number('SLURM_NODEID') if len(counts) > 1 else 0, _number(rank)
  if not (host < len(counts) and rank < counts[host]):
    raise InputError(
      f'{name}: {local}={os.environ.get(local, "")!r} does not tell how many processes share the '
      'GPUs of this host: give each its own, --local_device_ids=I'
    )
  processes, there = counts[host], _number('SLURM_GPUS_ON_NODE')
  seen = [len(os.environ[x].split(',')) for x in VISIBLE if os.environ.get(x)]
  seen = min(seen, default=there)
  if 1 < seen == there < processes:
    raise InputError(f'{name}: {processes} processes share {seen} GPUs of this host: start {seen}')
  if processes == 1 or 0 < seen < max(processes, there):
    return []  # the launcher has hidden those of the others
  if seen % processes:
    LOG.warning('WARNING: %d processes share %d GPUs: some stay idle', processes, seen)
  each = max(seen // processes, 1)
  return list(range(rank * each, (rank + 1) * each))


def _number(variable: str) -> int:
  """What an environment variable holds, 0 where it holds no number."""
  text = os.environ.get(variable, '')
  return int(text) if text.isdecimal() else 0


def join(how: str, coordinator='', count=0, index=-1, devices: Sequence[str] = ()) -> None:
  """Joins the cluster; to be called before jax is used.

  Args:
    how: 'auto' joins where one is found or a coordinator is given, 'on' always, 'off' never.
    coordinator: 'host:port' of process 0; '' leaves it to jax, which knows SLURM, Open MPI,
      Kubernetes (with the package `kubernetes`) and Cloud TPU.
    count: number of processes; 0 leaves it to jax.
    index: index of this process; -1 leaves it to jax.
    devices: numbers of this host's GPUs that this process uses; none asks `local_devices`.

  Raises:
    InputError: there is no cluster. Where not all of its processes come, jax itself ends this one,
      after five minutes.
  """
  if not coordinator and (count or index >= 0):
    raise InputError('--process_count and --process_index need --coordinator=HOST:PORT')
  if not all(x.isdecimal() for x in devices) or len(set(devices)) < len(devices):
    ids = ','.join(devices)
    raise InputError(f'--local_device_ids={ids}: write numbers of GPUs, each once: 0 or 0,1')
  if how == 'off' or (how == 'auto' and not (coordinator or found())):
    if coordinator:
      raise InputError(f'--coordinator={coordinator} contradicts --config.distributed=off')
    if devices:
      raise InputError('--local_device_ids is for one of several: alone, CUDA_VISIBLE_DEVICES=I')
    return
  if coordinator and not coordinator.rpartition(':')[2].isdecimal():
    raise InputError(f'--coordinator={coordinator}: write HOST:PORT')
  chosen = list(map(int, devices)) or local_devices()
  try:
    jax.distributed.initialize(
      coordinator or None,
      count or None,
      index if index >= 0 else None,
      chosen,
      # With all of them told, jax need not look for a cluster, which may fail.
      cluster_detection_method='deactivate' if coordinator and count and index >= 0 else None,
      heartbeat_timeout_seconds=HEARTBEAT,
    )
  except (ValueError, RuntimeError) as error:
    if how == 'auto' and found() == 'Cloud TPU' and 'coordinator_address' in str(error):
      return  # chips of one host, of which jax knows no others
    where = found() or 'no cluster was found here'
    raise InputError(
      f'--config.distributed={how} ({where}): {error}; give --coordinator=HOST:PORT, '
      '--process_count=N and --process_index=I, or --config.distributed=off'
    ) from error


def name() -> str:
  """What a person calls this process: '' where there is only one, else 'process 1 of 4: '."""
  count = jax.process_count() if jax.distributed.is_initialized() else 1
  return f'process {jax.process_index()} of {count}: ' if count > 1 else ''


def leave(status: int) -> None:
  """Ends the process after an error, without waiting for threads or other processes.

  They may wait for this one, and jax would wait for them for minutes.
  """
  with contextlib.suppress(OSError):  # nobody may be reading
    sys.stdout.flush()
  if name() and jax.process_index() == 0:
    time.sleep(3)  # jax ends the others once this one is gone: let them say what they have to
  os._exit(status)
