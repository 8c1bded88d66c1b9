r"""Do deeper plain networks train worse, and do shortcuts mend it?

    python main.py --config=configs/experiments/depth.py --mode=sweep --run \
        --config.dataset.data_dir=DIR

Networks of 20 and 56 layers with shortcuts and without (arXiv 1512.03385, section 4.2), at 16
pixels on 15,000 images: what is compared is how well they fit what they are trained on.
"""

from googlenet_jax.configs.experiments import base
from googlenet_jax.evidence import Claim, grid

ARMS = {name: {'model.name': name} for name in ('plain20', 'plain56', 'resnet20', 'resnet56')}
PAPER = 'arXiv 1512.03385, section 4.1'


def get_config():
  """See the module's docstring."""
  c = base.proxy()
  for field in ('width', 'norm', 'stem', 'aux_heads', 'dropout'):  # fields of GoogLeNet
    c.model[field] = None
  c.model.name = 'plain20'
  c.dataset.image_size = 16
  c.dataset.train = 'train[:15000]'
  c.train.duration = '5 epochs'
  return c


def sweep():
  """Arms by seeds."""
  return grid(ARMS, seeds=3)


def claims():
  """What is said of depth."""
  return [
    Claim(
      'Deeper plain networks train worse', PAPER, 'plain56', 'plain20', 'train_loss', 'higher', 0.05
    ),
    Claim(
      'With shortcuts, deeper networks train better',
      PAPER,
      'resnet56',
      'resnet20',
      'train_loss',
      'lower',
      0.05,
    ),
    Claim('Shortcuts help at 56 layers', PAPER, 'resnet56', 'plain56', 'train_loss', 'lower', 0.05),
    Claim(
      'Gradients vanish in deep plain networks',
      'said everywhere; the paper doubts it',
      'plain56',
      'plain20',
      'conv1_gradient',
      'lower',
      0.1,
    ),
  ]
