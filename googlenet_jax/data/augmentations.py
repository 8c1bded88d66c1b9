"""Further augmentations by name.

Each is a factory, `(fields) -> Augmentation`. An augmentation is pure and can be compiled; what an
example becomes depends on its own key alone, not on the batch around it.
"""

from collections.abc import Callable

import jax

from googlenet_jax.data.rand_augment import rand_augment
from googlenet_jax.data.random_erasing import random_erasing

# (images [B, H, W, C] float32 in [0, 255], keys [B]) -> images.
Augmentation = Callable[[jax.Array, jax.Array], jax.Array]

AUGMENTATIONS: dict[str, Callable[..., Augmentation]] = {
  'rand_augment': rand_augment,
  'random_erasing': random_erasing,
}
