"""Random erasing (Zhong et al., arXiv 1708.04896) as a pure function of a key an example."""

import jax
import jax.numpy as jnp

from googlenet_jax.data.augment import split
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
  where the paper draws again.

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

  key_chance, key_box, key_fill = split(keys, 3)
  chosen = jax.vmap(lambda key: jax.random.bernoulli(key, probability))(key_chance)
  box = rectangles(key_box, *images.shape[1:3], area, aspect)
  values = 0.0
  if fill == 'random':
    values = jax.vmap(lambda key: jax.random.uniform(key, images.shape[1:], maxval=255))(key_fill)
  return jnp.where(box & chosen[:, None, None, None], values, images)


def rectangles(
  keys: jax.Array,
  height: int,
  width: int,
  area: tuple[float, float],
  aspect: tuple[float, float],
) -> jax.Array:
  """Masks `[B, H, W, 1]` of rectangles that lie inside the image (see `random_erasing`)."""

  def one(key):
    key_area, key_aspect, key_place = jax.random.split(key, 3)
    share = jax.random.uniform(key_area, minval=area[0], maxval=area[1])
    low, high = jnp.log(jnp.array(aspect))
    ratio = jnp.exp(jax.random.uniform(key_aspect, minval=low, maxval=high))
    ratio = jnp.clip(ratio, share * height / width, height / (share * width))
    pixels = share * height * width
    limits = jnp.array([height, width])
    sides = jnp.round(jnp.sqrt(pixels * jnp.array([ratio, 1 / ratio])))
    sides = jnp.clip(sides, 1, limits).astype(jnp.int32)
    top, left = jax.random.randint(key_place, (2,), 0, limits - sides + 1)
    rows, columns = jnp.arange(height)[:, None] - top, jnp.arange(width)[None] - left
    inside = (rows >= 0) & (rows < sides[0]) & (columns >= 0) & (columns < sides[1])
    return inside[..., None]

  return jax.vmap(one)(keys)
