"""Further augmentations by name.

Each is `(images [B, H, W, C] float32 in [0, 255], keys [B], **fields) -> images`.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from googlenet_jax import registry
from googlenet_jax.data.augment import Augment
from googlenet_jax.data.rand_augment import rand_augment
from googlenet_jax.data.random_erasing import random_erasing
from googlenet_jax.errors import InputError

AUGMENTATIONS: dict[str, Callable] = {
  'rand_augment': rand_augment,
  'random_erasing': random_erasing,
}


def create(
  *, extra: Sequence[str] = (), extra_fields: Mapping[str, Mapping] = MappingProxyType({}), **steps
) -> Augment:
  """What is done, by name.

  Args:
    extra: keys of `AUGMENTATIONS`, or 'module:attribute': functions
      `(images, keys, **fields) -> images`.
    extra_fields: fields of a step, by its name.
    steps: the other fields of `Augment`.

  Raises:
    InputError: no such step or field.
  """
  if strays := [name for name in extra_fields if name not in extra]:
    raise InputError(f'config.augment.extra_fields: {strays[0]!r} is not in config.augment.extra')
  made = []
  for name in extra:
    step = registry.find(name, AUGMENTATIONS, 'augment.extra')
    where = f'augment.extra_fields[{name!r}]'
    made.append(registry.bind(step, where, extra_fields.get(name, {})))
  return Augment(**steps, extra=tuple(made))
