r"""Do parallel window sizes help, and the pool branch?

    python main.py --config=configs/experiments/branches.py --mode=sweep --run \
        --config.dataset.data_dir=DIR

Modules of one window size have the same number of outputs and nearly the same multiply-adds as the
base's; without the pool branch its outputs come from the 1x1 convolution.
"""

from googlenet_jax.configs.experiments import base
from googlenet_jax.evidence import Claim, grid
from googlenet_jax.models.googlenet import MODULES
from googlenet_jax.models.inception import Widths
from googlenet_jax.models.layers import scaled

# Channels of the base's modules.
BASE = {
  name: Widths(*(scaled(width, 0.25) for width in widths)) for name, widths in MODULES.items()
}
REDUCE_3X3 = dict(zip(BASE, (18, 21, 20, 25, 26, 31, 27, 31, 38), strict=True))
REDUCE_5X5 = dict(zip(BASE, (7, 8, 8, 10, 10, 12, 10, 12, 14), strict=True))


def modules(make):
  """The field for modules of which each is made of its name and the base's widths."""
  return {'model.fields': {'modules': {name: make(name, widths) for name, widths in BASE.items()}}}


ARMS = {
  'base': {},
  'only 3x3': modules(lambda name, w: (0, REDUCE_3X3[name], w.outputs, 0, 0, 0)),
  'only 5x5': modules(lambda name, w: (0, 0, 0, REDUCE_5X5[name], w.outputs, 0)),
  'no pool branch': modules(lambda name, w: (w.conv_1x1 + w.pool_proj, *w[1:5], 0)),
  'average pool': {'model.fields': {'pool_branch': 'average'}},
}
SAID = 'said of Inception modules everywhere; arXiv 1409.4842, section 4'


def get_config():
  """See the module's docstring."""
  return base.proxy()


def sweep():
  """Arms by seeds."""
  return grid(ARMS, seeds=3, more={'base': 5})


def claims():
  """What is said of the branches."""
  return [
    Claim('Parallel sizes beat 3x3 alone', SAID, 'only 3x3', 'base', 'test_top1', 'lower', 1.0),
    Claim('Parallel sizes beat 5x5 alone', SAID, 'only 5x5', 'base', 'test_top1', 'lower', 1.0),
    Claim('The pool branch helps', SAID, 'no pool branch', 'base', 'test_top1', 'lower', 1.0),
    Claim(
      'Average pools do as well in the branch',
      'Inception v3, arXiv 1512.00567',
      'average pool',
      'base',
      'test_top1',
      'equal',
      1.0,
    ),
  ]
