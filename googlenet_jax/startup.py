"""What has to be set before jax is first used, for it to be fast."""

import ctypes
import gc
import importlib.util
import logging
import os
import pathlib
import sys

LOG = logging.getLogger('googlenet_jax')

# XLA:CPU gives convolutions to YNNPACK, with which a training step takes twice as long as with
# Eigen (docs/speed.md); products and sums stay with YNNPACK. Nothing but a CPU reads it.
XLA_FLAG = '--xla_cpu_experimental_ynn_fusion_type=-individual_convolution'

# Settings of glibc's malloc, by the variables that a person sets them with, and their numbers in
# malloc.h. XLA:CPU allocates a step's arrays anew and gives them back to the system at its end;
# the pages that it gets then are cleared one by one, a tenth to a fifth of a step's time
# (docs/speed.md). So: no mapping of its own for a large array, and nothing given back, not even a
# thread's whole heap. Arrays of over 64 MB are kept in the heap of the first thread alone.
MALLOC = {
  'MALLOC_MMAP_MAX_': (-4, 0),
  'MALLOC_TRIM_THRESHOLD_': (-1, -1),  # never
  'MALLOC_TOP_PAD_': (-2, 1 << 28),  # bytes; more than a thread's heap
}

# Devices of accelerators under /dev, by the package that jax uses them with.
ACCELERATORS = {'jax_plugins': ('nvidia[0-9]*', 'kfd'), 'libtpu': ('accel[0-9]*', 'vfio/[0-9]*')}

# New objects after which Python looks for garbage. A trace makes hundreds of thousands that stay,
# and with Python's own 700 (2,000 from 3.13 on) an eighth of its time goes into looking at them
# (docs/speed.md). Garbage that is freed only so, in cycles, stays longer meanwhile.
NEW_OBJECTS = 10_000


def prepare() -> None:
  """Makes all settings, which act only before jax is first used."""
  set_xla_flags()
  keep_memory()
  collect_seldom()


def collect_seldom() -> None:
  """Looks for garbage after `NEW_OBJECTS`, unless that is later already, or never."""
  young, *older = gc.get_threshold()
  if 0 < young < NEW_OBJECTS:  # 0: never
    gc.set_threshold(NEW_OBJECTS, *older)


def keep_memory() -> None:
  """Keeps freed memory for the next step of a CPU, where malloc is glibc's.

  What a person set of malloc stays. On one device a step then runs in the thread that calls it: if
  that is the first one, its arrays are kept, of any size; jax's own threads could not keep them.
  """
  import jax

  mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
  if not mallopt or (os.environ.get('JAX_PLATFORMS') != 'cpu' and accelerator()):
    return
  jax.config.update('jax_cpu_enable_async_dispatch', False)
  for name, (number, value) in MALLOC.items():
    if name not in os.environ:
      mallopt(number, value)


def accelerator() -> bool:
  """Whether jax will find an accelerator, told without starting it."""
  devices = pathlib.Path('/dev')
  return any(
    importlib.util.find_spec(package) and any(any(devices.glob(name)) for name in names)
    for package, names in ACCELERATORS.items()
  )


def xla_flags() -> str:
  """The variable XLA_FLAGS with ours added; what it says of the same setting stays."""
  given = os.environ.get('XLA_FLAGS', '')
  return given if XLA_FLAG.split('=')[0] in given else f'{given} {XLA_FLAG}'.strip()


def set_xla_flags() -> None:
  """Sets the variable XLA_FLAGS; warns where jax has started without ours."""
  flags = xla_flags()
  if flags == os.environ.get('XLA_FLAGS'):
    return
  # jax has no public name for whether it has started.
  bridge = sys.modules.get('jax._src.xla_bridge')
  if bridge and bridge.backends_are_initialized():
    LOG.warning(
      "WARNING: jax was used before googlenet_jax: training on a CPU is slow; set XLA_FLAGS='%s'",
      flags,
    )
  os.environ['XLA_FLAGS'] = flags
