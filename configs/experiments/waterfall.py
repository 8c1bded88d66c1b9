r"""From a tutorial's recipe to ours, one factor at a time: what does each add?

    python main.py --config=configs/experiments/waterfall.py --mode=sweep --run \
        --config.dataset.data_dir=DIR

The recipe of `configs/tutorial.py` at 32 pixels, with the base's width and normalised pixels, for
the base's six epochs.
"""

from googlenet_jax.configs.experiments import base
from googlenet_jax.evidence import Claim, grid

# What the tutorial has in place of the base's, by factor, in the order in which they are mended.
FACTORS = {
  'stem for small images': {'model.stem': 'tutorial'},
  'batch norm and its initial weights, for dropout': {
    'model.norm': 'none',
    'model.dropout': 0.4,
    'model.kernel_init': 'torch',
    'model.bias_init': 0.0,
  },
  'augmentation': {'augment.pad': 0, 'augment.flip': False},
  'SGD, its rate and batches, for Adam': {
    'optimizer.name': 'adam',
    'optimizer.lr': 2e-4,
    'optimizer.nesterov': False,
    'train.batch_size': 100,
  },
  'weight decay': {'optimizer.weight_decay': 0.0},
  'schedule': {'schedule.name': 'constant', 'schedule.points': ()},
  'label smoothing and averaged weights': {
    'train.label_smoothing': 0.0,
    'average.name': 'none',
    'average.decay': 0.999,
  },
}


def arms():
  """The tutorial's recipe, and a factor more in each arm after it; the last is the base."""
  found, left = {}, {}
  for fields in FACTORS.values():
    left |= fields
  found['tutorial'] = dict(left)
  for name, fields in FACTORS.items():
    left = {x: y for x, y in left.items() if x not in fields}
    found[f'+ {name}' if left else 'base'] = dict(left)
  return found


def get_config():
  """See the module's docstring."""
  return base.proxy()


def sweep():
  """Arms by seeds."""
  return grid(arms(), seeds=3, more={'base': 5})


def claims():
  """Each factor helps."""
  names = list(arms())
  return [
    Claim(f'It helps: {factor}', 'the two recipes', a, b, 'test_top1', 'higher', 1.0)
    for factor, b, a in zip(FACTORS, names, names[1:], strict=False)
  ]
