"""What makes a process fast on a CPU, most of it to be in the environment before it starts."""

import ctypes
import os
import sys

# XLA:CPU gives convolutions to YNNPACK, whose gradients take up to ten times as long as
# Eigen's; dots and sums stay with YNNPACK. Nothing but a CPU reads it.
XLA_FLAG = '--xla_cpu_experimental_ynn_fusion_type=-individual_convolution'
# A step's gigabyte of temporaries comes from malloc, which by default returns it to the system
# after each step and has it back page by page: keep it, on one heap.
MALLOC = ':'.join(
  f'glibc.malloc.{name}' for name in ('arena_max=1', 'mmap_max=0', f'trim_threshold={10**12}')
)


def environment() -> dict[str, str]:
  """This process's environment with the settings added; what was set by hand stays."""
  given = dict(os.environ)
  if XLA_FLAG.split('=')[0] not in given.get('XLA_FLAGS', ''):
    given['XLA_FLAGS'] = f'{given.get("XLA_FLAGS", "")} {XLA_FLAG}'.strip()
  if sys.platform == 'linux':
    given.setdefault('GLIBC_TUNABLES', MALLOC)
  return given


def restart() -> None:
  """Runs the program again in `environment()`, unless it runs in it: malloc reads it once."""
  wanted = environment()
  if wanted != dict(os.environ):
    os.execve(sys.executable, sys.orig_argv, wanted)


def trim() -> None:
  """Returns to the system what compiling and the first steps left free in malloc's heap."""
  release = getattr(ctypes.CDLL(None), 'malloc_trim', None) if sys.platform == 'linux' else None
  if release:  # glibc's alone
    release(0)
