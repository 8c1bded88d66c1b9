"""What is done to the pixels of every image, in training and after it."""

import jax
import jax.numpy as jnp
import numpy as np

LUMA = np.array([0.299, 0.587, 0.114])  # shares of RGB in gray (NTSC, and Pillow's 'L')


def gray(images: jax.Array) -> jax.Array:
  """RGB `[..., H, W, 3]` as gray `[..., H, W, 1]` of the same range, float32."""
  return jnp.einsum('...c,c->...', images, LUMA)[..., None]


def normalise(images: jax.Array, mean: tuple[float, ...], std: tuple[float, ...]) -> jax.Array:
  """Images `[..., C]` less their mean, over their standard deviation, float32.

  Args:
    images: pixels of any type.
    mean, std: statistics of a channel, in the images' units; one value serves all channels.
  """
  return (images - jnp.array(mean)) / jnp.array(std)
