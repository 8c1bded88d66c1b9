"""The data against its definition: order, augmentation, masks, and what it needs to run."""

import json
import socket
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow_datasets as tfds
from scipy import stats
from sklearn import datasets, model_selection
from tfds_set import tfds_set

from googlenet_jax.data import (
  augment,
  augmentations,
  digits,
  pipeline,
  prepare,
  shuffle,
  sources,
  tfds_sets,
)
from googlenet_jax.errors import InputError

NAMES = tuple('0123456789')


def split_of(count, size=8, channels=3, valid=None):
  """Images whose every pixel tells their index."""
  images = np.zeros((count, size, size, channels), np.uint8)
  images += np.arange(count, dtype=np.uint8)[:, None, None, None]
  labels = (np.arange(count) % 10).astype(np.int32)
  return sources.Split(images, labels, np.ones(count, bool) if valid is None else valid, NAMES)


def reader(split, **fields):
  data = pipeline.in_memory(split, mean=(0.0,), std=(1.0,), **fields)
  return lambda positions, seed=0: data.make_batch(
    data.device_data, (), jnp.asarray(positions, jnp.uint32), jax.random.key(seed)
  )


def test_digits_are_scikit_learns():
  data = datasets.load_digits()
  rows = model_selection.train_test_split(
    np.arange(1797), test_size=360, random_state=0, stratify=data.target
  )
  for name, index in zip(('train', 'test'), rows, strict=True):
    ours = digits.load(name)
    scaled = np.round(data.images[index] * 255 / 16).astype(np.uint8)
    np.testing.assert_array_equal(ours.images[..., 0], scaled)
    np.testing.assert_array_equal(ours.labels, data.target[index])


def test_digits_are_sliced_as_tfds_does():
  whole = digits.load('train')
  part = digits.load('train[1200:1300]')
  np.testing.assert_array_equal(part.images, whole.images[1200:1300])


@pytest.mark.parametrize('split', ['validation', 'train[1:2:3]', 'train[a:]', 'train[5:5]'])
def test_unusable_split_of_digits(split):
  with pytest.raises(InputError, match='digits'):
    digits.load(split)


def test_cifar10_is_the_real_one(cifar10_dir):
  test = tfds_sets.load('cifar10', 'test', cifar10_dir)
  assert test.images.shape == (10_000, 32, 32, 3)
  assert test.class_names[:3] == ('airplane', 'automobile', 'bird')
  assert set(np.bincount(test.labels)) == {1000}
  # The published statistics of the set, a channel.
  np.testing.assert_allclose(test.images.mean((0, 1, 2)), (126.0, 123.7, 114.9), atol=0.1)


def test_cifar10_slices_are_disjoint(cifar10_dir):
  train = tfds_sets.load('cifar10', 'train[49000:49500]', cifar10_dir)
  validation = tfds_sets.load('cifar10', 'train[49500:]', cifar10_dir)
  assert (len(train.labels), len(validation.labels)) == (500, 500)
  assert not {bytes(x) for x in train.images} & {bytes(x) for x in validation.images}


@pytest.mark.parametrize('split', ['nothing', 'train[:', 'train[60000:]'])
def test_unusable_split_of_a_tfds_set(cifar10_dir, split):
  with pytest.raises(InputError, match='cifar10'):
    tfds_sets.load('cifar10', split, cifar10_dir)


def test_tfrecord_is_refused_with_the_conversion(tmp_path):
  folder = tmp_path / 'cifar10' / '3.0.2'
  folder.mkdir(parents=True)
  (folder / 'dataset_info.json').write_text(json.dumps({'fileFormat': 'tfrecord'}))
  with pytest.raises(InputError, match='mode=prepare'):
    tfds_sets.load('cifar10', 'train', str(tmp_path))
  # What the conversion leaves: both formats in one place.
  both = {'fileFormat': 'tfrecord', 'alternativeFileFormats': ['array_record']}
  (folder / 'dataset_info.json').write_text(json.dumps(both))
  assert str(prepare.ensure('cifar10', str(tmp_path))) == str(folder)


def test_newest_version_is_taken(tmp_path):
  for version in ('3.0.2', '3.0.10', '2.9.9'):
    folder = tmp_path / 'set' / version
    folder.mkdir(parents=True)
    (folder / 'dataset_info.json').write_text(json.dumps({'fileFormat': 'array_record'}))
  assert prepare.find('set', tmp_path).name == '3.0.10'
  assert prepare.find('other', tmp_path) is None


def test_no_network_is_found_out_within_10_seconds(tmp_path, monkeypatch):
  monkeypatch.setattr(prepare.importlib.util, 'find_spec', lambda name: name)  # TensorFlow is there
  with socket.socket() as silent:  # takes connections and never answers
    silent.bind(('127.0.0.1', 0))
    silent.listen()
    known = prepare.Known(f'http://127.0.0.1:{silent.getsockname()[1]}', 0.1)
    monkeypatch.setitem(prepare.SETS, 'cifar10', known)
    began = time.monotonic()
    with pytest.raises(InputError, match='data_dir'):
      tfds_sets.load('cifar10', 'train', str(tmp_path))
    assert time.monotonic() - began < 10
  assert not list(tmp_path.iterdir())


def test_what_is_missing_for_imagenet_is_told(tmp_path):
  with pytest.raises(InputError, match=r'ILSVRC2012_img_train\.tar and ILSVRC2012_img_val\.tar'):
    prepare.ensure('imagenet2012', str(tmp_path))
  assert not list(tmp_path.iterdir())


def test_a_full_disk_is_told_before_anything_is_started(tmp_path, monkeypatch):
  monkeypatch.setattr(prepare.importlib.util, 'find_spec', lambda name: name)  # TensorFlow is there
  monkeypatch.setitem(prepare.SETS, 'cifar10', prepare.Known('http://127.0.0.1', 10.0**9))
  with pytest.raises(InputError, match='GB left'):
    prepare.ensure('cifar10', str(tmp_path))


def orders(count, epochs, seed=0):
  """The order of some epochs, `[epochs, count]`."""
  positions = jnp.arange(epochs * count, dtype=jnp.uint32)
  found = jax.jit(shuffle.shuffled, static_argnums=2)(jax.random.key(seed), positions, count)
  return np.asarray(found).reshape(epochs, count)


@pytest.mark.parametrize('count', [1, 2, 3, 7, 31, 32, 33, 100, 1021, 1023, 1024, 1025, 9973])
def test_every_epoch_holds_every_example_once(count):
  found = orders(count, 3)
  assert (np.sort(found) == np.arange(count)).all()
  if count > 7:
    assert not (found[0] == found[1]).all() and not (found[1] == found[2]).all()
    assert not (found[0] == orders(count, 1, seed=1)[0]).all()


@pytest.mark.parametrize(('count', 'epochs'), [(5, 4000), (23, 1500)])
def test_orders_are_uniform(count, epochs):
  found = orders(count, epochs)
  # Each example at each place equally often: a chi-squared of (count - 1)^2 degrees of freedom.
  places = np.zeros((count, count))
  np.add.at(places, (found, np.arange(count)), 1)
  # Each pair of examples beside each other equally often.
  pairs = np.zeros((count, count))
  np.add.at(pairs, (found[:, :-1], found[:, 1:]), 1)
  pairs = pairs[~np.eye(count, dtype=bool)]
  for counts, freedom in ((places, (count - 1) ** 2), (pairs, count * (count - 1) - 1)):
    expected = counts.sum() / counts.size
    chi_squared = ((counts - expected) ** 2 / expected).sum()
    assert stats.chi2.sf(chi_squared, freedom) > 1e-4
    assert stats.chi2.cdf(chi_squared, freedom) > 1e-4


def test_all_orders_of_four_are_equally_frequent():
  found = orders(4, 6_000)
  _, counts = np.unique(found, axis=0, return_counts=True)
  assert len(counts) == 24
  assert stats.chisquare(counts).pvalue > 1e-4


def test_the_order_costs_the_work_of_the_batch():
  def flops(count):
    positions = jax.ShapeDtypeStruct((64,), jnp.uint32)
    lowered = jax.jit(shuffle.shuffled, static_argnums=2).lower(jax.random.key(0), positions, count)
    return lowered.cost_analysis()['flops']

  assert flops(531_131) <= 1.01 * flops(100)


def test_a_batch_crosses_epochs_and_devices_alike():
  positions = jnp.arange(90, 130, dtype=jnp.uint32)  # from epoch 0 into epoch 1 of 100
  key = jax.random.key(3)
  whole = shuffle.shuffled(key, positions, 100)
  parts = [shuffle.shuffled(key, positions[i : i + 10], 100) for i in range(0, 40, 10)]
  np.testing.assert_array_equal(whole, np.concatenate(parts))


@pytest.mark.parametrize(
  'fields',
  [
    {'pad': 2, 'flip': True, 'color': 0.3, 'cutout': 4},
    {'pad': 2, 'mixup': 0.5},
    {'flip': True, 'cutmix': 1.0},
    {'mixup': 0.5, 'cutmix': 1.0},
  ],
)
def test_an_example_depends_on_its_position_alone(fields):
  rng = np.random.default_rng(0)
  split = split_of(20)._replace(images=rng.integers(0, 256, (20, 8, 8, 3), dtype=np.uint8))
  read = reader(split, train=True, augment=augment.Augment(**fields))
  whole = read(np.arange(16, 32))
  parts = [read(np.arange(i, i + 4)) for i in range(16, 32, 4)]
  for name in ('image', 'label', 'mask'):
    joined = np.concatenate([getattr(part, name) for part in parts])
    np.testing.assert_allclose(getattr(whole, name), joined, atol=1e-4)
  assert not np.allclose(whole.image, read(np.arange(16, 32), seed=1).image)


@pytest.mark.newest
def test_the_order_of_an_epoch_is_the_one_that_runs_were_made_with():
  # Another order, as of another jax, has to raise `stored.FORMAT`: a stopped run would mix two.
  found = shuffle.shuffled(jax.random.key(0), jnp.arange(20, dtype=jnp.uint32), 10)
  expected = [8, 7, 2, 6, 3, 5, 0, 1, 4, 9, 2, 8, 5, 7, 6, 1, 9, 0, 3, 4]
  np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize('fields', [{'mixup': 0.5}, {'cutmix': 1.0}, {'mixup': 0.5, 'cutmix': 1.0}])
def test_a_partner_gives_its_label_with_its_image(fields):
  batch = reader(split_of(10), train=True, augment=augment.Augment(**fields))(np.arange(200))
  labels = batch.label @ np.arange(10.0)  # pixels, too, are the number of the example
  np.testing.assert_allclose(batch.image.mean((1, 2, 3)), labels, atol=1e-4)
  assert (np.asarray(batch.label).max(-1) < 0.99).mean() > 0.5


def test_each_epoch_augments_anew():
  rng = np.random.default_rng(0)
  split = split_of(10)._replace(images=rng.integers(0, 256, (10, 8, 8, 3), dtype=np.uint8))
  read = reader(split, train=True, augment=augment.Augment(pad=2, flip=True))
  one, other = (read(np.arange(10 * epoch, 10 * epoch + 10)) for epoch in (0, 1))
  one, other = (batch.image[np.argsort(batch.label.argmax(-1))] for batch in (one, other))
  assert (np.abs(one - other).max((1, 2, 3)) > 1).mean() > 0.8


def test_evaluation_keeps_the_order_and_masks_the_rest():
  batch = reader(split_of(10), train=False)(np.arange(8, 12))
  np.testing.assert_array_equal(batch.image[:2, 0, 0, 0], [8, 9])
  np.testing.assert_array_equal(batch.mask, [1, 1, 0, 0])
  np.testing.assert_array_equal(batch.label.argmax(-1)[:2], [8, 9])


def test_a_bad_record_keeps_its_place_with_mask_0():
  valid = np.arange(10) != 3
  evaluated = reader(split_of(10, valid=valid), train=False, max_bad=1)(np.arange(10))
  np.testing.assert_array_equal(evaluated.mask, valid)
  trained = reader(split_of(10, valid=valid), train=True, max_bad=1)(np.arange(10))
  np.testing.assert_array_equal(trained.mask, np.asarray(trained.image[:, 0, 0, 0]) != 3)


def test_a_bad_records_place_in_memory_holds_the_next_readable_one(tmp_path):
  tfds_set(tmp_path, labels=(0, 1, 2, 1, 0), broken=(1, 2, 4))
  split = tfds_sets.load('made', 'train', str(tmp_path))
  np.testing.assert_array_equal(split.valid, [1, 0, 0, 1, 0])
  np.testing.assert_array_equal(split.images[:, 0, 0, 0], [80, 83, 83, 83, 80])
  options = {'train': True, 'mean': (0.0,), 'std': (1.0,)}
  pipeline.in_memory(split, max_bad=3, **options)
  with pytest.raises(InputError, match='3 of 5 records cannot be read'):
    pipeline.in_memory(split, max_bad=2, **options)


def test_the_spans_of_splits(tmp_path):
  tfds_set(tmp_path, labels=(0, 1, 2, 1, 0, 1, 2, 0))

  def spans(split):
    return [
      (first, last) for _, first, last, _ in tfds_sets.load('made', split, str(tmp_path)).spans
    ]

  assert spans('train') == [(0, 8)]
  assert spans('train[:25%]+train[-1:]') == [(0, 2), (7, 8)]
  assert digits.load('train[1200:]').spans == (('train', 1200, 1437, 'examples'),)
  one, other = (
    tfds_sets.load('made', x, str(tmp_path)).spans for x in ('train[:50%]', 'train[3:]')
  )
  assert sources.shared(one, other) == 'examples 3 to 4 of train'
  assert sources.shared(one, tfds_sets.load('made', 'train[50%:]', str(tmp_path)).spans) == ''


@pytest.mark.parametrize('size', [45, 75, 90, 1437, 50_000])
def test_percentages_are_those_of_tfds(size):
  sizes = {'train': tfds.core.SplitInfo('train', [size], 1, filename_template=None)}
  for percent in range(2, 99):
    (theirs,) = tfds.core.ReadInstruction('train', to=percent, unit='%').to_absolute(sizes)
    (ours,) = sources.spans(f'train[:{percent}%]', {'train': size}, 'made')
    assert (ours.first, ours.last) == (0, theirs.to)


@pytest.mark.parametrize(('channels', 'expected'), [(0, 1), (3, 3)])
def test_streamed_gray_images_have_the_channels_of_those_in_memory(tmp_path, channels, expected):
  tfds_set(tmp_path, channels=1)
  options = {'train': False, 'mean': (10.0,), 'std': (2.0,), 'channels': channels}
  records = tfds_sets.records('made', 'train', str(tmp_path))
  streamed = pipeline.streamed(records, image_size=8, resize_shorter=8, **options)
  memory = pipeline.in_memory(tfds_sets.load('made', 'train', str(tmp_path)), **options)
  assert streamed.image_shape == memory.image_shape == (8, 8, expected)
  positions = jnp.arange(4, dtype=jnp.uint32)
  host_batch = jax.tree.map(
    lambda x: np.asarray(x).reshape(4, *x.shape[3:]), streamed.feed(0, 1, 4)
  )
  streamed.close()
  for one, other in zip(
    streamed.make_batch((), host_batch, positions, None),
    memory.make_batch(memory.device_data, (), positions, None),
    strict=True,
  ):
    np.testing.assert_allclose(one, other, rtol=1e-6)


def test_normalisation_size_and_channels():
  split = split_of(4, channels=1)
  data = pipeline.in_memory(split, train=False, mean=(1.0,), std=(2.0,), image_size=16, channels=3)
  batch = data.make_batch(data.device_data, (), jnp.arange(4, dtype=jnp.uint32), None)
  assert data.image_shape == batch.image.shape[1:] == (16, 16, 3)
  np.testing.assert_allclose(batch.image[3], (3 - 1) / 2)


def test_the_centre_square_of_an_image_is_seen():
  wide = np.broadcast_to(np.arange(96, dtype=np.uint8)[:, None], (1, 32, 96, 1))
  split = sources.Split(wide, np.zeros(1, np.int32), np.ones(1, bool), NAMES)
  for images, square in (
    (wide, wide[0, :, 32:64]),
    (wide.swapaxes(1, 2), wide.swapaxes(1, 2)[0, 32:64]),
  ):
    for train in False, True:
      found = reader(split._replace(images=images), train=train)([0]).image[0]
      np.testing.assert_array_equal(found, square)


@pytest.mark.parametrize('fields', [{'mean': (1.0, 2.0)}, {'std': (1.0,) * 4}])
def test_statistics_must_fit_the_channels(fields):
  with pytest.raises(InputError, match='channels'):
    pipeline.in_memory(split_of(4), **{'train': False, 'mean': (0.0,), 'std': (1.0,)} | fields)


def test_crops_are_windows_of_the_reflected_image():
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (64, 6, 6, 1), dtype=np.uint8)
  out = augment.crop_and_flip(jnp.asarray(images), jax.random.split(jax.random.key(0), 64), 2, True)
  seen = []
  for image, crop in zip(images, np.asarray(out), strict=True):
    padded = np.pad(image, ((2, 2), (2, 2), (0, 0)), mode='reflect')
    windows = {
      (i, j, flip): padded[i : i + 6, j : j + 6][:, :: -1 if flip else 1]
      for i in range(5)
      for j in range(5)
      for flip in (0, 1)
    }
    found = [at for at, window in windows.items() if (window == crop).all()]
    assert found
    seen.append(found[0])
  assert 20 < sum(at[2] for at in seen) < 44  # 64 draws
  assert {at[0] for at in seen} == set(range(5))


def test_alternate_mirrors_each_image_every_second_epoch():
  ramps = np.tile(np.arange(6, dtype=np.uint8)[:, None], (40, 6, 1, 1))  # brighter to the right
  split = split_of(40)._replace(images=ramps, labels=np.arange(40, dtype=np.int32))
  split = split._replace(class_names=tuple(map(str, range(40))))
  read = reader(split, train=True, augment=augment.Augment(flip=True, alternate=True))

  def mirrored(epoch):  # whether each example is
    batch = read(np.arange(40 * epoch, 40 * epoch + 40))
    darker = batch.image[:, 0, 0, 0] > batch.image[:, 0, -1, 0]
    return np.asarray(darker)[np.argsort(batch.label.argmax(-1))]

  np.testing.assert_array_equal(mirrored(0), ~mirrored(1))
  np.testing.assert_array_equal(mirrored(0), mirrored(2))
  assert 8 < mirrored(0).sum() < 32
  read = reader(split, train=True, augment=augmentations.create(flip=False, alternate=True))
  assert not mirrored(0).any() and not mirrored(1).any()


def test_cutout_zeroes_a_square():
  keys = jax.random.split(jax.random.key(0), 200)
  out = np.asarray(augment.cutout(jnp.ones((200, 16, 16, 2)), keys, 6))
  areas = (out[..., 0] == 0).sum((1, 2))
  assert areas.max() == 36
  assert areas.min() >= 9  # a quarter is left of a square centred on a corner
  assert ((out == 0) | (out == 1)).all()


def test_color_scales_brightness_contrast_and_saturation():
  image = np.full((4, 4, 3), (80.0, 100.0, 90.0))
  image[:2] = 140.0, 90.0, 110.0  # two tones whose scaled values all lie within the range
  keys = jax.random.split(jax.random.key(0), 1000)
  out = np.asarray(augment.jitter_color(jnp.tile(image, (1000, 1, 1, 1)), keys, 0.3))

  def of(images):  # brightness, contrast of the gray, and distance from the gray
    gray = images.mean(-1)
    apart = images[..., 1, 0, 0] - gray[..., 1, 0]
    return images.mean((-3, -2, -1)), gray[..., 0, 0] - gray[..., 3, 0], apart

  brightness, both, all_three = (x / y for x, y in zip(of(out), of(image), strict=True))
  factors = np.stack([brightness, both / brightness, all_three / both])
  for factor in factors:
    assert stats.kstest(factor, stats.uniform(0.7, 0.6).cdf).pvalue > 1e-3
  assert np.abs(np.corrcoef(factors) - np.eye(3)).max() < 0.12
  bright = np.asarray(augment.jitter_color(jnp.full((50, 4, 4, 3), 250.0), keys[:50], 0.3))
  assert bright.max() == 255


def mixed(count=100, **fields):
  zeros, ones = jnp.zeros((count, 8, 8, 1)), jnp.ones((count, 8, 8, 1))
  labels, partners = jnp.eye(2)[jnp.zeros(count, int)], jnp.eye(2)[jnp.ones(count, int)]
  keys = jax.random.split(jax.random.key(0), count)
  images, labels = augment.mix(zeros, labels, ones, partners, keys, augment.Augment(**fields))
  return np.asarray(images), np.asarray(labels)


@pytest.mark.parametrize('alpha', [0.2, 5.0])
def test_the_weight_of_mixup_is_drawn_from_beta(alpha):
  weights = mixed(2000, mixup=alpha)[1][:, 1]
  assert stats.kstest(weights, stats.beta(alpha, alpha).cdf).pvalue > 1e-3


@pytest.mark.parametrize('fields', [(1.0, 0.0), (0.0, 1.0), (1.0, 1.0)])
def test_labels_are_mixed_by_the_share_of_the_pixels(fields):
  images, labels = mixed(mixup=fields[0], cutmix=fields[1])
  np.testing.assert_allclose(labels[:, 1], images.mean((1, 2, 3)), atol=1e-5)
  np.testing.assert_allclose(labels.sum(-1), 1, atol=1e-6)
  boxes = ((images == 0) | (images == 1)).all((1, 2, 3))
  assert boxes.mean() == pytest.approx({(1.0, 0.0): 0, (0.0, 1.0): 1}.get(fields, 0.5), abs=0.2)
  assert 0.3 < labels[:, 1].mean() < 0.6
