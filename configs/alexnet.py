"""AlexNet, one tower, on ImageNet (arXiv 1404.5997; Krizhevsky et al. 2012).

    python main.py --config=configs/alexnet.py --config.dataset.data_dir=DIR

The recipe of 2012: batches of 128, rate 0.01 that falls to a tenth, here every 30 of 90 epochs,
weight decay 5e-4; crops, distortions and bfloat16 of `imagenet_bn.py`. The network in two groups:
`--config.model.name=alexnet_grouped --config.dataset.image_size=227`. Reached: not yet run.
"""

from googlenet_jax import schema
from googlenet_jax.configs import imagenet


def get_config():
  """See the module's docstring."""
  c = schema.config()
  imagenet.photos(c)
  c.model.name = 'alexnet'
  c.model.dropout = 0.5
  c.model.dtype = 'bfloat16'

  c.train.duration = '90 epochs'
  c.train.batch_size = 128
  c.optimizer.lr = 0.01
  c.optimizer.weight_decay = 5e-4
  c.schedule.name = 'exponential'
  c.schedule.decay_rate = 0.1
  c.schedule.decay_every = '30 epochs'
  return c
