"""Inception-ResNet-v2 on ImageNet (arXiv 1602.07261, section 4), 299x299.

    python main.py --config=configs/inception_resnet_v2.py --config.dataset.data_dir=DIR

The recipe of Inception v4. Reached: not yet run.
"""

from googlenet_jax.configs import inception_v4


def get_config():
  """See the module's docstring."""
  c = inception_v4.get_config()
  c.model.name = 'inception_resnet_v2'
  return c
