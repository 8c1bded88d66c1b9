"""What has to be set before jax is first used, for it to be fast on a CPU."""

import os

# XLA:CPU gives convolutions to YNNPACK, whose gradients take up to five times as long as Eigen's
# (README, "Speed"); products and sums stay with YNNPACK. Nothing but a CPU reads it.
XLA_FLAG = '--xla_cpu_experimental_ynn_fusion_type=-individual_convolution'


def xla_flags() -> str:
  """The variable XLA_FLAGS with ours added; what it says of the same setting stays."""
  given = os.environ.get('XLA_FLAGS', '')
  return given if XLA_FLAG.split('=')[0] in given else f'{given} {XLA_FLAG}'.strip()
