"""Full-width GoogLeNet on CIFAR-10 for accelerators: 32 pixels kept to the first module.

    python main.py --config=configs/cifar10_full.py --config.dataset.data_dir=DIR

After the recipe that reached 95.35% elsewhere (70 epochs, batch 512, Nesterov, one rise
and fall of the learning rate, crop, flip, Cutout 8). Reached here: not yet run.
"""

from configs import default


def get_config():
  """See the module's docstring."""
  c = default.get_config()
  c.model.norm = 'batch'
  c.model.stem = 'cifar'
  c.model.aux_heads = ()
  c.model.dtype = 'bfloat16'

  c.dataset.name = 'cifar10'
  c.dataset.train = 'train[:45000]'
  c.dataset.validation = 'train[45000:]'
  c.dataset.mean = (125.3, 123.0, 113.9)
  c.dataset.std = (63.0, 62.1, 66.7)
  c.augment.pad = 4
  c.augment.flip = True
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
