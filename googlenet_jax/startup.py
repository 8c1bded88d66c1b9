"""What has to be set before jax is first used, for it to be fast on a CPU."""

import logging
import os
import sys

LOG = logging.getLogger('googlenet_jax')

# XLA:CPU gives convolutions to YNNPACK, whose gradients take up to five times as long as Eigen's
# (README, "Speed"); products and sums stay with YNNPACK. Nothing but a CPU reads it.
XLA_FLAG = '--xla_cpu_experimental_ynn_fusion_type=-individual_convolution'


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
