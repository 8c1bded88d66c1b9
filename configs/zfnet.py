"""ZFNet on ImageNet (Zeiler and Fergus 2013, arXiv 1311.2901): AlexNet's recipe, 70 epochs.

    python main.py --config=configs/zfnet.py --config.dataset.data_dir=DIR

With 512, 1024 and 512 filters in the last convolutions: `--config.model.name=zfnet_wide`.
Reached: not yet run.
"""

from googlenet_jax import schema
from googlenet_jax.configs import imagenet


def get_config():
  """See the module's docstring."""
  c = schema.config()
  imagenet.photos(c)
  c.model.name = 'zfnet'
  c.model.dropout = 0.5
  c.model.dtype = 'bfloat16'

  c.train.duration = '70 epochs'
  c.train.batch_size = 128
  c.optimizer.lr = 0.01
  c.optimizer.weight_decay = 5e-4
  c.schedule.name = 'exponential'
  c.schedule.decay_rate = 0.1
  c.schedule.decay_every = '30 epochs'
  return c
