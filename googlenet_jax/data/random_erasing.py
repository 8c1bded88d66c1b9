"""Random erasing (Zhong et al., arXiv 1708.04896) as a pure function of a key an example."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from googlenet_jax.errors import InputError

FILLS = ('random', 'zero')


def random_erasing(
  images: jax.Array,
  keys: jax.Array,
  *,
  probability: float = 0.25,
  area: tuple[float, float] = (0.02, 1 / 3),
  aspect: tuple[float, float] = (0.3, 10 / 3),
  fill: str = 'random',
) -> jax.Array:
  """Erases a rectangle that lies inside the image, by chance.

  Its area is uniform, its aspect log-uniform, so that tall and wide ones are as frequent, and its
  place uniform. An aspect at which so large a rectangle would not fit is brought to one that does,
  where the paper draws again. Its authors' code has probability 0.5, areas up to 0.4 and a uniform
  aspect.

  Args:
    images: `[B, H, W, C]` in [0, 255].
    keys: `[B]`.
    probability: share of the images that lose a rectangle.
    area: shares of the image's area, least and greatest.
    aspect: height over width, least and greatest.
    fill: 'random' for a uniform value in [0, 255] for each pixel and channel, or 'zero'.

  Raises:
    InputError: a field is out of its range.
  """
  if not 0 <= probability <= 1:
    raise InputError(f'random_erasing: probability={probability}: use a share from 0 to 1')
  if not 0 < area[0] <= area[1] <= 1:
    raise InputError(f'random_erasing: area={area}: use two rising shares from above 0 to 1')
  if not 0 < aspect[0] <= aspect[1]:
    raise InputError(f'random_erasing: aspect={aspect}: use two rising ratios above 0')
  if fill not in FILLS:
    raise InputError(f'random_erasing: fill={fill!r}: use one of {FILLS}')

  def one(image, key):
    key_box, key_fill = jax.random.split(key)
    chance, *draws = jax.random.uniform(key_box, (5,))
    box = rectangle(draws, *image.shape[:2], area, aspect)
    values = jax.random.uniform(key_fill, image.shape, maxval=255) if fill == 'random' else 0.0
    return jnp.where(box & (chance < probability), values, image)

  return jax.vmap(one)(images, keys)


def rectangle(
  draws: Sequence[jax.Array],
  height: int,
  width: int,
  area: tuple[float, float],
  aspect: tuple[float, float],
) -> jax.Array:
  """Mask `[H, W, 1]` of a rectangle that lies inside the image (see `random_erasing`).

  Args:
    draws: four uniform values in [0, 1): for the area, the aspect, the row and the column.
    height, width: size of the image, pixels.
    area, aspect: bounds, see `random_erasing`.
  """
  pixels = height * width * (area[0] + draws[0] * (area[1] - area[0]))
  ratio = aspect[0] * (aspect[1] / aspect[0]) ** draws[1]
  ratio = jnp.clip(ratio, pixels / width**2, height**2 / pixels)
  rows = jnp.clip(jnp.round(jnp.sqrt(pixels * ratio)), 1, height)
  columns = jnp.clip(jnp.round(jnp.sqrt(pixels / ratio)), 1, width)
  top = jnp.floor(draws[2] * (height - rows + 1))
  left = jnp.floor(draws[3] * (width - columns + 1))
  y, x = jnp.arange(height)[:, None] - top, jnp.arange(width)[None] - left
  return ((y >= 0) & (y < rows) & (x >= 0) & (x < columns))[..., None]
