r"""What do the 1x1 reductions cost, and what do they save?

    python main.py --config=configs/experiments/reductions.py --mode=sweep --run \
        --config.dataset.data_dir=DIR

Modules without reductions (Figure 2a) at equal multiply-adds, 26.3 M an image against 27.0, where
the narrower network has a narrower stem too; and at equal filters.
"""

from googlenet_jax.configs.experiments import base
from googlenet_jax.evidence import Claim, grid

ARMS = {
  'base': {},
  'naive, equal multiply-adds': {'model.module': 'naive', 'model.width': 0.0625},
  'half width': {'model.width': 0.125},
  'naive, half width': {'model.module': 'naive', 'model.width': 0.125},
}
PAPER = 'arXiv 1409.4842, section 4'


def get_config():
  """See the module's docstring."""
  return base.proxy()


def sweep():
  """Arms by seeds."""
  return grid(ARMS, seeds=3, more={'base': 5})


def claims():
  """What is said of the reductions."""
  return [
    Claim(
      'Reductions cut the cost at no loss',
      f'{PAPER}; arXiv 1512.00567, principle 3',
      'half width',
      'naive, half width',
      'test_top1',
      'equal',
      1.0,
    ),
    Claim(
      'At equal cost, modules without reductions do worse',
      PAPER,
      'naive, equal multiply-adds',
      'base',
      'test_top1',
      'lower',
      1.0,
    ),
  ]
