"""Parts for a machine without a network: what is joined is what was packed."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import features
from program import ROOT

from benchmarks import bundle, tiles
from googlenet_jax.data import sources, tfds_sets
from googlenet_jax.errors import InputError


def noise(count, seed=0):
  rng = np.random.default_rng(seed)
  images = rng.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
  return sources.arrays(images, rng.integers(0, 3, count), ('a', 'b', 'c'))


@pytest.fixture
def packed(tmp_path):
  """Folder of the parts of a set of 2,600 and 40 images and of a wheel, and the set."""
  splits = {'train': noise(2600), 'test': noise(40, 1)}
  tiles.save_set(tmp_path / tiles.DATA, splits)
  (tmp_path / 'some-1.0-py3-none-any.whl').write_bytes(bytes(range(256)) * 700)
  files = sorted(tmp_path.iterdir())
  bundle.pack(files, tmp_path / 'parts', 100_000)
  return tmp_path / 'parts', splits


@pytest.mark.skipif(not features.check('webp'), reason='Pillow without WebP')
def test_joined_is_what_was_packed(packed, tmp_path):
  parts, splits = packed
  assert all(path.stat().st_size <= 100_000 for path in parts.iterdir())
  # As if they had come one by one.
  (tmp_path / 'more').mkdir()
  for path in sorted(parts.iterdir())[::2]:
    path.rename(tmp_path / 'more' / path.name)
  names = bundle.join([parts, tmp_path / 'more'], tmp_path / 'there')
  assert names == [tiles.DATA, 'some-1.0-py3-none-any.whl']
  for name in names:
    assert (tmp_path / 'there' / name).read_bytes() == (tmp_path / name).read_bytes()
  images, labels = splits['train'].images, splits['train'].labels
  for split, expected in (
    ('train', slice(None)),
    ('train[2490:2510]', slice(2490, 2510)),
    ('train[2505:]', slice(2505, None)),
  ):
    found = tiles.load(split, str(tmp_path / 'there'))
    np.testing.assert_array_equal(found.images, images[expected])
    np.testing.assert_array_equal(found.labels, labels[expected])
  both = tiles.load('train[2500:]+test', str(tmp_path / 'there'))
  np.testing.assert_array_equal(both.images[100:], splits['test'].images)
  assert both.class_names == ('a', 'b', 'c')


def test_joining_needs_no_package(packed, tmp_path):
  parts, _ = packed
  # -S leaves out all that is installed.
  command = [sys.executable, '-S', '-m', 'benchmarks.bundle', 'join']
  how = {'cwd': ROOT, 'capture_output': True, 'text': True}
  done = subprocess.run([*command, str(parts), f'--out={tmp_path}/there'], **how)
  assert (done.returncode, done.stdout.split()) == (0, [tiles.DATA, 'some-1.0-py3-none-any.whl'])
  bare = subprocess.run([*command, str(tmp_path)], **how)
  assert (bare.returncode, bare.stderr.count('\n')) == (2, 1)


def test_a_missing_or_damaged_part_is_named(packed, tmp_path):
  parts, _ = packed
  part = parts / f'{tiles.DATA}.001'
  whole = part.read_bytes()
  part.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
  with pytest.raises(InputError, match='001 is not what was packed'):
    bundle.join([parts], tmp_path / 'there')
  part.unlink()
  with pytest.raises(InputError, match='001: this part is missing'):
    bundle.join([parts], tmp_path / 'there')
  with pytest.raises(InputError, match=r'no bundle\.json is there'):
    bundle.join([tmp_path], tmp_path / 'there')


def test_splits_that_are_not_there_are_told(packed, tmp_path):
  for split, text in (('valid', 'no split'), ('test[40:]', 'holds no example')):
    with pytest.raises(InputError, match=text):
      tiles.load(split, str(tmp_path))
  with pytest.raises(InputError, match='no such file'):
    tiles.load('train', str(tmp_path / 'elsewhere'))


def test_the_real_set_has_the_digest_of_tfds(cifar10_dir, tmp_path):
  split = tfds_sets.load('cifar10', 'test[:3000]', cifar10_dir)
  tiles.save_set(tmp_path / tiles.DATA, {'test': split})
  again = tiles.load('test', str(tmp_path))
  assert again.digest() == split.digest()
  assert again.spans == split.spans
