"""RandAugment against Pillow's operations, random erasing against its distribution."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from googlenet_jax.data import rand_augment as ra
from googlenet_jax.data.augmentations import AUGMENTATIONS
from googlenet_jax.errors import InputError


def picture(height=24, width=32, channels=3, seed=0):
  """Smooth colours with noise: no channel has its full range. `[H, W, C]` uint8."""
  rng = np.random.default_rng(seed)
  y, x = np.mgrid[:height, :width] / max(height, width)
  waves = [np.sin(3 * (x + 0.4 * c) + 2 * y) * (50 + 10 * c) for c in range(channels)]
  image = 110 + np.stack(waves, -1) + rng.normal(0, 8, (height, width, channels))
  return np.clip(image, 0, 255).astype(np.uint8)


def keys(count, seed=0):
  return jax.random.split(jax.random.key(seed), count)


def batch(count, **fields):
  return np.stack([picture(seed=seed, **fields) for seed in range(count)]).astype(np.float32)


def pillow(name, image, amount):
  """Pillow's operation of this name."""
  image, factor = Image.fromarray(image), 1 + 0.9 * amount
  return np.asarray(
    {
      'identity': lambda: image,
      'brightness': lambda: ImageEnhance.Brightness(image).enhance(factor),
      'contrast': lambda: ImageEnhance.Contrast(image).enhance(factor),
      'autocontrast': lambda: ImageOps.autocontrast(image),
      'equalize': lambda: ImageOps.equalize(image),
      'posterize': lambda: ImageOps.posterize(image, 8 - round(4 * abs(amount))),
      'solarize': lambda: ImageOps.solarize(image, 256 * (1 - abs(amount))),
      'invert': lambda: ImageOps.invert(image),
    }[name]()
  )


@pytest.mark.parametrize('amount', [-1.0, -0.3, 0.0, 0.5, 0.9])
@pytest.mark.parametrize('name', ra.TABLES)
def test_a_table_is_pillows_operation(name, amount):
  image = picture()
  table = ra.TABLES[name](amount, ra.histogram(jnp.asarray(image, jnp.int32)))
  got = np.asarray(table)[image, np.arange(3)]
  # Pillow's autocontrast and blends are floats cut to whole numbers: some fall short of ours.
  off = np.abs(got - pillow(name, image, amount).astype(int))
  floats = name in ('brightness', 'contrast', 'autocontrast')
  assert off.max() <= floats and np.mean(off) < 0.02


@pytest.mark.parametrize('name', ['equalize', 'autocontrast', 'contrast'])
@pytest.mark.parametrize('shape', [(24, 32, 1), (4, 4, 3)])
def test_gray_and_tiny_and_flat_images_are_pillows_too(name, shape):
  for image in (picture(*shape), np.full(shape, 77, np.uint8)):
    table = ra.TABLES[name](0.5, ra.histogram(jnp.asarray(image, jnp.int32)))
    got = np.asarray(table)[image, np.arange(shape[2])]
    expected = pillow(name, image[..., 0] if shape[2] == 1 else image, 0.5)
    np.testing.assert_allclose(got, expected.reshape(shape), atol=name != 'equalize')


@pytest.mark.parametrize('amount', [-1.0, 0.25, 0.9])
@pytest.mark.parametrize('name', ra.WARPS)
def test_a_warp_is_pillows_affine_transform(name, amount):
  image, (height, width) = picture(), (24, 32)
  angle = np.deg2rad(30 * amount)
  matrix = {
    'shear_x': [1, 0.3 * amount, 0, 0, 1, 0],
    'shear_y': [1, 0, 0, 0.3 * amount, 1, 0],
    'translate_x': [1, 0, 150 / 331 * width * amount, 0, 1, 0],
    'translate_y': [1, 0, 0, 0, 1, 150 / 331 * height * amount],
    'rotate': [np.cos(angle), -np.sin(angle), 0, np.sin(angle), np.cos(angle), 0],
  }[name]
  # Pillow's origin is the corner, ours the centre.
  a, b, c, d, e, f = matrix
  c += width / 2 - a * width / 2 - b * height / 2
  f += height / 2 - d * width / 2 - e * height / 2
  expected = Image.fromarray(image).transform(
    (width, height), Image.AFFINE, (a, b, c, d, e, f), Image.BILINEAR, fillcolor=(128,) * 3
  )
  got = ra.warp(jnp.asarray(image, jnp.float32), ra.WARPS[name](amount, height, width), 128.0)
  np.testing.assert_allclose(got, np.asarray(expected), atol=1.01)


def test_rotation_is_pillows_rotate():
  image = picture()
  got = ra.warp(jnp.asarray(image, jnp.float32), ra.rotate(0.5, 24, 32), 0.0)
  expected = np.asarray(Image.fromarray(image).rotate(15, Image.BILINEAR))
  assert np.mean(np.abs(got - expected)) < 0.6


def test_tables_are_applied_in_the_order_drawn():
  augment = jax.jit(
    functools.partial(AUGMENTATIONS['rand_augment'], operations=('equalize', 'solarize'))
  )
  image = picture()
  results = np.asarray(augment(np.stack([image] * 64).astype(np.float32), keys(64)))
  names = ('equalize', 'solarize')
  sequences = [pillow(b, pillow(a, image, 0.9), 0.9) for a in names for b in names]
  found = [[np.array_equal(result, expected) for expected in sequences] for result in results]
  assert np.all(np.sum(found, 1) == 1)
  assert np.all(np.sum(found, 0) > 4)  # 16 of the 64 are expected in each


def test_warps_are_composed_and_sampled_once():
  augment = jax.jit(
    functools.partial(AUGMENTATIONS['rand_augment'], magnitude=10, operations=('translate_x',))
  )
  images = np.repeat(batch(1, width=331), 64, 0)
  results = np.asarray(augment(images, keys(64)))
  still = np.max(np.abs(results - images), (1, 2, 3)) < 0.5  # right and left again
  assert 20 <= still.sum() <= 44  # binomial of 64 and a half: 4 deviations
  moved = results[~still]
  right = np.all(np.abs(moved[:, :, :-300] - images[0, :, 300:]) < 0.5, (1, 2, 3))
  left = np.all(np.abs(moved[:, :, 300:] - images[0, :, :-300]) < 0.5, (1, 2, 3))
  assert np.all(right ^ left) and right.any() and left.any()
  assert np.all(moved[right][:, :, -300:] == 128)


def test_operations_are_drawn_evenly():
  names = ('identity', 'invert', 'posterize', 'equalize')
  augment = jax.jit(functools.partial(AUGMENTATIONS['rand_augment'], num_ops=1, operations=names))
  image = picture()
  results = np.asarray(augment(np.stack([image] * 400).astype(np.float32), keys(400)))
  for name in names:
    count = sum(np.array_equal(result, pillow(name, image, 0.9)) for result in results)
    assert 65 <= count <= 135, name  # binomial of 400 and a quarter: 4 deviations


def test_no_magnitude_changes_nothing():
  names = tuple(set(ra.PAPERS) - {'autocontrast', 'equalize'})  # these have no magnitude
  augment = jax.jit(functools.partial(AUGMENTATIONS['rand_augment'], magnitude=0, operations=names))
  images = batch(32)
  np.testing.assert_allclose(augment(images, keys(32)), images, atol=1e-3)


@pytest.mark.parametrize('name', AUGMENTATIONS)
@pytest.mark.parametrize('channels', [1, 3])
def test_an_image_depends_on_its_own_key_alone(name, channels):
  augment = jax.jit(functools.partial(AUGMENTATIONS[name]))
  images = batch(12, channels=channels)
  whole = np.asarray(augment(images, keys(12)))
  parts = [augment(images[part], keys(12)[part]) for part in (slice(0, 6), slice(6, 12))]
  np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-3)
  assert whole.shape == images.shape and whole.dtype == np.float32
  assert not np.array_equal(whole, augment(images, keys(12, seed=1)))


@pytest.mark.parametrize('name', AUGMENTATIONS)
def test_levels_stay_in_their_range(name):
  strong = {'rand_augment': {'num_ops': 3, 'magnitude': 10}, 'random_erasing': {'probability': 1.0}}
  augment = jax.jit(functools.partial(AUGMENTATIONS[name], **strong[name]))
  for image in (batch(1)[0], np.zeros((24, 32, 3)), np.full((24, 32, 3), 255.0)):
    images = np.repeat(image[None], 100, 0).astype(np.float32)
    results = np.asarray(augment(images, keys(100)))
    assert results.min() >= 0 and results.max() <= 255  # NaN fails too


def erased(count=2000, size=(40, 40), **fields):
  """Masks `[B, H, W]` of what is erased from white images."""
  augment = jax.jit(functools.partial(AUGMENTATIONS['random_erasing'], fill='zero', **fields))
  return np.asarray(augment(np.full((count, *size, 1), 255, np.float32), keys(count)))[..., 0] == 0


def test_as_many_are_erased_as_the_probability_says():
  share = erased(probability=0.25).any((1, 2)).mean()
  assert abs(share - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 2000)
  assert not erased(20, probability=0.0).any() and erased(20, probability=1.0).any((1, 2)).all()


@pytest.mark.parametrize('size', [(40, 40), (64, 32)])
def test_what_is_erased_is_a_rectangle_of_the_area_and_aspect(size):
  masks = erased(size=size, probability=1.0)
  heights, widths = masks.any(2).sum(1), masks.any(1).sum(1)
  areas = masks.sum((1, 2))
  np.testing.assert_array_equal(areas, heights * widths)  # a rectangle, whole
  shares = areas / (size[0] * size[1])
  assert 0.015 < shares.min() < 0.03 and 0.31 < shares.max() < 0.35
  assert abs(shares.mean() - (0.02 + 1 / 3) / 2) < 0.01  # uniform
  assert abs(shares.std() - (1 / 3 - 0.02) / np.sqrt(12)) < 0.01
  large = areas > 100  # where rounding to pixels does not tell
  ratios = np.log(heights[large] / widths[large])
  assert ratios.min() > np.log(0.24) and ratios.max() < np.log(4.1)
  assert abs(np.mean(ratios)) < 0.08  # as many tall as wide


def test_rectangles_are_anywhere():
  masks = erased(4000, (16, 16), probability=1.0, area=(0.1, 0.1), aspect=(1.0, 1.0))
  corners = masks.sum(0)  # squares of 5 pixels, 12 x 12 places
  assert set(masks.sum((1, 2))) == {25}
  rows = masks.any(2).argmax(1)
  assert np.all(np.abs(np.bincount(rows, minlength=12) - 4000 / 12) < 80)
  for corner in (corners[0, 0], corners[0, -1], corners[-1, 0], corners[-1, -1]):
    assert 10 < corner < 50  # 4000 / 144 = 28


def test_random_values_fill_a_rectangle_and_nothing_else_changes():
  augment = jax.jit(functools.partial(AUGMENTATIONS['random_erasing'], probability=1.0))
  images = np.full((200, 32, 32, 3), -1.0, np.float32)
  results = np.asarray(augment(images, keys(200)))
  values = results[results != -1]
  histogram, _ = np.histogram(values, 10, (0, 255))
  assert histogram.sum() == len(values) and np.ptp(histogram) < 0.1 * histogram.mean()
  assert results[results[..., 0] != -1].std(-1).mean() > 40  # a value for each channel


@pytest.mark.parametrize(
  ('name', 'fields', 'words'),
  [
    ('rand_augment', {'num_ops': 0}, 'num_ops=0'),
    ('rand_augment', {'magnitude': 17}, 'from 0 to 10'),
    ('rand_augment', {'operations': ('shear',)}, 'did you mean shear_x'),
    ('rand_augment', {'operations': ()}, 'no operations'),
    ('rand_augment', {'fill': -1}, 'fill=-1'),
    ('random_erasing', {'probability': 25}, 'probability=25'),
    ('random_erasing', {'area': (0.4, 0.02)}, 'rising'),
    ('random_erasing', {'aspect': (0.0, 3.3)}, 'aspect'),
    ('random_erasing', {'fill': 'mean'}, "'random', 'zero'"),
  ],
)
def test_unusable_fields(name, fields, words):
  with pytest.raises(InputError, match=words):
    AUGMENTATIONS[name](jnp.zeros((2, 8, 8, 3)), keys(2), **fields)
