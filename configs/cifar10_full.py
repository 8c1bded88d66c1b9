"""Full-width GoogLeNet on CIFAR-10 for accelerators: 32 pixels kept to the first module.

    python main.py --config=configs/cifar10_full.py --config.dataset.data_dir=DIR

After the recipe that reached 95.35% elsewhere (70 epochs, batch 512, Nesterov, one rise
and fall of the learning rate, crop, flip, Cutout 8). Reached here: not yet run.
"""

from googlenet_jax import schema
from googlenet_jax.configs import cifar10


def get_config():
  """See the module's docstring."""
  c = schema.config()
  cifar10.images(c)
  c.model.norm = 'batch'
  c.model.stem = 'cifar'
  c.model.aux_heads = ()
  c.model.dtype = 'bfloat16'
  c.augment.cutout = 8

  c.train.duration = '70 epochs'
  c.train.batch_size = 512
  c.optimizer.lr = 0.4
  c.optimizer.nesterov = True
  c.optimizer.weight_decay = 5e-4
  c.schedule.name = 'piecewise_linear'
  c.schedule.points = (
    ('0 epochs', 0.0),
    ('18.5 epochs', 1.0),
    ('67 epochs', 0.0025),
    ('70 epochs', 0.0025),
  )
  return c
