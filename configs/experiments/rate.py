r"""Which learning rate do networks without batch norm get?

    python main.py --config=configs/experiments/rate.py --mode=sweep --run \
        --config.dataset.data_dir=DIR

To be chosen by the loss of the last epoch of training, on a seed that no experiment reports, before
those that use it (`heads.BARE`) run. The loss is lowest at 0.08.
"""

from googlenet_jax.configs.experiments import base, heads

RATES = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16)
SEED = 100


def get_config():
  """See the module's docstring."""
  return base.proxy()


def sweep():
  """A point a rate."""
  return [
    {'arm': f'rate {rate:g}', **heads.BARE, 'optimizer.lr': rate, 'seed': SEED} for rate in RATES
  ]
