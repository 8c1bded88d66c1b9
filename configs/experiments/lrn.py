r"""Does local response normalisation help where there is no batch norm?

    python main.py --config=configs/experiments/lrn.py --mode=sweep --run \
        --config.dataset.data_dir=DIR

The network without it is that of `heads.py`, at the rate that `rate.py` chose.
"""

from googlenet_jax.configs.experiments import base, heads
from googlenet_jax.evidence import Claim, grid

ARMS = {
  'no batch norm': heads.BARE,
  'LRN': heads.BARE | {'model.norm': 'lrn'},
}


def get_config():
  """See the module's docstring."""
  return base.proxy()


def sweep():
  """Arms by seeds."""
  return grid(ARMS, seeds=3)


def claims():
  """What is said of the normalisation."""
  return [
    Claim(
      'Local response normalisation helps',
      'AlexNet; against it VGG, arXiv 1409.1556',
      'LRN',
      'no batch norm',
      'test_top1',
      'higher',
      1.0,
    ),
  ]
