"""Inception v2 (batch norm) on ImageNet (arXiv 1502.03167, section 4.2), 224x224.

    python main.py --config=configs/inception_v2.py --config.dataset.data_dir=DIR

From the paper's BN-x30: rate 0.045 that falls six times as fast as GoogLeNet's, no dropout, a fifth
of the weight decay (here of Caffe's solver, as in configs/imagenet.py), batches of 32 a replica,
150 epochs (its 6 million steps). The number of replicas is a guess, and the colours change as much
as GoogLeNet's, where the paper changes them less. Reached: not yet run.
"""

from googlenet_jax import schema
from googlenet_jax.configs import imagenet


def get_config():
  """See the module's docstring."""
  c = schema.config()
  imagenet.photos(c)
  c.model.name = 'inception_v2'
  c.model.dtype = 'bfloat16'

  c.train.duration = '150 epochs'
  c.train.batch_size = 160  # 5 replicas of 32
  c.optimizer.lr = 0.045
  c.optimizer.weight_decay = 4e-5
  c.schedule.name = 'exponential'
  c.schedule.decay_rate = 0.96
  c.schedule.decay_every = '1.33 epochs'  # GoogLeNet's: 8
  return c
