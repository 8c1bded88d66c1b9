"""GoogLeNet with batch norm on Imagenette, ten easy classes of ImageNet at their full size.

    python main.py --config=configs/imagenette.py --config.dataset.data_dir=DIR

An ImageNet run in small: 9,469 photos, crops of 25-100% of the area. Reached: not yet run.
"""

from googlenet_jax.configs import imagenet_bn


def get_config():
  """See the module's docstring."""
  c = imagenet_bn.get_config()
  c.dataset.name = 'imagenette/full-size-v2'
  c.dataset.train = 'train[:90%]'
  c.dataset.validation = 'train[90%:]'
  c.augment.area = (0.25, 1.0)
  c.augment.mixup = 0.0

  c.train.duration = '80 epochs'
  c.train.batch_size = 64
  c.optimizer.lr = 0.05
  c.log.every = '20 steps'
  return c
