r"""GoogLeNet on ImageNet (ILSVRC 2012) by the paper's recipe, as far as it is told.

    python main.py --config=configs/imagenet.py --config.dataset.data_dir=DIR

From the paper (sections 5 and 6): both auxiliary heads at 0.3, dropout, momentum 0.9, a rate
that falls 4% every 8 epochs, Polyak averaging, crops of 8-100% of the area, photometric
distortions, random interpolation. From the published Caffe solver, which the paper is silent
about: weight decay, 250 epochs, rate 0.01 for batches of 32, here scaled by the square root of
the batch's size (without batch norm the linear rule is too much). Reached: not yet run.

From a folder (`DIR/train/<WordNet id>/*`, `DIR/val/...`) instead of TFDS:

    --config.dataset.name=folder --config.dataset.train='train[:99%]' \
        --config.dataset.validation='train[99%:]' --config.dataset.test=val
"""

from googlenet_jax import schema


def photos(c):
  """ImageNet, streamed: crops of 8-100% of the area, mirrored, colours distorted."""
  c.dataset.name = 'imagenet2012'
  c.dataset.in_memory = False
  c.dataset.train = 'train[:99%]'
  c.dataset.validation = 'train[99%:]'
  c.dataset.test = 'validation'  # the 50,000 images that results are given on
  c.dataset.mean = (123.7, 116.3, 103.5)
  c.dataset.std = (58.4, 57.1, 57.4)
  c.dataset.image_size = 224
  c.augment.area = (0.08, 1.0)
  c.augment.flip = True
  c.augment.color = 0.4
  c.augment.hue = 0.05
  c.augment.lighting = 0.1
  c.log.every = '200 steps'


def get_config():
  """See the module's docstring."""
  c = schema.config()
  photos(c)
  c.dataset.mean = (123.0, 117.0, 104.0)
  c.dataset.std = (1.0,)
  c.augment.interpolation = ('area', 'bilinear', 'nearest', 'bicubic')

  c.train.duration = '250 epochs'
  c.train.batch_size = 256
  c.optimizer.lr = 0.028
  c.optimizer.weight_decay = 2e-4
  c.average.name = 'polyak'
  c.average.begin = '240 epochs'
  return c
