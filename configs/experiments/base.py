"""The base that experiments differ from: a quarter-width GoogLeNet on CIFAR-10.

    python main.py --config=configs/experiments/base.py --config.dataset.data_dir=DIR

The recipe of `configs/cifar10.py` as of commit 42b26c0. It stays, so that what is learnt from
experiments does not shift when that one is tuned.
"""

from googlenet_jax import schema
from googlenet_jax.configs import cifar10


def get_config():
  """See the module's docstring."""
  c = schema.config()
  cifar10.images(c)
  c.model.width = 0.25
  c.model.norm = 'batch'
  c.model.stem = 'compact'
  c.model.aux_heads = ()
  c.model.dropout = 0.0  # 400,386 parameters and twenty epochs do not overfit

  c.train.duration = '20 epochs'
  c.train.batch_size = 64
  c.train.label_smoothing = 0.1
  c.optimizer.lr = 0.1
  c.optimizer.nesterov = True
  c.optimizer.weight_decay = 5e-4
  c.schedule.name = 'piecewise_linear'
  c.schedule.points = (('0 epochs', 0.2), ('25%', 1.0), ('100%', 0.0))
  c.average.name = 'ema'
  c.average.decay = 0.998
  c.eval.every = '4 epochs'
  c.log.every = '100 steps'
  return c


def proxy():
  """The protocol of most experiments (P1): six epochs of 20,000 images, scored on all the others.

  Nothing is chosen on the 40,000 others, so their number halves the variance of a score.
  """
  c = get_config()
  c.dataset.train = 'train[:20000]'
  c.dataset.validation = ''
  c.dataset.test = 'train[20000:]+test'
  c.train.duration = '6 epochs'
  c.average.decay = 0.99
  c.log.norms = True
  c.log.every = '0.25 epochs'  # outcomes are means over an epoch
  return c


def few_images():
  """The protocol where regularisation matters (P2): 24 epochs of 5,000 images."""
  c = proxy()
  c.dataset.train = 'train[:5000]'
  c.train.duration = '24 epochs'
  c.eval.shifts = (2, 4, 6)
  return c
