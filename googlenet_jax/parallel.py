"""The only file that knows how work is spread over devices (pmap).

Arrays are replicated over all devices of all processes; a step runs on every device over
its own part of the batch, and what it returns is the same on each.
"""

import concurrent.futures
import functools
import hashlib
import json
import resource
import sys
from collections.abc import Callable, Collection
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from googlenet_jax.errors import InputError

AXIS = 'batch'  # the mapped axis: its size is the number of devices of all processes


def replicated() -> NamedSharding:
  """The sharding of an array that is whole on every device of every process."""
  # pmap's order of the devices: by process.
  devices = [x for i in range(jax.process_count()) for x in jax.local_devices(process_index=i)]
  return NamedSharding(Mesh(np.array(devices), (AXIS,)), PartitionSpec())


def by_device() -> NamedSharding:
  """The sharding of what the host feeds: a leading axis over this process's devices."""
  return NamedSharding(Mesh(np.array(jax.local_devices()), (AXIS,)), PartitionSpec(AXIS))


def replicate(tree):
  """Puts a tree of host arrays (the same in every process) on every device."""
  sharding = replicated()
  return jax.tree.map(
    lambda x: jax.make_array_from_callback(np.shape(x), sharding, np.asarray(x).__getitem__), tree
  )


def replicated_shapes(tree):
  """What `replicate` would make of a tree of arrays or shapes, without values."""
  shape = functools.partial(jax.ShapeDtypeStruct, sharding=replicated())
  return jax.tree.map(lambda x: shape(x.shape, x.dtype), tree)


def run_once(function: Callable, *arguments):
  """What a function returns, compiled for this one call.

  On a CPU without optimisation, which changes no value: optimisation takes 7 of the 10 seconds of
  the digits' initial parameters.
  """
  cpu = jax.default_backend() == 'cpu'
  options = {'xla_backend_optimization_level': 0} if cpu else None
  return jax.jit(function, compiler_options=options)(*arguments)


def fetch(tree):
  """A replicated tree as numpy arrays; waits for it."""
  return jax.tree.map(lambda x: np.asarray(x.addressable_data(0)), tree)


class MappedStep:
  """`step(carry, host_batch, *others) -> carry` over all devices, compiled by its first call.

  Args:
    step: pure; may use collectives over `AXIS`. `carry` and `others` are replicated, `host_batch`
      is this device's part of the host's arrays, `()` for none. The result must be the same
      on every device.
    arguments: number of `others`.
    devices: devices to be lowered for, which need not be here; None for all that are.

  A call takes `host_batch` with a leading axis of this process's devices, and destroys the `carry`
  that it is given.
  """

  def __init__(self, step: Callable, arguments: int, devices: list | None = None):
    # pmap wants one mapped argument, also where the host feeds nothing.
    count = jax.local_device_count() if devices is None else len(devices)
    self._indices = np.zeros(count, np.int8)
    self._compiling = None
    self._mapped = jax.pmap(
      lambda carry, fed_and_index, *others: step(carry, fed_and_index[0], *others),
      axis_name=AXIS,
      in_axes=(None, 0, *(None for _ in range(arguments))),
      out_axes=None,
      donate_argnums=0,
      devices=devices,
    )

  def __call__(self, carry, host_batch, *others):
    if self._compiling:
      self._compiling.result()
      self._compiling = None
    return self._mapped(carry, (host_batch, self._indices), *others)

  def compile_ahead(self, carry, *others) -> None:
    """Begins to compile it in a thread; the first call, and the program's end, wait for that.

    Args:
      carry, others: arguments of the call, or what `replicated_shapes` makes of them; its
        `host_batch` is `()`. A call with other shapes compiles again.
    """
    thread = concurrent.futures.ThreadPoolExecutor(1)
    self._compiling = thread.submit(lambda: self.lower(carry, (), *others).compile())
    thread.shutdown(wait=False)

  def lower(self, carry, host_batch, *others) -> jax.stages.Lowered:
    """Lowered from the shapes of its arguments."""
    return self._mapped.lower(carry, (host_batch, self._indices), *others)


def from_main(function: Callable[[], Any]):
  """Calls a function in process 0 and broadcasts what it returns, or its InputError.

  Args:
    function: called in the main process only; what it returns has to be what JSON can hold.
  """
  if jax.process_count() == 1:
    return function()
  message = b''
  if is_main():
    try:
      message = json.dumps({'returns': function()}).encode()
    except InputError as error:
      message = json.dumps({'raises': str(error)}).encode()
  # The length first: all processes have to broadcast arrays of the same shape.
  size = int(multihost_utils.broadcast_one_to_all(np.int32(len(message))))
  padded = np.frombuffer(message.ljust(size), np.uint8)
  outcome = json.loads(np.asarray(multihost_utils.broadcast_one_to_all(padded)).tobytes())
  if 'raises' in outcome:
    raise InputError(outcome['raises'])
  return outcome['returns']


def check_equal(what: str, text: str) -> None:
  """Checks that all processes have the same text; those that differ might wait for ever.

  Args:
    what: what the text is, for the error.
    text: this process's text.

  Raises:
    InputError: in every process, if the text of any differs from that of process 0.
  """
  if jax.process_count() == 1:
    return
  digest = np.frombuffer(hashlib.blake2b(text.encode(), digest_size=8).digest(), np.uint8)
  digests = multihost_utils.process_allgather(digest)
  if odd := np.flatnonzero((digests != digests[0]).any(axis=-1)).tolist():
    raise InputError(
      f'{what}: not the same in process {", ".join(map(str, odd))} as in process 0: start all '
      'of them with the same command, code and data'
    )


def union(numbers: Collection[int]) -> set[int]:
  """The union of all processes' numbers (from 0 on); every process has to call it."""
  if jax.process_count() == 1:
    return set(numbers)
  most = int(multihost_utils.process_allgather(np.int32(len(numbers))).max())
  padded = np.pad(np.array(list(numbers), np.int32), (0, most - len(numbers)), constant_values=-1)
  return set(multihost_utils.process_allgather(padded).ravel().tolist()) - {-1}


def agreed_to_stop(asked: int) -> bool:
  """Whether all processes stop here, since one of them got SIGTERM.

  Args:
    asked: number of calls so far, this one included; the same in every process.
  """
  return multihost_utils.reached_preemption_sync_point(asked)


def is_main() -> bool:
  """Whether this is the process that writes text and pictures."""
  return jax.process_index() == 0


def several_processes() -> bool:
  """Whether other processes take part."""
  return jax.process_count() > 1


def describe() -> str:
  """The devices, for a person: '8 x TPU v5 lite'."""
  return f'{jax.device_count()} x {jax.devices()[0].device_kind}'


def peak_memory() -> float:
  """Peak memory in MB: of an accelerator, or of this process on a CPU."""
  stats = jax.local_devices()[0].memory_stats()
  if stats and 'peak_bytes_in_use' in stats:
    return stats['peak_bytes_in_use'] / 1e6
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB; bytes on macOS
  return peak / 1e6 if sys.platform == 'darwin' else peak * 1024 / 1e6


def positions(start: jax.Array, batch_size: int) -> jax.Array:
  """This device's part `[B]` of the global positions from `start` on; in a step only."""
  share = batch_size // jax.lax.axis_size(AXIS)
  first = start + jax.lax.axis_index(AXIS).astype(start.dtype) * share
  return first + jnp.arange(share, dtype=start.dtype)
