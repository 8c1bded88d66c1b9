"""The only file that knows how work is spread over devices (pmap).

Arrays are replicated over all devices of all processes; a step runs on every device over
its own part of the batch, and what it returns is the same on each.
"""

from collections.abc import Callable

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

AXIS = 'batch'  # the mapped axis: its size is the number of devices of all processes


def replicate(tree):
  """Puts a tree of host arrays (the same in every process) on every device."""
  mesh = Mesh(np.array(jax.devices()), (AXIS,))
  sharding = NamedSharding(mesh, PartitionSpec())
  return jax.tree.map(
    lambda x: jax.make_array_from_callback(np.shape(x), sharding, np.asarray(x).__getitem__), tree
  )


def fetch(tree):
  """A replicated tree as numpy arrays; waits for it."""
  return jax.tree.map(lambda x: np.asarray(x.addressable_data(0)), tree)


def compile_step(step: Callable) -> Callable:
  """Maps `step(carry, fed, *replicated) -> carry` over all devices.

  Args:
    step: pure; may use collectives over `AXIS`. `carry` and the other arguments are
      replicated, `fed` is this device's part of the host's arrays, `()` for none. The
      result must be the same on every device.

  Returns:
    The compiled function, which takes `fed` with a leading axis of this process's devices
    and destroys the `carry` that it is given.
  """

  def mapped(carry, fed_and_device, *replicated):
    return step(carry, fed_and_device[0], *replicated)

  compiled = {}  # pmap wants the number of arguments beforehand

  def call(carry, fed, *replicated):
    if len(replicated) not in compiled:
      in_axes = (None, 0, *(None for _ in replicated))
      compiled[len(replicated)] = jax.pmap(
        mapped, axis_name=AXIS, in_axes=in_axes, out_axes=None, donate_argnums=0
      )
    # pmap wants one mapped argument, also where the host feeds nothing.
    devices = np.zeros(jax.local_device_count(), np.int8)
    return compiled[len(replicated)](carry, (fed, devices), *replicated)

  return call


def positions(start: jax.Array, batch_size: int) -> jax.Array:
  """This device's part `[B]` of the global positions from `start` on; in a step only."""
  share = batch_size // jax.lax.axis_size(AXIS)
  first = start + jax.lax.axis_index(AXIS).astype(start.dtype) * share
  return first + jax.numpy.arange(share, dtype=start.dtype)
