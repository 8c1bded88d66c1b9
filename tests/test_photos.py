"""Photos against Pillow and the definitions: pixels, crops, splits, order, and bad records."""

import io
import logging
import math
import struct

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from scipy import stats

from googlenet_jax.data import (
  augment,
  boxes,
  decode,
  folder,
  pipeline,
  pixels,
  sources,
  stream,
  tfds_sets,
)
from googlenet_jax.data.crops import Crops
from googlenet_jax.errors import InputError

CROPS = [decode.crop, decode.crop_quickly]
STATISTICS = {'mean': (0.0,), 'std': (1.0,)}


def encoded(image, form='JPEG', **options):
  buffer = io.BytesIO()
  image.save(buffer, form, **options)
  return buffer.getvalue()


def smooth(width=300, height=200):
  """A photo-like picture: what is upper, lower, left and right can be told."""
  y, x = np.mgrid[0:height, 0:width] / max(width, height)
  pixels = np.stack([255 * x, 255 * y, 128 + 60 * np.sin(12 * x * y)], -1)
  return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def whole(width, height):
  return 0, 0, width, height


def difference(one, other):
  return np.abs(np.asarray(one).astype(int) - np.asarray(other)).mean()


@pytest.mark.parametrize('size', [(300, 200), (200, 300), (256, 256), (500, 375), (100, 90)])
def test_evaluation_crop_is_pillows_resize_and_centre(size):
  image = smooth(*size)
  data = encoded(image, 'PNG')
  found = decode.crop(data, lambda w, h: boxes.centre_box(w, h, 256, 224), 224)
  scale = 256 / min(size)
  resized = image.resize([round(n * scale) for n in size], Image.Resampling.BILINEAR)
  left, top = ((n - 224) // 2 for n in resized.size)
  expected = np.asarray(resized.crop((left, top, left + 224, top + 224)))
  assert np.abs(found.astype(int) - expected).max() <= 1


@pytest.mark.parametrize('interpolation', decode.INTERPOLATIONS)
@pytest.mark.parametrize('large', [False, True])
def test_training_crops_of_photos_are_near_pillows(val_photos, interpolation, large):
  paths = sorted(val_photos.glob('*/*'))
  if large:  # large crops of large photos are decoded at less than their size
    paths = [path for path in paths if min(Image.open(path).size) >= 800]
  errors = []
  for i, path in enumerate(paths if large else paths[::4]):
    width, height = Image.open(path).size
    least = 0.6 if large else 0.08
    box = boxes.random_box(width, height, np.random.default_rng(i), (least, 1), (3 / 4, 4 / 3))
    found = decode.crop_quickly(path.read_bytes(), lambda *size, box=box: box, 224, interpolation)
    how = decode.INTERPOLATIONS[interpolation]
    if interpolation == 'area' and not large:
      how = Image.Resampling.BILINEAR  # Pillow's takes whole pixels only, which tells there
    expected = Image.open(path).convert('RGB').resize((224, 224), how, box)
    errors.append(difference(found, expected))
  assert np.mean(errors) < 2


@pytest.mark.parametrize('interpolation', decode.INTERPOLATIONS)
@pytest.mark.parametrize(
  ('mode', 'options'),
  [
    ('RGB', {'subsampling': '4:4:4'}),
    ('RGB', {'subsampling': '4:2:2'}),
    ('RGB', {'subsampling': '4:2:0', 'restart_marker_blocks': 3}),
    ('RGB', {'subsampling': '4:4:4', 'progressive': True}),
    ('RGB', {'subsampling': '4:2:0', 'progressive': True}),
    ('L', {}),
  ],
)
def test_rows_below_the_box_change_nothing(interpolation, mode, options):
  rng = np.random.default_rng(0)
  for height, size in ((203, 96), (203, 24), (500, 32)):
    image = Image.fromarray(rng.integers(96, 160, (height, 150, 3), np.uint8))
    data = encoded(image.convert(mode), quality=80, **options)
    for bottom in rng.integers(120, height - 40, 8):
      box = 11, 16, 139, int(bottom)
      found, whole = (  # not cut short where its end is not that of a JPEG
        decode.crop_quickly(each, lambda *photo, box=box: box, size, interpolation)
        for each in (data, data + b' ')
      )
      np.testing.assert_array_equal(found, whole)


def test_jpegs_are_decoded_down_to_the_end_of_the_box():
  data = encoded(smooth(300, 200))
  frame, _ = decode._places(data)
  part, rows = decode._upper_part(data, frame, 200, 101)
  assert rows == 104
  assert Image.open(io.BytesIO(part)).size == (300, 104)
  assert decode._upper_part(data, frame, 200, 201) == (data, 200)
  torn = data[:-500]
  assert decode._upper_part(torn, frame, 200, 101) == (torn, 200)


@pytest.mark.parametrize('crop', CROPS)
def test_right_pixels_of_every_mode(crop):
  image = smooth(64, 64)
  expected = np.asarray(image)
  gray = np.asarray(image.convert('L').convert('RGB'))
  sixteen, big_endian = (
    Image.fromarray((np.asarray(image.convert('L')).astype(np.uint16) * 257).astype(order))
    for order in ('<u2', '>u2')
  )
  palette = image.quantize(256)
  half = image.copy()
  half.putalpha(Image.fromarray(np.full((64, 64), 128, np.uint8)))
  cases = {
    'JPEG': (encoded(image, quality=95), expected),
    'gray JPEG': (encoded(image.convert('L'), quality=95), gray),
    'CMYK JPEG': (encoded(image.convert('CMYK'), quality=95), expected),
    'progressive JPEG': (encoded(image, quality=95, progressive=True), expected),
    'PNG': (encoded(image, 'PNG'), expected),
    'WebP': (encoded(image, 'WEBP', lossless=True), expected),
    'palette': (encoded(palette, 'PNG'), np.asarray(palette.convert('RGB'))),
    '16 bit': (encoded(sixteen, 'PNG'), gray),
    '16 bit TIFF': (encoded(sixteen, 'TIFF'), gray),
    '16 bit TIFF, big-endian': (encoded(big_endian, 'TIFF'), gray),
    'half transparent': (encoded(half, 'PNG'), (expected + 255.0) / 2),
  }
  for name, (data, wanted) in cases.items():
    assert difference(crop(data, whole, 64), wanted) < 3, name


@pytest.mark.parametrize('crop', CROPS)
@pytest.mark.parametrize(
  ('form', 'options', 'tolerance'),
  [
    ('JPEG', {'quality': 95}, 3),
    ('PNG', {}, 0),
    ('WEBP', {'lossless': True}, 0),
    ('TIFF', {}, 0),
    ('TIFF', {'compression': 'tiff_lzw'}, 0),
  ],
)
@pytest.mark.parametrize('orientation', range(1, 9))
def test_photos_are_turned_upright(crop, form, options, tolerance, orientation):
  # What a camera stores so that the picture is upright once the tag is obeyed (EXIF 2.3).
  stored = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
  }
  upright = smooth(96, 64)
  image = upright.transpose(stored[orientation]) if orientation > 1 else upright
  exif = Image.Exif()
  exif[0x0112] = orientation
  data = encoded(image, form, exif=exif, **options)
  expected = upright.resize((32, 32), Image.Resampling.BOX, (48, 0, 96, 64))
  found = crop(data, lambda w, h: (w // 2, 0, w, h), 32, 'area')
  assert difference(found, expected) <= tolerance


@pytest.mark.parametrize('crop', CROPS)
def test_an_orientation_told_by_xmp_alone_counts_too(crop):
  xmp = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
    b'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
    b'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
  )
  data = encoded(smooth(96, 64).transpose(Image.Transpose.ROTATE_90), quality=95, xmp=xmp)
  expected = smooth(96, 64).resize((32, 32), Image.Resampling.BOX)
  assert difference(crop(data, whole, 32, 'area'), expected) < 3


def test_a_16_bit_png_is_read_as_earlier_pillows_had_it(monkeypatch):
  gray = smooth(64, 64).convert('L')
  data = encoded(Image.fromarray(np.asarray(gray).astype(np.uint16) * 257), 'PNG')
  monkeypatch.setitem(PngImagePlugin._MODES, (16, 0), ('I', 'I;16B'))
  assert difference(decode.crop(data, whole, 64), np.asarray(gray.convert('RGB'))) == 0


@pytest.mark.parametrize('crop', CROPS)
@pytest.mark.parametrize(
  ('dtype', 'tags'),
  [
    ('float32', {}),
    ('int32', {}),
    ('uint16', {339: 2}),  # signed
    ('uint16', {262: 0}),  # 0 is white
  ],
)
def test_gray_whose_white_is_unknown_is_told(crop, dtype, tags):
  data = bytearray(encoded(Image.fromarray(np.ones((8, 8), dtype)), 'TIFF', tiffinfo=tags))
  if 262 in tags:  # Pillow writes no 0 there
    at = data.index(struct.pack('<HHI', 262, 3, 1)) + 8
    data[at : at + 2] = bytes(2)
  with pytest.raises(ValueError, match='from 0, black, to 255 or 65535'):
    crop(bytes(data), whole, 8)


@pytest.mark.parametrize('crop', CROPS)
def test_broken_data_is_told(crop):
  data = encoded(smooth(), quality=95)
  for broken in (b'', b'not an image', data[:200], data[: len(data) // 2]):
    with pytest.raises((OSError, ValueError)):
      crop(broken, whole, 32)


def test_crops_have_the_papers_areas_and_aspects():
  rng = np.random.default_rng(0)
  side, area, aspect = 4000, (0.08, 1.0), (3 / 4, 4 / 3)
  found = np.array([boxes.random_box(side, side, rng, area, aspect) for _ in range(4000)])
  widths, heights = found[:, 2] - found[:, 0], found[:, 3] - found[:, 1]
  assert found.min() >= 0 and found.max() <= side
  # The definition: both drawn independently, given that the box fits into the square.
  areas = rng.uniform(*area, 40_000)
  aspects = np.exp(rng.uniform(*np.log(aspect), 40_000))
  fits = (areas * aspects <= 1) & (areas / aspects <= 1)
  assert stats.ks_2samp(widths * heights / side**2, areas[fits]).pvalue > 0.01
  assert stats.ks_2samp(widths / heights, aspects[fits]).pvalue > 0.01
  # And it lies anywhere.
  for offset, extent in ((found[:, 0], widths), (found[:, 1], heights)):
    assert stats.kstest(offset / (side - extent + 1), 'uniform').pvalue > 0.01


@pytest.mark.parametrize('size', [(1, 1), (1, 1000), (1000, 1), (3, 2), (5000, 20)])
def test_a_box_lies_inside_of_any_photo(size):
  for seed in range(20):
    rng = np.random.default_rng(seed)
    left, top, right, bottom = boxes.random_box(*size, rng, (0.08, 1), (3 / 4, 4 / 3))
    assert 0 <= left < right <= size[0] and 0 <= top < bottom <= size[1]
    data = encoded(smooth(*size))
    for crop in CROPS:
      found = crop(data, lambda w, h: (left, top, right, bottom), 8)  # noqa: B023
      assert found.shape == (8, 8, 3)


def test_hue_turns_and_keeps_luma():
  images = jnp.broadcast_to(jnp.array([160.0, 100.0, 90.0]), (50, 2, 2, 3))
  keys = jax.random.split(jax.random.key(0), 50)
  turned = np.asarray(augment.turn_hue(images, keys, 0.1))[:, 0, 0]
  luma = np.array([0.299, 0.587, 0.114])
  np.testing.assert_allclose(turned @ luma, np.array([160.0, 100.0, 90.0]) @ luma, rtol=1e-3)
  assert turned.std(0).min() > 5
  gray = jnp.full((50, 2, 2, 3), 77.0)
  np.testing.assert_allclose(augment.turn_hue(gray, keys, 0.5), gray, atol=0.02)


def test_lighting_has_the_published_covariance():
  keys = jax.random.split(jax.random.key(0), 4000)
  images = jnp.full((4000, 1, 1, 3), 127.5)
  shifts = np.asarray(augment.shift_lighting(images, keys, 0.1))[:, 0, 0] - 127.5
  vectors = np.array(
    [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.814], [-0.5836, -0.6948, 0.4203]]
  )
  expected = vectors @ np.diag((0.1 * 255 * np.array([0.2175, 0.0188, 0.0045])) ** 2) @ vectors.T
  np.testing.assert_allclose(np.cov(shifts.T), expected, rtol=0.1)


def test_hashed_shares_are_disjoint_whole_and_never_move(two_classes, tmp_path):
  def names(root, split):
    records = folder.records(str(root), split)
    return {'/'.join(records.name(i).split('/')[-2:]) for i in range(records.count)}

  parts = [names(two_classes, s) for s in ('all[:60%]', 'all[60%:85%]', 'all[85%:]')]
  assert sum(map(len, parts)) == len(set().union(*parts)) == 40
  assert all(parts)
  for name in sorted(set().union(*parts))[::3]:  # others go, and nothing moves
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes((two_classes / name).read_bytes())
  assert names(tmp_path, 'all[:60%]') == parts[0] & names(tmp_path, 'all')
  assert folder.bucket('dusk/00.jpg') == pytest.approx(52.930981)  # b2sum -l 32


def test_labels_follow_the_class_list(val_photos):
  words = val_photos.parent / 'synset_words.txt'
  records = folder.records(str(val_photos.parent), 'val', class_list=str(words))
  assert (records.count, len(records.class_names), records.counts.sum()) == (200, 1000, 200)
  labels = {records.name(i).split('/')[-2]: records.read(i)[1] for i in range(records.count)}
  lines = words.read_text().splitlines()
  assert all(lines[label].startswith(name) for name, label in labels.items())
  assert len(set(records.class_names)) == 1000  # ImageNet calls two classes 'crane'


def test_splits_have_the_same_labels(tmp_path):
  for name in ('train/b', 'train/c', 'val/a', 'val/c'):
    (tmp_path / name).mkdir(parents=True)
    smooth(8, 8).save(tmp_path / name / 'x.png')
  (tmp_path / 'val/a/notes.txt').write_text('no image')
  val = folder.records(str(tmp_path), 'val', ('train', 'val', ''))
  assert val.class_names == ('a', 'b', 'c')
  assert [val.read(i)[1] for i in range(val.count)] == [0, 2]
  np.testing.assert_array_equal(val.counts, [1, 0, 1])


@pytest.mark.parametrize(
  ('fields', 'says'),
  [
    (('nothing', 'all'), 'no folder'),
    (('.', 'train'), "has no folder 'train'"),
    (('.', 'all[50:]'), "write 'all'"),
    (('.', 'all'), "if 'alone' is a split"),
    (('late', 'all'), "if 'train' is a split"),
    (('val', 'all[:0%]'), 'holds no photo'),
    (('val/a', 'all'), 'holds no folders'),
    (('alone', 'all'), 'one class only'),
    (('.', 'val', (), 'list.txt'), 'does not list 1 of the folders'),
    (('.', 'val', (), 'nothing.txt'), 'No such file'),
  ],
)
def test_unusable_folders(tmp_path, monkeypatch, fields, says):
  monkeypatch.chdir(tmp_path)
  for name in 'ab':
    (tmp_path / 'val' / name).mkdir(parents=True)
    smooth(8, 8).save(tmp_path / 'val' / name / 'x.png')
  (tmp_path / 'alone/a').mkdir(parents=True)
  for name in 'test', 'train/a':  # the second holds folders
    (tmp_path / 'late' / name).mkdir(parents=True)
    smooth(8, 8).save(tmp_path / 'late' / name / 'x.png')
  (tmp_path / 'list.txt').write_text('b a class\nc another\n')
  with pytest.raises(InputError, match=says):
    folder.records(*fields)


@pytest.mark.parametrize('label', [-1, 2])
def test_a_label_that_is_no_class(two_classes, label):
  data = next((two_classes / 'dusk').iterdir()).read_bytes()
  records = sources.Records(1, lambda i: (data, label), 'photo {}'.format, ('a', 'b'))
  with pytest.raises(InputError, match=rf'photo 0 has label {label}, outside 0\.\.1'):
    Crops(records, 8, 8, augment.NONE, 0).evaluation(0)


def indices(position):
  return {'index': np.int64(position)}


def training_order(records_count, threads=1, process=None):
  """A stream of the numbers of the records that each position holds."""
  records = sources.Records(records_count, None, str, ('a',))
  crops = Crops(records, 8, 8, augment.NONE, 0)
  crops.random = lambda index, rng: {'index': np.int64(index), 'drawn': rng.integers(2**60)}
  example = stream.training(crops, records, seed=3)
  return stream.Stream(example, threads=threads, process=process)


def taken(source, steps, batch_size, name='index'):
  result = [np.asarray(source(step, 1, batch_size)[name]).ravel() for step in steps]
  source.close()
  return np.concatenate(result)


@pytest.mark.parametrize('processes', [1, 2, 3])
def test_processes_together_see_every_example_once_an_epoch(processes):
  batch_size, steps = 24, range(8)  # 8 * 24 positions are 4 epochs of 48
  shares = [
    taken(training_order(48, process=(i, processes)), steps, batch_size).reshape(len(steps), -1)
    for i in range(processes)
  ]
  order = np.concatenate(shares, 1).reshape(-1, 48)
  assert all(sorted(epoch) == list(range(48)) for epoch in order)
  assert not (order[0] == order[1]).all()
  np.testing.assert_array_equal(order.ravel(), taken(training_order(48), steps, batch_size))


@pytest.mark.newest
def test_the_order_of_an_epoch_is_the_one_that_runs_were_made_with():
  # Another order, as of another Grain, has to raise `stored.FORMAT`: a stopped run would mix two.
  expected = [4, 6, 9, 7, 5, 3, 1, 8, 2, 0, 8, 1, 3, 7, 9, 0, 5, 4, 2, 6]
  np.testing.assert_array_equal(taken(training_order(10), range(5), 4), expected)


def test_threads_and_the_beginning_change_nothing():
  for name in ('index', 'drawn'):
    straight = taken(training_order(50), range(12), 8, name)
    for threads in (2, 4):
      np.testing.assert_array_equal(
        taken(training_order(50, threads), range(12), 8, name), straight
      )
    np.testing.assert_array_equal(taken(training_order(50), range(7, 12), 8, name), straight[56:])


def test_several_steps_at_once():
  source = training_order(50)
  many = np.asarray(source(2, 3, 8)['index'])
  assert many.shape == (4, 3, 2)  # devices, steps, share
  source.close()
  one_by_one = taken(training_order(50), (2, 3, 4), 8).reshape(3, 4, 2)
  np.testing.assert_array_equal(many.swapaxes(0, 1), one_by_one)


def batches(data, steps, batch_size, key):
  """What the devices make of a pipeline's steps, joined."""
  result = []
  for step in steps:
    host_batch = jax.tree.map(lambda x: np.asarray(x)[:, 0], data.feed(step, 1, batch_size))
    positions = np.arange(step * batch_size, (step + 1) * batch_size, dtype=np.uint32)
    for device, part in enumerate(positions.reshape(4, -1)):
      one = jax.tree.map(lambda x, d=device: x[d], host_batch)
      result.append(data.make_batch((), one, jnp.asarray(part), key))
  data.close()
  return jax.tree.map(lambda *parts: np.concatenate(parts), *result)


def test_gray_is_pillows():
  image = smooth()
  found = pixels.gray(np.asarray(image))
  np.testing.assert_allclose(found[..., 0], np.asarray(image.convert('L')), atol=0.51)


def test_evaluation_sees_every_photo_once_and_masks_the_rest(two_classes):
  records = folder.records(str(two_classes), 'all')
  data = pipeline.streamed(records, train=False, image_size=16, resize_shorter=20, **STATISTICS)
  found = batches(data, range(3), 16, None)
  np.testing.assert_array_equal(found.mask, [1] * 40 + [0] * 8)
  np.testing.assert_array_equal(found.label[:40].argmax(-1), [0] * 20 + [1] * 20)
  red = found.image[:40, ..., 0].mean((1, 2)) > found.image[:40, ..., 2].mean((1, 2))
  np.testing.assert_array_equal(red, [True] * 20 + [False] * 20)


def test_streamed_cifar10_is_the_one_in_memory(cifar10_dir):
  split = 'test[:48]'
  records = tfds_sets.records('cifar10', split, cifar10_dir)
  streamed = pipeline.streamed(records, train=False, image_size=32, resize_shorter=32, **STATISTICS)
  found = batches(streamed, range(2), 24, None)
  memory = pipeline.in_memory(
    tfds_sets.load('cifar10', split, cifar10_dir), train=False, **STATISTICS
  )
  expected = memory.make_batch(memory.device_data, (), jnp.arange(48, dtype=jnp.uint32), None)
  jax.tree.map(np.testing.assert_array_equal, tuple(found), tuple(expected))


@pytest.mark.parametrize('fields', [{'mixup': 0.5}, {'cutmix': 1.0}, {'color': 0.3, 'hue': 0.1}])
def test_streamed_examples_depend_on_their_position_alone(two_classes, fields):
  records = folder.records(str(two_classes), 'all')
  options = augment.Augment((0.08, 1.0), flip=True, **fields)

  def made(batch_size, threads):
    data = pipeline.streamed(
      records,
      train=True,
      image_size=16,
      resize_shorter=20,
      augment=options,
      threads=threads,
      **STATISTICS,
    )
    return batches(data, range(48 // batch_size), batch_size, jax.random.key(1))

  one, other = made(8, 1), made(24, 4)
  for name in ('image', 'label', 'mask'):
    np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=1e-3)


def test_a_streamed_partner_gives_its_label_with_its_image(tmp_path):
  for name in 'abcd':
    (tmp_path / name).mkdir()
    for i in range(4):
      image = Image.new('RGB', (20, 20), (60 * 'abcd'.index(name),) * 3)
      image.save(tmp_path / name / f'{i}.png')
  for fields in ({'mixup': 0.5}, {'cutmix': 1.0}):
    data = pipeline.streamed(
      folder.records(str(tmp_path), 'all'),
      train=True,
      image_size=16,
      resize_shorter=16,
      augment=augment.Augment((0.5, 1.0), **fields),
      **STATISTICS,
    )
    found = batches(data, range(6), 16, jax.random.key(1))
    values = found.label @ np.array([0.0, 60, 120, 180])
    np.testing.assert_allclose(found.image.mean((1, 2, 3)), values, atol=0.02)
    assert (found.label.max(-1) < 0.99).mean() > 0.4


def test_each_epoch_crops_streamed_photos_anew(two_classes):
  data = pipeline.streamed(
    folder.records(str(two_classes), 'all'),
    train=True,
    image_size=16,
    resize_shorter=20,
    augment=augment.Augment((0.08, 1.0)),
    **STATISTICS,
  )
  images = batches(data, range(10), 8, jax.random.key(1)).image.reshape(2, 40, -1)
  nearest = np.abs(images[0][:, None] - images[1]).mean(-1).min(1)  # whichever photo it is
  assert (nearest > 1).mean() > 0.9


def test_alternate_mirrors_each_streamed_photo_every_second_epoch(two_classes):
  def seen(epochs, **fields):
    options = augment.Augment(flip=True, **fields) if fields else augment.NONE
    data = pipeline.streamed(
      folder.records(str(two_classes), 'all'),
      train=True,
      image_size=16,
      resize_shorter=20,
      augment=options,
      **STATISTICS,
    )
    images = batches(data, range(5 * epochs), 8, jax.random.key(1)).image
    return images.reshape(epochs, 40, 16, 16, 3)

  def among(images):
    return {image.tobytes() for image in images}

  first, second, third = seen(3, alternate=True)
  assert among(second) == among(first[:, :, ::-1]) != among(first)
  assert among(third) == among(first)
  assert 8 < len(among(first) & among(seen(1)[0])) < 32


def broken_folder(two_classes, tmp_path, bad):
  for path in two_classes.glob('*/*'):
    copy = tmp_path / path.parent.name / path.name
    copy.parent.mkdir(exist_ok=True)
    copy.write_bytes(b'\xff\xd8 broken' if path.name in bad else path.read_bytes())
  return folder.records(str(tmp_path), 'all')


def test_a_bad_photo_keeps_its_place_with_mask_0_and_is_named(two_classes, tmp_path, caplog):
  records = broken_folder(two_classes, tmp_path, ('04.jpg',))
  data = pipeline.streamed(
    records, train=False, image_size=16, resize_shorter=20, max_bad=2, **STATISTICS
  )
  for _ in range(2):  # named once, however often they are met
    found = batches(data, range(2), 20, None)
    np.testing.assert_array_equal(np.flatnonzero(found.mask == 0), [4, 24])
  named = [r.message.split(' cannot')[0].split('/')[-2:] for r in caplog.records]
  assert sorted(named) == [['dusk', '04.jpg'], ['noon', '04.jpg']]


def test_a_bad_photo_is_named_before_it_counts(two_classes, tmp_path, monkeypatch):
  records = broken_folder(two_classes, tmp_path, ('04.jpg', '05.jpg'))
  data = pipeline.streamed(
    records, train=True, image_size=16, resize_shorter=20, max_bad=4, **STATISTICS
  )
  counted = []
  log = logging.getLogger('googlenet_jax')
  monkeypatch.setattr(log, 'warning', lambda *_: counted.append(len(data.unreadable())))
  batches(data, range(2), 20, jax.random.key(0))
  assert counted == [0, 1, 2, 3]  # else a program that ends once all are bad leaves one unnamed


@pytest.mark.parametrize('workers', [0, 2])
def test_in_training_a_bad_photos_place_holds_the_next_readable_one(two_classes, tmp_path, workers):
  after = {4: 6, 5: 6, 19: 20, 24: 26, 25: 26, 39: 0}
  records = broken_folder(two_classes, tmp_path, ('04.jpg', '05.jpg', '19.jpg'))
  options = {'train': True, 'image_size': 16, 'resize_shorter': 20, 'seed': 3, **STATISTICS}
  order = taken(training_order(40), range(5), 8)
  whole = pipeline.streamed(folder.records(str(two_classes), 'all'), **options)
  images = batches(whole, range(5), 8, jax.random.key(0)).image[np.argsort(order)]  # by record
  data = pipeline.streamed(records, max_bad=6, workers=workers, **options)
  for _ in range(2):  # also once it is known which are bad
    found = batches(data, range(5), 8, jax.random.key(0))
    np.testing.assert_array_equal(found.mask, [index not in after for index in order])
    for image, index in zip(found.image, order, strict=True):
      np.testing.assert_array_equal(image, images[after.get(index, index)])
  assert data.unreadable() == sorted(after)


def test_too_many_bad_photos_end_the_run(two_classes, tmp_path):
  records = broken_folder(two_classes, tmp_path, ('04.jpg', '05.jpg'))
  data = pipeline.streamed(
    records, train=True, image_size=16, resize_shorter=20, max_bad=3, **STATISTICS
  )
  with pytest.raises(
    InputError, match=r'4 of 40 records cannot be read, like .*max_bad_share, which allows 3'
  ):
    batches(data, range(4), 20, jax.random.key(0))


def test_where_no_photo_can_be_read_few_are_tried(two_classes):
  tried = []

  def read(index):
    tried.append(index)
    raise OSError('no such disk')

  records = folder.records(str(two_classes), 'all')._replace(read=read, name=str, count=10_000)
  options = {'image_size': 16, 'resize_shorter': 20, 'max_bad': 9, 'threads': 2, **STATISTICS}
  data = pipeline.streamed(records, train=True, **options)
  with pytest.raises(InputError, match=r'\d+ of 10000 records .* \(no such disk\)'):
    data.feed(0, 1, 40)
  data.close()
  assert len(tried) < 400


@pytest.mark.parametrize('workers', [0, 2])
def test_why_a_record_is_left_out_is_said(two_classes, caplog, workers):
  whole = folder.records(str(two_classes), 'all')
  records = whole._replace(read=lambda index: (whole.read(index)[0], 0 if index else 'dusk'))
  options = {'image_size': 16, 'resize_shorter': 20, 'max_bad': 1, 'workers': workers}
  data = pipeline.streamed(records, train=False, **options, **STATISTICS)
  data.feed(0, 1, 40)
  data.close()
  (said,) = [record.message for record in caplog.records]
  assert said.endswith("left out (1 so far): invalid literal for int() with base 10: 'dusk'")


def test_a_wrong_label_is_no_unreadable_photo(two_classes):
  def read(index):
    raise InputError(f'record {index} has label -1')

  records = folder.records(str(two_classes), 'all')._replace(read=read)
  data = pipeline.streamed(
    records, train=False, image_size=16, resize_shorter=20, max_bad=9, **STATISTICS
  )
  with pytest.raises(InputError, match='label -1'):
    batches(data, range(1), 20, None)


@pytest.mark.parametrize('crops', [10, 144])
@pytest.mark.parametrize('size', [(500, 375), (375, 500), (300, 300), (1000, 257)])
def test_test_crops_are_the_papers(crops, size):
  """Pillow's resize to each scale, and the crops cut out of it (section 7 of the paper)."""
  image = smooth(*size)
  found = decode.views(
    encoded(image, 'PNG'), lambda w, h: boxes.test_boxes(w, h, crops, 224, 256), 224
  )
  expected = []
  for side in (256,) if crops == 10 else (256, 288, 320, 352):
    width, height = (round(n * side / min(size)) for n in size)
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    free = max(width, height) - side
    for offset in (free // 2,) if crops == 10 else (0, free // 2, free):
      left, top = (offset, 0) if width >= height else (0, offset)
      square = resized.crop((left, top, left + side, top + side))
      far, middle = side - 224, (side - 224) // 2
      for x, y in ((0, 0), (far, 0), (0, far), (far, far), (middle, middle)):
        expected.append(square.crop((x, y, x + 224, y + 224)))
      if crops == 144:
        expected.append(square.resize((224, 224), Image.Resampling.BILINEAR))
  assert len(found) == len(expected) == {10: 5, 144: 72}[crops]
  assert max(difference(*pair) for pair in zip(found, expected, strict=True)) < 0.6


def test_mirrored_crops_are_averaged_too(two_classes):
  records = folder.records(str(two_classes), 'all')
  crops = Crops(records, 16, 20, augment.NONE, 0, test_crops=10)
  host = np.stack([crops.evaluation(i)['image'] for i in range(4)])
  found = pipeline.normalised(host, (16, 16, 3), **STATISTICS)
  assert found.shape == (4, 10, 16, 16, 3)
  np.testing.assert_array_equal(found[:, 5:], found[:, :5, :, ::-1])


def test_the_scale_of_a_crop_is_that_of_the_evaluation():
  # A square of 224 of 256 pixels: 77% of the area, whatever the photo's size.
  left, top, right, bottom = boxes.centre_box(1024, 1024, 256, 224)
  assert (right - left) * (bottom - top) / 1024**2 == pytest.approx((224 / 256) ** 2)
  assert math.isclose(left, 1024 - right) and math.isclose(top, 1024 - bottom)
