"""Your own photos: a folder for each class, `DIR/<class>/*.jpg`.

    python main.py --config=configs/folder.py --config.dataset.data_dir=DIR

The classes are the folders. 80% of the photos train, 10% validate, 10% test; splits
hash class and file name. A set that is split already, `DIR/train/<class>/*` beside `val` or `test`,
is taken as it is split.

Look at the crops first: --mode=preview. Reached: it depends on the photos.
"""

from googlenet_jax import schema


def get_config():
  """See the module's docstring."""
  c = schema.config()
  c.model.name = 'googlenet_bn'
  c.model.aux_heads = ()

  c.dataset.name = 'folder'
  c.dataset.in_memory = False
  c.dataset.train = 'all[:80%]'
  c.dataset.validation = 'all[80%:90%]'
  c.dataset.test = 'all[90%:]'
  c.dataset.mean = (123.7, 116.3, 103.5)
  c.dataset.std = (58.4, 57.1, 57.4)
  c.dataset.image_size = 224
  c.augment.area = (0.25, 1.0)
  c.augment.flip = True
  c.augment.color = 0.2

  c.train.duration = '30 epochs'
  c.train.batch_size = 32
  c.train.label_smoothing = 0.1
  c.optimizer.lr = 0.02
  c.optimizer.nesterov = True
  c.optimizer.weight_decay = 1e-4
  c.schedule.name = 'cosine'
  c.schedule.warmup = '2 epochs'
  c.average.name = 'ema'
  c.average.decay = 0.99
  c.eval.batch_size = 64
  c.log.every = '10 steps'
  return c
