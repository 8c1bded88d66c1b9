"""GoogLeNet with batch norm on ImageNet (ILSVRC 2012) by a recipe of today.

    python main.py --config=configs/imagenet_bn.py --config.dataset.data_dir=DIR

Cosine schedule with warm-up, label smoothing, mixup, no decay on norms and biases, bfloat16;
72.87% top-1 is published for such a recipe in 200 epochs (GluonCV). Reached: not yet run.
"""

from googlenet_jax import schema
from googlenet_jax.configs import imagenet


def get_config():
  """See the module's docstring."""
  c = schema.config()
  imagenet.photos(c)
  c.model.name = 'googlenet_bn'
  c.model.aux_heads = ()
  c.model.dropout = 0.2
  c.model.dtype = 'bfloat16'
  c.augment.mixup = 0.2

  c.train.duration = '200 epochs'
  c.train.batch_size = 1024
  c.train.label_smoothing = 0.1
  c.optimizer.lr = 0.4
  c.optimizer.nesterov = True
  c.optimizer.weight_decay = 1e-4
  c.schedule.name = 'cosine'
  c.schedule.warmup = '5 epochs'
  return c
