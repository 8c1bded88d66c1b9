"""RandAugment (Cubuk et al., arXiv 1909.13719) in a form that suits a compiled step.

However many operations an image gets, it is read twice: the operations on its colours become one
table of 256 values a channel, those on its geometry one affine map, which is sampled once. So the
colours change first. An operation that needs more than that, the paper's 'color' (saturation,
which mixes channels) and 'sharpness' (which mixes neighbours), is left out.
"""

import jax
import jax.numpy as jnp

from googlenet_jax.data import pixels
from googlenet_jax.errors import InputError, hint

LEVELS = 256

# Operations on geometry: (amount, height, width) -> the affine map [3, 3] from output to input, in
# pixels from the image's centre: (x, y, 1). `amount` is from -1 to 1.


def shear_x(amount, height, width):
  """Moves a row by up to 0.3 of its distance from the centre."""
  return _affine([[1, 0.3 * amount, 0], [0, 1, 0]])


def shear_y(amount, height, width):
  """Moves a column by up to 0.3 of its distance from the centre."""
  return _affine([[1, 0, 0], [0.3 * amount, 1, 0]])


def translate_x(amount, height, width):
  """Moves the image sideways by up to 150/331 of its width."""
  return _affine([[1, 0, 150 / 331 * width * amount], [0, 1, 0]])


def translate_y(amount, height, width):
  """Moves the image up or down by up to 150/331 of its height."""
  return _affine([[1, 0, 0], [0, 1, 150 / 331 * height * amount]])


def rotate(amount, height, width):
  """Turns the image by up to 30 degrees."""
  angle = jnp.deg2rad(30) * amount
  cos, sin = jnp.cos(angle), jnp.sin(angle)
  return _affine([[cos, -sin, 0], [sin, cos, 0]])


def _affine(rows):
  return jnp.array([*rows, [0, 0, 1]], jnp.float32)


# Operations on colours: (amount, counts) -> table [256, C], int32. `counts [256, C]` says how many
# pixels have each level. Levels are those of Pillow's operation of the same name.


def brightness(amount, counts):
  """Scales by a factor from 0.1 to 1.9."""
  return _blend(jnp.zeros(counts.shape[1]), amount)


def contrast(amount, counts):
  """Scales the distance from the mean gray by a factor from 0.1 to 1.9."""
  channels = counts.shape[1]
  weights = jnp.array(pixels.LUMA if channels == 3 else (1 / channels,) * channels)
  means = jnp.sum(_levels(counts) * counts, axis=0) / counts.sum(0)
  return _blend(jnp.full(channels, jnp.floor(jnp.sum(means * weights) + 0.5)), amount)


def autocontrast(amount, counts):
  """Stretches each channel's range to [0, 255]."""
  present = counts > 0
  low = jnp.argmax(present, axis=0)
  high = LEVELS - 1 - jnp.argmax(present[::-1], axis=0)
  levels = _levels(counts)
  # Whole numbers: a quotient of floats may fall short of one.
  stretched = jnp.clip((levels - low) * 255 // jnp.maximum(high - low, 1), 0, 255)
  return jnp.where(high > low, stretched, levels)


def equalize(amount, counts):
  """Spreads each channel's levels evenly over its pixels."""
  levels = _levels(counts)
  high = LEVELS - 1 - jnp.argmax(counts[::-1] > 0, axis=0)
  step = (counts.sum(0) - jnp.take_along_axis(counts, high[None], 0)[0]) // 255
  below = jnp.cumsum(counts, axis=0) - counts
  even = jnp.minimum((step // 2 + below) // jnp.maximum(step, 1), 255)
  return jnp.where(step > 0, even, levels)


def posterize(amount, counts):
  """Clears up to 4 of the 8 bits."""
  cleared = jnp.round(4 * jnp.abs(amount)).astype(jnp.int32)
  return (_levels(counts) >> cleared) << cleared


def solarize(amount, counts):
  """Inverts levels from a threshold on, 256 falling to 0."""
  threshold = LEVELS * (1 - jnp.abs(amount))
  levels = _levels(counts)
  return jnp.where(levels < threshold, levels, 255 - levels)


def invert(amount, counts):
  """Inverts all levels."""
  return 255 - _levels(counts)


def _levels(counts):
  return jnp.broadcast_to(jnp.arange(LEVELS)[:, None], counts.shape)


def _blend(origin, amount):
  """Levels at 1 + 0.9 amount times their distance from `origin [C]`."""
  levels = jnp.arange(LEVELS)[:, None]
  return jnp.clip(origin + (1 + 0.9 * amount) * (levels - origin), 0, 255).astype(jnp.int32)


WARPS = {
  'shear_x': shear_x,
  'shear_y': shear_y,
  'translate_x': translate_x,
  'translate_y': translate_y,
  'rotate': rotate,
}
TABLES = {
  'brightness': brightness,
  'contrast': contrast,
  'autocontrast': autocontrast,
  'equalize': equalize,
  'posterize': posterize,
  'solarize': solarize,
  'invert': invert,
}
OPERATIONS = ('identity', *WARPS, *TABLES)
PAPERS = tuple(name for name in OPERATIONS if name != 'invert')


def rand_augment(
  images: jax.Array,
  keys: jax.Array,
  *,
  num_ops: int = 2,
  magnitude: float = 9.0,
  operations: tuple[str, ...] = PAPERS,
  fill: float = 128.0,
) -> jax.Array:
  """Applies operations drawn for each image, uniformly and with replacement.

  Args:
    images: `[B, H, W, C]` in [0, 255], rounded to whole levels before a table is applied.
    keys: `[B]`.
    num_ops: operations an image.
    magnitude: strength of each on the paper's scale from 0, none, to 10; of torchvision's 31 bins
      it is a third. Where an operation has two directions (left or right, darker or brighter), one
      is drawn.
    operations: names of `OPERATIONS`; the paper's are all but 'invert'.
    fill: level of what a warp brings in from outside the image.

  Raises:
    InputError: a field is out of its range.
  """
  _check(num_ops, magnitude, operations, fill)

  def one(image, key):
    height, width, channels = image.shape
    levels = jnp.clip(jnp.round(image), 0, 255).astype(jnp.int32)
    counts = histogram(levels)
    table = jnp.broadcast_to(jnp.arange(LEVELS)[:, None], counts.shape)
    matrix = jnp.eye(3)
    draws = jax.random.uniform(key, (num_ops, 2))
    choices = jnp.floor(draws[:, 0] * len(operations)).astype(jnp.int32)
    amounts = jnp.where(draws[:, 1] < 0.5, -1, 1) * magnitude / 10
    for choice, amount in zip(choices, amounts, strict=True):
      after = _through(counts, table)
      tables = [TABLES.get(name, _identity_table)(amount, after) for name in operations]
      table = jnp.take_along_axis(jnp.stack(tables)[choice], table, axis=0)
      warps = [WARPS.get(name, _identity_map)(amount, height, width) for name in operations]
      matrix = jnp.matmul(matrix, jnp.stack(warps)[choice], precision='highest')
    colored = table[levels, jnp.arange(channels)].astype(jnp.float32)
    return jnp.clip(warp(colored, matrix, fill), 0, 255)

  return jax.vmap(one)(images, keys)


def _check(num_ops, magnitude, operations, fill):
  if num_ops < 1:
    raise InputError(f'rand_augment: num_ops={num_ops}: use 1 or more')
  if not 0 <= magnitude <= 10:
    raise InputError(f'rand_augment: magnitude={magnitude}: use a number from 0 to 10')
  if not operations:
    raise InputError('rand_augment: no operations: name some, or leave the augmentation out')
  for name in operations:
    if name not in OPERATIONS:
      near = hint(name, OPERATIONS) or f': use some of {", ".join(OPERATIONS)}'
      raise InputError(f'rand_augment: no operation {name!r}{near}')
  if not 0 <= fill <= 255:
    raise InputError(f'rand_augment: fill={fill}: use a level from 0 to 255')


def _identity_table(amount, counts):
  return _levels(counts)


def _identity_map(amount, height, width):
  return jnp.eye(3)


def histogram(levels: jax.Array) -> jax.Array:
  """Pixels of each level, `[256, C]`, of an image `[H, W, C]` int32."""
  channels = levels.shape[-1]
  counts = jnp.zeros((LEVELS, channels), jnp.int32)
  return counts.at[levels, jnp.arange(channels)].add(1)


def _through(counts, table):
  """The counts `[256, C]` of an image after its table."""
  return jnp.zeros_like(counts).at[table, jnp.arange(counts.shape[1])].add(counts)


def warp(image: jax.Array, matrix: jax.Array, fill: float) -> jax.Array:
  """Samples an image `[H, W, C]` bilinearly at the places that an affine map gives.

  Args:
    image: float32.
    matrix: `[3, 3]`, from output to input, (x, y, 1) in pixels from the image's centre.
    fill: level of places outside the image.
  """
  height, width, _ = image.shape
  rows, columns = jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing='ij')
  x, y = columns + 0.5 - width / 2, rows + 0.5 - height / 2
  in_x = matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2] + width / 2
  in_y = matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2] + height / 2
  inside = (in_x >= 0) & (in_x < width) & (in_y >= 0) & (in_y < height)

  left, top = jnp.floor(in_x - 0.5), jnp.floor(in_y - 0.5)
  share_x, share_y = (in_x - 0.5 - left)[..., None], (in_y - 0.5 - top)[..., None]

  def at(row, column):
    row = jnp.clip(row, 0, height - 1).astype(jnp.int32)
    return image[row, jnp.clip(column, 0, width - 1).astype(jnp.int32)]

  upper = at(top, left) * (1 - share_x) + at(top, left + 1) * share_x
  lower = at(top + 1, left) * (1 - share_x) + at(top + 1, left + 1) * share_x
  return jnp.where(inside[..., None], upper * (1 - share_y) + lower * share_y, fill)
