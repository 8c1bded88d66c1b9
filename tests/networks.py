"""Networks with random weights, drawn without a compilation."""

import numpy as np
from flax.traverse_util import unflatten_dict

from googlenet_jax import weights


def drawn(description, seed=0):
  """A network of this description whose activations keep their scale."""
  model, rng = description.create(), np.random.default_rng(seed)
  arrays = {}
  for path, array in weights.expected(model, description.image_shape).items():
    if path[-1] in ('scale', 'var'):
      arrays[path] = rng.uniform(0.5, 1.5, array.shape).astype(np.float32)
    else:
      scale = np.prod(array.shape[:-1]) ** -0.5 if path[-1] == 'kernel' else 0.1
      arrays[path] = rng.normal(0, scale, array.shape).astype(np.float32)
  variables = {'params': {}, 'batch_stats': {}} | unflatten_dict(arrays)
  return weights.Network(description, model, variables, f'network {seed}')
