"""Network in Network on CIFAR-10 (arXiv 1312.4400, section 4.2).

    python main.py --config=configs/nin.py --config.dataset.data_dir=DIR

Batches of 128, dropout, weight decay 1e-4, rate that falls to a tenth twice; the paper has 91.19%
test top-1 with augmentation. Reached: not yet run.
"""

from googlenet_jax import schema
from googlenet_jax.configs import cifar10


def get_config():
  """See the module's docstring."""
  c = schema.config()
  cifar10.images(c)
  c.model.name = 'nin'

  c.train.duration = '120000 steps'
  c.train.batch_size = 128
  c.optimizer.lr = 0.05
  c.optimizer.weight_decay = 1e-4
  c.schedule.name = 'piecewise_linear'
  c.schedule.warmup = '1000 steps'
  c.schedule.points = (
    ('0 steps', 1.0),
    ('100000 steps', 1.0),
    ('100001 steps', 0.1),
    ('110000 steps', 0.1),
    ('110001 steps', 0.01),
  )
  c.eval.every = '4 epochs'
  c.log.every = '100 steps'
  return c
