"""The networks: `create(name, **fields)` makes any of them.

All keep one contract: `model(images, *, train) -> Outputs(logits, aux)`.
"""

import dataclasses
import difflib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import flax.linen as nn

from googlenet_jax.errors import InputError
from googlenet_jax.models.googlenet import GoogLeNet
from googlenet_jax.models.layers import Outputs

__all__ = ['MODELS', 'Model', 'Outputs', 'create']


class Model(NamedTuple):
  """A network by name: a module, and the values of its fields that make it this one."""

  module: type[nn.Module]
  fields: Mapping[str, Any] = MappingProxyType({})


MODELS: dict[str, Model] = {
  'googlenet': Model(GoogLeNet),  # the paper's
  # Caffe's, of the published weights: pools whose last window hangs over the edge.
  'googlenet_bvlc': Model(GoogLeNet, {'geometry': 'ceil'}),
  # Batch norm after every convolution in place of its bias, 5x5 as in the paper.
  'googlenet_bn': Model(GoogLeNet, {'norm': 'batch'}),
  # torchvision's: 3x3 for 5x5, a 2x2 last pool, and input normalised once more.
  'googlenet_torchvision': Model(
    GoogLeNet,
    {
      'norm': 'batch',
      'kernel_5x5': 3,
      'geometry': 'ceil',
      'last_pool': 2,
      'aux_pool': 'adaptive',
      'transform_input': True,
      'dropout': 0.2,
      'kernel_init': 'normal',
      'bias_init': 0.0,
    },
  ),
}


def create(name: str, **fields) -> nn.Module:
  """A network by name, its fields overridden; None leaves a field as the network has it.

  Raises:
    InputError: no such network, or it has no such field.
  """
  if name not in MODELS:
    raise InputError(f'no model {name!r}: use one of {", ".join(MODELS)}')
  module, preset = MODELS[name]
  given = {field: value for field, value in fields.items() if value is not None}
  known = [f.name for f in dataclasses.fields(module) if f.name not in ('parent', 'name')]
  for field in given:
    if field not in known:
      near = difflib.get_close_matches(field, known, 1, 0) or known[:1]
      raise InputError(f'{name} has no field {field!r}: did you mean {near[0]!r}?')
  return module(**{**preset, **given})
