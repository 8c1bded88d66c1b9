"""Augmentation of image batches as pure functions of a key an example.

Every function takes `images [B, H, W, C]` and `keys [B]` and treats each example with
its own key, so what an example becomes does not depend on the batch around it.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from googlenet_jax.data import pixels


class Augment(NamedTuple):
  """What is done to training images, in this order; 0, False or () leaves a step out.

  Attributes:
    area: shares of a photo's area, least and greatest, that a crop has (`boxes.random_box`);
      this one and the next two are done by the host while it decodes.
    aspect: width over height of a crop, least and greatest.
    interpolation: names of `decode.INTERPOLATIONS`; a crop is resized with one of them.
    pad: pixels of reflected border added before a crop of the original size.
    flip: mirror left and right with probability 1/2.
    alternate: with `flip`, half of the examples are mirrored in even epochs, the other half in odd
      ones, in place of by chance (Jordan 2024, arXiv 2404.00498, section 3.6).
    color: brightness, contrast and saturation are each scaled by a factor drawn
      uniformly from 1 - color to 1 + color.
    hue: greatest turn of the colours about the gray axis, as a share of the circle.
    lighting: standard deviation of the shift along the principal components of ImageNet's
      colours, in units of theirs (Krizhevsky et al. 2012, section 4.1: 0.1).
    extra: further steps `(images [B, H, W, C] float32 in [0, 255], keys [B]) -> images`, on images
      of the network's size.
    cutout: side of a square of zeros (after normalisation), pixels (arXiv 1708.04552).
    mixup: alpha of the Beta distribution of the mixing weight (arXiv 1710.09412).
    cutmix: alpha, likewise (arXiv 1905.04899); with both, each example takes one of them.
  """

  area: tuple[float, ...] = ()
  aspect: tuple[float, float] = (3 / 4, 4 / 3)
  interpolation: tuple[str, ...] = ('area',)
  pad: int = 0
  flip: bool = False
  alternate: bool = False
  color: float = 0.0
  hue: float = 0.0
  lighting: float = 0.0
  extra: tuple[Callable[[jax.Array, jax.Array], jax.Array], ...] = ()
  cutout: int = 0
  mixup: float = 0.0
  cutmix: float = 0.0


NONE = Augment()

# Of RGB in [0, 255]: rows are the luma Y and the two axes of colour I and Q (NTSC).
YIQ = np.array([pixels.LUMA, [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
# Of ImageNet's RGB in [0, 1], as published with cuda-convnet and fb.resnet.torch.
PCA_VALUES = np.array([0.2175, 0.0188, 0.0045])
PCA_VECTORS = np.array(  # a column each
  [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
)


# What is random about an example; those of `extra` follow. The place of each is in a run's bits.
STREAMS = 'crop', 'color', 'cutout', 'mix', 'hue', 'lighting'


def by_example(key: jax.Array, positions: jax.Array) -> jax.Array:
  """A key `[B]` for the example at each position `[B]`."""
  return jax.vmap(jax.random.fold_in, (None, 0))(key, positions)


def stream(keys: jax.Array, number: int) -> jax.Array:
  """Keys `[B]` for one of the things that are random about an example, independent of others'."""
  return jax.vmap(jax.random.fold_in, (0, None))(keys, number)


def apply(
  images: jax.Array,
  keys: jax.Array | None,
  shape: tuple[int, int, int],
  mean: tuple[float, ...],
  std: tuple[float, ...],
  augment: Augment,
) -> jax.Array:
  """Augmented, resized and normalised images `[B, *shape]` float32; each by its own key alone.

  Args:
    images: `[B, H, W, C]`, [0, 255].
    keys: `[B]`; None where nothing is augmented.
    shape: (H, W, C) of the result.
    mean, std: statistics of a channel, in [0, 255].
    augment: what is done; mixing apart (`mix`), and `alternate`, which knows the epoch.
  """

  def key(name):
    return stream(keys, STREAMS.index(name))

  by_chance = augment.flip and not augment.alternate
  if augment.pad or by_chance:
    images = crop_and_flip(images, key('crop'), augment.pad, by_chance)
  images = images.astype(jnp.float32)
  if augment.color:
    images = jitter_color(images, key('color'), augment.color)
  if augment.hue:
    images = turn_hue(images, key('hue'), augment.hue)
  if augment.lighting:
    images = shift_lighting(images, key('lighting'), augment.lighting)
  if images.shape[-3:-1] != shape[:2]:
    images = jax.image.resize(images, (len(images), *shape[:2], images.shape[3]), 'bilinear')
  images = jnp.broadcast_to(images, (*images.shape[:-3], *shape))
  for i, step in enumerate(augment.extra, len(STREAMS)):
    images = step(images, stream(keys, i))
  images = pixels.normalise(images, mean, std)
  if augment.cutout:
    images = cutout(images, key('cutout'), augment.cutout)
  return images


def crop_and_flip(images: jax.Array, keys: jax.Array, pad: int, flip: bool) -> jax.Array:
  """Crops of the original size out of the reflect-padded image, mirrored by chance."""

  def one(image, key):
    key_crop, key_flip = jax.random.split(key)
    if pad:
      padded = jnp.pad(image, ((pad, pad), (pad, pad), (0, 0)), mode='reflect')
      row, column = jax.random.randint(key_crop, (2,), 0, 2 * pad + 1)
      image = jax.lax.dynamic_slice(padded, (row, column, 0), image.shape)
    if flip:
      image = jnp.where(jax.random.bernoulli(key_flip), image[:, ::-1], image)
    return image

  return jax.vmap(one)(images, keys)


def mirrored(key: jax.Array, index: jax.Array, epoch: jax.Array) -> jax.Array:
  """Which examples `Augment.alternate` mirrors: each in every second epoch.

  Args:
    key: key of the epoch that each begins in, 0 or 1.
    index: `[B]`, of the examples.
    epoch: `[B]`.

  Returns:
    `[B]` bool.
  """
  first = jax.vmap(lambda i: jax.random.bernoulli(jax.random.fold_in(key, i)))(index)
  return first ^ (epoch % 2 == 1)


def jitter_color(images: jax.Array, keys: jax.Array, strength: float) -> jax.Array:
  """Random brightness, contrast and saturation; float images in [0, 255]."""

  def one(image, key):
    brightness, contrast, saturation = jax.random.uniform(
      key, (3,), minval=1 - strength, maxval=1 + strength
    )
    image = image * brightness
    image = (image - image.mean()) * contrast + image.mean()
    gray = image.mean(-1, keepdims=True)
    return jnp.clip((image - gray) * saturation + gray, 0, 255)

  return jax.vmap(one)(images, keys)


def turn_hue(images: jax.Array, keys: jax.Array, most: float) -> jax.Array:
  """Turns the colours about the gray axis; float RGB in [0, 255], luma stays.

  Args:
    most: greatest angle either way, as a share of the circle.
  """
  inverse = np.linalg.inv(YIQ)

  def one(image, key):
    angle = 2 * jnp.pi * jax.random.uniform(key, minval=-most, maxval=most)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    turn = jnp.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
    matrix = jnp.einsum('db,ba,ac->dc', inverse, turn, YIQ, precision='highest')
    # Not a product of matrices, which no compiler joins with the steps before and after it.
    channels = jnp.unstack(image, axis=-1)
    turned = [sum(x * y for x, y in zip(row, channels, strict=True)) for row in matrix]
    return jnp.clip(jnp.stack(turned, -1), 0, 255)

  return jax.vmap(one)(images, keys)


def shift_lighting(images: jax.Array, keys: jax.Array, deviation: float) -> jax.Array:
  """Adds a random multiple of each principal component; float RGB in [0, 255]."""

  def one(image, key):
    amounts = deviation * jax.random.normal(key, (3,)) * (255 * PCA_VALUES)
    return jnp.clip(image + jnp.sum(PCA_VECTORS * amounts, axis=1), 0, 255)

  return jax.vmap(one)(images, keys)


def boxes(keys: jax.Array, height: int, width: int, sides: tuple) -> jax.Array:
  """Masks `[B, H, W, 1]` of boxes centred anywhere, cut off at the border.

  Args:
    sides: (height, width) of the boxes in pixels, scalars or `[B]`.
  """

  def one(key, box_height, box_width):
    centre = jax.random.uniform(key, (2,)) * jnp.array([height, width])
    top, left = jnp.floor(centre - jnp.array([box_height, box_width]) / 2 + 0.5)
    rows, columns = jnp.arange(height)[:, None], jnp.arange(width)[None]
    inside = (rows >= top) & (rows < top + box_height)
    return (inside & (columns >= left) & (columns < left + box_width))[..., None]

  sides = [jnp.broadcast_to(side, keys.shape) for side in sides]
  return jax.vmap(one)(keys, *sides)


def cutout(images: jax.Array, keys: jax.Array, side: int) -> jax.Array:
  """Zeroes a square of normalised images."""
  return jnp.where(boxes(keys, *images.shape[1:3], (side, side)), 0.0, images)


def mix(
  images: jax.Array,
  labels: jax.Array,
  partner_images: jax.Array,
  partner_labels: jax.Array,
  keys: jax.Array,
  augment: Augment,
) -> tuple[jax.Array, jax.Array]:
  """Mixup or CutMix of each example with its partner.

  Args:
    images, partner_images: `[B, H, W, C]` float32.
    labels, partner_labels: `[B, classes]` float32 distributions.
    keys: `[B]`, of the examples.
    augment: settings; `mixup` and `cutmix` count, not both 0.

  Returns:
    Images and labels; a label's weights are the shares of the pixels.
  """
  mixup, cutmix = augment.mixup, augment.cutmix
  mixing = stream(keys, STREAMS.index('mix'))
  key_choice, key_mixup, key_cutmix, key_box = (stream(mixing, i) for i in range(4))
  height, width = images.shape[1:3]
  beta = jax.vmap(lambda key, alpha: jax.random.beta(key, alpha, alpha), (0, None))
  by_box = jax.vmap(jax.random.bernoulli, (0, None))(
    key_choice, 0.5 if mixup and cutmix else float(bool(cutmix))
  )
  weight = jnp.zeros((*keys.shape, 1, 1, 1))  # the partner's, a pixel
  if mixup:
    weight += beta(key_mixup, mixup)[:, None, None, None]
  if cutmix:
    side = jnp.sqrt(1 - beta(key_cutmix, cutmix))
    box = boxes(key_box, height, width, (jnp.round(side * height), jnp.round(side * width)))
    weight = jnp.where(by_box[:, None, None, None], box.astype(jnp.float32), weight)
  images = images + weight * (partner_images - images)
  share = weight.mean((1, 2))  # [B, 1]
  return images, labels + share * (partner_labels - labels)
