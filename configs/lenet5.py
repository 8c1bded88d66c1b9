"""LeNet-5 (LeCun et al. 1998) on scikit-learn's handwritten digits, enlarged to 32x32.

    python main.py --config=configs/lenet5.py

Reached: 97.22% test top-1 in 11 s on 2 cores (one run, seed 0).
"""

from googlenet_jax import schema
from googlenet_jax.configs import digits


def get_config():
  """See the module's docstring."""
  c = digits.get_config()
  c.model = schema.config().model
  c.model.name = 'lenet5'
  c.dataset.image_size = 32
  return c
