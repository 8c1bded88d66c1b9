r"""Do stacked 3x3 convolutions beat one 5x5, and is the ReLU after a reduction needed?

    python main.py --config=configs/experiments/kernels.py --mode=sweep --run \
        --config.dataset.data_dir=DIR

Each arm changes one thing in all modules; their channels stay.
"""

from googlenet_jax.configs.experiments import base
from googlenet_jax.evidence import Claim, grid

ARMS = {
  'base': {},
  '3x3 for 5x5': {'model.kernel_5x5': 3},
  'two 3x3 for 5x5': {'model.fields': {'stacked': True}},
  'no ReLU after reductions': {'model.fields': {'reduction_relu': False}},
}
SAID = 'said of VGG everywhere; arXiv 1512.00567, section 3.1, has them cheaper without loss'


def get_config():
  """See the module's docstring."""
  return base.proxy()


def sweep():
  """Arms by seeds."""
  return grid(ARMS, seeds=3, more={'base': 5})


def claims():
  """What is said of kernels and of the nonlinearity."""
  return [
    Claim('Two 3x3 beat one 5x5', SAID, 'two 3x3 for 5x5', 'base', 'test_top1', 'higher', 1.0),
    Claim(
      'A 3x3 does as well as a 5x5',
      "torchvision's GoogLeNet",
      '3x3 for 5x5',
      'base',
      'test_top1',
      'equal',
      1.0,
    ),
    Claim(
      'The ReLU after reductions helps',
      'arXiv 1409.4842, section 4',
      'no ReLU after reductions',
      'base',
      'test_top1',
      'lower',
      1.0,
    ),
  ]
