"""Inception v3 on ImageNet (arXiv 1512.00567, section 8), 299x299.

    python main.py --config=configs/inception_v3.py --config.dataset.data_dir=DIR

From the paper: rate 0.045 that falls 6% every two epochs, gradients clipped at 2, label smoothing,
100 epochs, a moving average of the parameters. Momentum stands in for its RMSProp; the auxiliary
head counts 0.3 as in GoogLeNet. Reached: not yet run.
"""

from googlenet_jax import schema
from googlenet_jax.configs import imagenet


def get_config():
  """See the module's docstring."""
  c = schema.config()
  imagenet.photos(c)
  c.model.name = 'inception_v3'
  c.model.dropout = 0.5
  c.model.dtype = 'bfloat16'
  c.dataset.mean = (127.5,)
  c.dataset.std = (127.5,)
  c.dataset.image_size = 299

  c.train.duration = '100 epochs'
  c.train.batch_size = 1600  # 50 replicas of 32
  c.train.label_smoothing = 0.1
  c.optimizer.lr = 0.045
  c.optimizer.nesterov = True
  c.optimizer.weight_decay = 4e-5
  c.optimizer.clip_norm = 2.0
  c.schedule.name = 'exponential'
  c.schedule.decay_rate = 0.94
  c.schedule.decay_every = '2 epochs'
  c.average.name = 'ema'
  c.average.decay = 0.9999
  return c
