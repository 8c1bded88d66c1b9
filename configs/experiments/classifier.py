r"""Does average pooling replace fully connected layers, and is dropout needed with it?

    python main.py --config=configs/experiments/classifier.py --mode=sweep --run \
        --config.dataset.data_dir=DIR

5,000 images, so that regularisation matters.
"""

from googlenet_jax.configs.experiments import base
from googlenet_jax.evidence import Claim, grid

DROPOUT = {'model.dropout': 0.4}
FULL, LINEAR = {'model.classifier': 'fc'}, {'model.classifier': 'linear'}
ARMS = {
  'base': {},
  'fully connected': FULL,
  'linear on the map': LINEAR,
  'base, dropout': DROPOUT,
  'fully connected, dropout': FULL | DROPOUT,
  'linear on the map, dropout': LINEAR | DROPOUT,
}
PAPER = 'arXiv 1409.4842, section 5'


def get_config():
  """See the module's docstring."""
  return base.few_images()


def sweep():
  """Arms by seeds."""
  return grid(ARMS, seeds=3, more={'base': 5})


def claims():
  """What is said of the classifier."""
  return [
    Claim(
      'Fully connected layers do worse than average pooling',
      PAPER,
      'fully connected',
      'base',
      'test_top1',
      'lower',
      1.0,
    ),
    Claim(
      'Fully connected layers overfit more',
      'Network in Network, arXiv 1312.4400',
      'fully connected',
      'base',
      'gap',
      'higher',
      1.0,
    ),
    Claim(
      'A classifier that keeps places does better',
      'said of fully connected layers, which average pooling replaces',
      'linear on the map',
      'base',
      'test_top1',
      'higher',
      1.0,
    ),
    Claim(
      'Averaging makes the network indifferent to shifts',
      'said of average pooling everywhere',
      'linear on the map',
      'base',
      'shift_loss',
      'higher',
      1.0,
    ),
    Claim(
      'Dropout stays essential with average pooling',
      PAPER,
      'base, dropout',
      'base',
      'test_top1',
      'higher',
      1.0,
    ),
  ]
