"""ResNet-20 on CIFAR-10 (arXiv 1512.03385, section 4.2).

    python main.py --config=configs/cifar_resnet.py --config.dataset.data_dir=DIR

Batches of 128, 64,000 steps, rate 0.1 that falls to a tenth after 32,000 and 48,000, weight decay
1e-4. `--config.model.name=` resnet32, resnet44, resnet56 and resnet110 are deeper, plain20 to
plain110 have no shortcuts; for 110 layers the paper begins at 0.01 (`schedule.warmup='400 steps'`).
It has 91.25% test top-1 for 20 layers. Reached: not yet run.
"""

from googlenet_jax import schema
from googlenet_jax.configs import cifar10


def get_config():
  """See the module's docstring."""
  c = schema.config()
  cifar10.images(c)
  c.model.name = 'resnet20'

  c.train.duration = '64000 steps'
  c.train.batch_size = 128
  c.optimizer.lr = 0.1
  c.optimizer.weight_decay = 1e-4
  c.schedule.name = 'piecewise_linear'
  c.schedule.points = (
    ('0 steps', 1.0),
    ('32000 steps', 1.0),
    ('32001 steps', 0.1),
    ('48000 steps', 0.1),
    ('48001 steps', 0.01),
  )
  c.eval.every = '4 epochs'
  c.log.every = '100 steps'
  return c
