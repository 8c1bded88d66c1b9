"""Xception on ImageNet (arXiv 1610.02357, section 4), 299x299.

    python main.py --config=configs/xception.py --config.dataset.data_dir=DIR

From the paper: SGD, rate 0.045 that falls 6% every two epochs, weight decay 1e-5, dropout 0.5, a
moving average of the parameters, 60 replicas; no auxiliary head. Reached: not yet run.
"""

from googlenet_jax.configs import inception_v3


def get_config():
  """See the module's docstring."""
  c = inception_v3.get_config()
  c.model.name = 'xception'
  c.train.batch_size = 1920  # 60 replicas of 32
  c.train.label_smoothing = 0.0
  c.optimizer.nesterov = False
  c.optimizer.weight_decay = 1e-5
  c.optimizer.clip_norm = 0.0
  return c
