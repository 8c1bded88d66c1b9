"""GoogLeNet (Inception v1) in JAX and Flax, as a codebase for research.

    import googlenet_jax as gj

    network = gj.load('bvlc_googlenet.onnx')
    probabilities, names = network.predict(['a.jpg', 'b.jpg'])

The names are those of `googlenet_jax.api`, which is imported when one is first used.
"""

__version__ = '0.1.0'
__all__ = ['Network', 'Split', 'config', 'create', 'evaluate', 'load', 'train']


def __getattr__(name: str):
  if name not in __all__:
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
  from googlenet_jax import api

  return getattr(api, name)
