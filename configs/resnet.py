"""ResNet-50 on ImageNet (arXiv 1512.03385, section 3.4).

    python main.py --config=configs/resnet.py --config.dataset.data_dir=DIR

Batches of 256, rate 0.1, weight decay 1e-4. The rate falls to a tenth every 30 of 90 epochs, after
5 of warm-up; the paper's falls on plateaus, over 120 epochs at most. The others are
`--config.model.name=resnet18`, `resnet34`, `resnet101` and `resnet152`. Reached: not yet run.
"""

from googlenet_jax import schema
from googlenet_jax.configs import imagenet


def get_config():
  """See the module's docstring."""
  c = schema.config()
  imagenet.photos(c)
  c.model.name = 'resnet50'
  c.model.dtype = 'bfloat16'

  c.train.duration = '90 epochs'
  c.train.batch_size = 256
  c.optimizer.lr = 0.1
  c.optimizer.weight_decay = 1e-4
  c.schedule.name = 'exponential'
  c.schedule.decay_rate = 0.1
  c.schedule.decay_every = '30 epochs'
  c.schedule.warmup = '5 epochs'
  return c
