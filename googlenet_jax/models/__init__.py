"""The networks: `create(name, **fields)` makes any of them.

All keep one contract: `model(images, *, train) -> Outputs(logits, aux)`.
"""

import dataclasses
import difflib

import flax.linen as nn

from googlenet_jax.errors import InputError
from googlenet_jax.models.googlenet import GoogLeNet
from googlenet_jax.models.layers import Outputs

__all__ = ['MODELS', 'Outputs', 'create']

MODELS: dict[str, type[nn.Module]] = {
  'googlenet': GoogLeNet,
}


def create(name: str, **fields) -> nn.Module:
  """A network by name, its fields overridden.

  Raises:
    InputError: no such network, or it has no such field.
  """
  if name not in MODELS:
    raise InputError(f'no model {name!r}: use one of {", ".join(MODELS)}')
  known = [f.name for f in dataclasses.fields(MODELS[name]) if f.name not in ('parent', 'name')]
  for field in fields:
    if field not in known:
      near = difflib.get_close_matches(field, known, 1, 0) or known[:1]
      raise InputError(f'{name} has no field {field!r}: did you mean {near[0]!r}?')
  return MODELS[name](**fields)
