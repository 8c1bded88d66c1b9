"""Inception v4 on ImageNet (arXiv 1602.07261, section 4), 299x299.

    python main.py --config=configs/inception_v4.py --config.dataset.data_dir=DIR

The recipe of Inception v3, which the paper keeps: rate 0.045 that falls 6% every two epochs, 20
replicas. Momentum stands in for its RMSProp. Reached: not yet run.
"""

from googlenet_jax.configs import inception_v3


def get_config():
  """See the module's docstring."""
  c = inception_v3.get_config()
  c.model.name = 'inception_v4'
  c.model.dropout = 0.2
  c.train.batch_size = 640  # 20 replicas of 32
  return c
