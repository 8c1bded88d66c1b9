"""VGG-16 on ImageNet (arXiv 1409.1556, section 3.1).

    python main.py --config=configs/vgg.py --config.dataset.data_dir=DIR

Batches of 256, rate 0.01 that falls to a tenth, weight decay 5e-4, 74 epochs. The others are
`--config.model.name=vgg11`, `vgg13` and `vgg19`; `--config.model.norm=batch` adds batch norm.
Reached: not yet run.
"""

from googlenet_jax import schema
from googlenet_jax.configs import imagenet


def get_config():
  """See the module's docstring."""
  c = schema.config()
  imagenet.photos(c)
  c.model.name = 'vgg16'
  c.model.dropout = 0.5
  c.model.dtype = 'bfloat16'

  c.train.duration = '74 epochs'
  c.train.batch_size = 256
  c.optimizer.lr = 0.01
  c.optimizer.weight_decay = 5e-4
  c.optimizer.clip_norm = 5.0  # without batch norm and grown from nothing
  c.schedule.name = 'exponential'
  c.schedule.decay_rate = 0.1
  c.schedule.decay_every = '20 epochs'
  c.schedule.warmup = '1 epochs'
  return c
