r"""Which modules do best at equal multiply-adds?

    python main.py --config=configs/experiments/family.py --mode=sweep --run \
        --config.dataset.data_dir=DIR

GoogLeNet's successors as they are, made narrow (ResNet shallow) until they cost about what the base
does, 27 million multiply-adds; widths are rounded to multiples of 8, so they are 23 to 28. Network
in Network, which has no batch norm, trains as `heads.py` does without it.
"""

from googlenet_jax.configs.experiments import base, heads
from googlenet_jax.evidence import Claim, grid


def _like(name, **fields):
  own = {'model.norm': None, 'model.width': None, 'model.stem': None}  # fields of the base
  return {'model.name': name} | own | {f'model.{field}': x for field, x in fields.items()}


ARMS = {
  'base': {},
  'Inception v2': _like('inception_v2', width=0.21, stem='compact'),
  'Inception v3': _like('inception_v3', width=0.18, stem='compact'),
  'Inception v4': _like('inception_v4', width=0.12, stem='compact'),
  'Inception-ResNet-v2': _like('inception_resnet_v2', width=0.1, stem='compact'),
  'Xception': _like('xception', width=0.265, stem='cifar'),
  'ResNet-14': _like('resnet20', fields={'blocks': (2, 2, 2)}),
  # It has no batch norm: at the base's rate one of three runs never left chance.
  'Network in Network, rate 0.08': heads.BARE | _like('nin', width=0.3125),
}
BETTER = {
  'Inception v2': 'arXiv 1502.03167',
  'Inception v3': 'arXiv 1512.00567',
  'Inception v4': 'arXiv 1602.07261',
  'Inception-ResNet-v2': 'arXiv 1602.07261',
  'Xception': 'arXiv 1610.02357',
  'ResNet-14': 'arXiv 1512.03385',
}


def get_config():
  """See the module's docstring."""
  return base.proxy()


def sweep():
  """Arms by seeds."""
  return grid(ARMS, seeds=3, more={'base': 5})


def claims():
  """What their authors say, here at equal multiply-adds."""
  return [
    Claim(f'{arm} does better than GoogLeNet', source, arm, 'base', 'test_top1', 'higher', 1.0)
    for arm, source in BETTER.items()
  ] + [
    Claim(
      'Network in Network does worse than GoogLeNet',
      'implied by arXiv 1409.4842, section 2',
      'Network in Network, rate 0.08',
      'base',
      'test_top1',
      'lower',
      1.0,
    )
  ]
