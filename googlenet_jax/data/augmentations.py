"""Further augmentations by name.

Each is `(images [B, H, W, C] float32 in [0, 255], keys [B], **fields) -> images`.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from googlenet_jax import registry
from googlenet_jax.data.augment import Augment
from googlenet_jax.data.rand_augment import rand_augment
from googlenet_jax.data.random_erasing import random_erasing

AUGMENTATIONS: dict[str, Callable] = {
  'rand_augment': rand_augment,
  'random_erasing': random_erasing,
}


def create(
  *,
  flip: bool = False,
  alternate: bool = False,
  extra: Sequence[str] = (),
  extra_fields: Mapping[str, Mapping] = MappingProxyType({}),
  **steps,
) -> Augment:
  """What is done, by name.

  Args:
    flip, alternate: see `Augment`; `alternate` has no effect without `flip`.
    extra: keys of `AUGMENTATIONS`, or 'module:attribute': functions
      `(images, keys, **fields) -> images`.
    extra_fields: fields of a step, by its name.
    steps: the other fields of `Augment`.

  Raises:
    InputError: no such step or field.
  """
  by_name = registry.by_name(extra, extra_fields, 'augment.extra', 'augment.extra_fields')
  made = [
    registry.bind(registry.find(name, AUGMENTATIONS, 'augment.extra'), 'augment.extra_fields', own)
    for name, own in by_name.items()
  ]
  return Augment(**steps, flip=flip, alternate=flip and alternate, extra=tuple(made))
