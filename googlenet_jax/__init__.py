"""GoogLeNet (Inception v1) in JAX and Flax, as a codebase for research.

    import googlenet_jax as gj

    network = gj.load('bvlc')
    probabilities, names = network.predict(['a.jpg', 'b.jpg'])

Names are imported when they are first used: loading weights imports nothing of training.
"""

import importlib

__version__ = '0.1.0'
_FILES = {
  'create': 'models',
  'load': 'predictor',
  'Network': 'predictor',
  'Split': 'data.sources',
  'config': 'api',
  'evaluate': 'api',
  'train': 'api',
}
__all__ = list(_FILES)


def __getattr__(name: str):
  if name not in _FILES:
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
  from googlenet_jax import startup

  startup.prepare()  # before jax starts
  return getattr(importlib.import_module(f'googlenet_jax.{_FILES[name]}'), name)
