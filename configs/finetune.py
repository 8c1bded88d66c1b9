r"""The published BVLC weights, trained on for your own classes: `DIR/<class>/*.jpg`.

    python main.py --config=configs/finetune.py --config.dataset.data_dir=DIR \
        --config.init.weights=bvlc --config.init.allow_head=True

The classifier is new; the stem stays as it is and the modules learn at a tenth of the rate. Other
weights bring other statistics, which `dataset.mean` and `dataset.std` have to equal; the error says
them. For other networks than GoogLeNet set `init.frozen`: 'conv' begins every convolution of a VGG
and of a ResNet.
"""

from googlenet_jax import schema
from googlenet_jax.configs import folder


def get_config():
  """See the module's docstring."""
  c = folder.get_config()
  c.model = schema.config().model  # the weights bring theirs
  c.init.frozen = ('conv',)
  c.init.backbone_lr = 0.1

  c.dataset.mean = (123.0, 117.0, 104.0)
  c.dataset.std = (1.0,)

  c.train.duration = '5 epochs'
  c.train.batch_size = 16
  c.optimizer.lr = 0.01
  c.schedule.warmup = '0 epochs'
  c.average = schema.config().average
  return c
