"""Joins the processes of a cluster, with `jax.distributed`; one process a host, or a device."""

import contextlib
import glob
import importlib.util
import os
import sys
import time

import jax

from googlenet_jax.errors import InputError

# A process that ends without a word is missed after so long, seconds; jax's default is 100.
HEARTBEAT = 30


def found() -> str:
  """The cluster that started this process as one of several, '' for none."""
  for name, count in (('SLURM', 'SLURM_STEP_NUM_TASKS'), ('Open MPI', 'OMPI_COMM_WORLD_SIZE')):
    number = os.environ.get(count, '')
    if number.isdigit() and int(number) > 1:
      return name
  # A pod alone may be anything: `launch/jobset.yaml` names the JobSet.
  if {'KUBERNETES_SERVICE_HOST', 'JOBSET_NAME'} <= set(os.environ):
    return 'a Kubernetes JobSet'
  chips = glob.glob('/dev/accel[0-9]*') + glob.glob('/dev/vfio/[0-9]*')
  return 'Cloud TPU' if chips and importlib.util.find_spec('libtpu') else ''


def join(how: str, coordinator: str = '', count: int = 0, index: int = -1) -> None:
  """Joins the cluster; to be called before jax is used.

  Args:
    how: 'auto' joins where one is found or a coordinator is given, 'on' always, 'off' never.
    coordinator: 'host:port' of process 0; '' leaves it to jax, which knows SLURM, Open MPI,
      Kubernetes (with the package `kubernetes`) and Cloud TPU.
    count: of processes; 0 leaves it to jax.
    index: of this one; -1 leaves it to jax.

  Raises:
    InputError: there is no cluster, or not all of its processes come.
  """
  if not coordinator and (count or index >= 0):
    raise InputError('--process_count and --process_index need --coordinator=HOST:PORT')
  if how == 'off' or (how == 'auto' and not (coordinator or found())):
    if coordinator:
      raise InputError(f'--coordinator={coordinator} contradicts --config.distributed=off')
    return
  if coordinator and not coordinator.rpartition(':')[2].isdigit():
    raise InputError(f'--coordinator={coordinator}: write HOST:PORT')
  try:
    jax.distributed.initialize(
      coordinator or None,
      count or None,
      index if index >= 0 else None,
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
    time.sleep(1)  # jax ends the others once this one is gone: let them say what they have to
  os._exit(status)
