"""Networks with their weights: from published files, from ours, from a run's workdir.

network = weights.load('bvlc')
logits = network.model.apply(network.variables, images, train=False).logits
"""

import importlib

# The file of each name, imported when it is first asked for.
_FILES = {
  'Description': 'weights.description',
  'Preprocessing': 'weights.description',
  'KEY': 'weights.network',
  'Network': 'weights.network',
  'load': 'weights.network',
  'save': 'weights.network',
  'expected': 'weights.arrays',
  'PREPROCESSINGS': 'weights.variants',
  'assign': 'weights.transfer',
}
__all__ = list(_FILES)


def __getattr__(name: str):
  if name not in _FILES:
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
  return getattr(importlib.import_module(f'googlenet_jax.{_FILES[name]}'), name)
