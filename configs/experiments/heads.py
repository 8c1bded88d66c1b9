r"""Do auxiliary heads carry gradient to the input, and do they help?

    python main.py --config=configs/experiments/heads.py --mode=sweep --run \
        --config.dataset.data_dir=DIR

Two heads (after 4a and 4d, weight 0.3) or none, with batch norm and without. Without it the rate is
0.08, which `rate.py` chose, and gradients are clipped at 1.
"""

from googlenet_jax.configs.experiments import base
from googlenet_jax.evidence import Claim, grid

HEADS = {'model.aux_heads': ('4a', '4d')}
BARE = {'model.norm': 'none', 'optimizer.lr': 0.08, 'optimizer.clip_norm': 1.0}
ARMS = {
  'base': {},
  'heads': HEADS,
  'no batch norm': BARE,
  'no batch norm, heads': HEADS | BARE,
}
PAPER = 'arXiv 1409.4842, section 5'


def get_config():
  """See the module's docstring."""
  return base.proxy()


def sweep():
  """Arms by seeds."""
  return grid(ARMS, seeds=3, more={'base': 5})


RETOLD = 'arXiv 1512.00567, section 4, of what was hoped'
# Text, source, outcome and margin of what is said of heads.
SAID = (
  ('Heads carry gradient to the first layer', PAPER, 'gradient_reach', 0.1),
  ('Heads speed up the first epoch', RETOLD, 'first_epoch_top1', 1.0),
  ('Heads raise the accuracy', 'said of heads everywhere', 'test_top1', 1.0),
)


def claims():
  """What is said of auxiliary heads, with batch norm and as the paper had it, without."""
  arms = ('no batch norm, heads', 'no batch norm', 'without'), ('heads', 'base', 'with')
  return [
    Claim(f'{text}, {how} batch norm', source, a, b, outcome, 'higher', margin)
    for a, b, how in arms
    for text, source, outcome, margin in SAID
  ]
