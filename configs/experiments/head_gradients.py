r"""How much of the gradient at the first layer comes from the auxiliary heads?

    python main.py --config=configs/experiments/head_gradients.py --mode=sweep --run \
        --config.dataset.data_dir=DIR

The first 500 steps of the runs with heads of `heads.py`, with the gradient of each head told apart.
"""

from googlenet_jax.configs.experiments import base, heads
from googlenet_jax.evidence import Claim, grid

STEPS = 500
ARMS = {'heads': heads.HEADS, 'no batch norm, heads': heads.HEADS | heads.BARE}


def get_config():
  """See the module's docstring."""
  c = base.proxy()
  c.train.duration = f'{STEPS} steps'
  c.schedule.points = (('0 epochs', 0.2), ('1.5 epochs', 1.0), ('6 epochs', 0.0))
  c.dataset.test = 'train[20000:21000]'  # the scores are of no interest
  c.log.head_norms = True
  return c


def sweep():
  """Arms by seeds."""
  return grid(ARMS, seeds=3)


def claims():
  """The reason that the paper gives for the heads, where it should hold most."""
  return [
    Claim(
      'Of the gradient at the first layer, more comes from the heads without batch norm',
      heads.PAPER,
      'no batch norm, heads',
      'heads',
      'head_gradient',
      'higher',
      0.1,
    )
  ]
