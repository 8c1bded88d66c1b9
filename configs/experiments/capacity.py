r"""Do many parameters overfit?

    python main.py --config=configs/experiments/capacity.py --mode=sweep --run \
        --config.dataset.data_dir=DIR

Widths from an eighth to the paper's on 5,000 images.
"""

from googlenet_jax.configs.experiments import base
from googlenet_jax.evidence import Claim, grid

ARMS = {
  'base': {},
  'width 0.125': {'model.width': 0.125},
  'width 0.5': {'model.width': 0.5},
  'width 1': {'model.width': 1.0},
}
SAID = 'arXiv 1409.4842, section 3; against it arXiv 1611.03530, Table 1'


def get_config():
  """See the module's docstring."""
  return base.few_images()


def sweep():
  """Arms by seeds."""
  return grid(ARMS, seeds=3, more={'base': 5})


def claims():
  """What is said of size."""
  return [
    Claim(
      'Sixteen times the parameters do worse on few images',
      SAID,
      'width 1',
      'base',
      'test_top1',
      'lower',
      1.0,
    ),
    Claim('Fewer parameters overfit less', SAID, 'width 0.125', 'base', 'gap', 'lower', 1.0),
  ]
