r"""CIFAR-10's pixels in one file, losslessly compressed: for machines that a data set has to be
carried to.

    python main.py --config=configs/cifar10_full.py --config.dataset.data_dir=DIR \
        --config.dataset.name=benchmarks.tiles:load

Tiles of 2,500 images as WebP take a little over half of the pixels' bytes (PNG: 70%). The splits,
their spans and digests are those of the TFDS set.
"""

import io
import json
import pathlib
import re
import zipfile

import numpy as np
from PIL import Image

from googlenet_jax.data.sources import Span, Split
from googlenet_jax.errors import InputError

DATA = 'cifar10.zip'
SIDE = 50  # images along a tile


def tile(images: np.ndarray) -> bytes:
  """Up to `SIDE**2` images `[N, H, W, C]` uint8 side by side, as lossless WebP."""
  count, height, width, channels = images.shape
  square = np.zeros((SIDE**2, height, width, channels), np.uint8)
  square[:count] = images
  square = square.reshape(SIDE, SIDE, height, width, channels).swapaxes(1, 2)
  buffer = io.BytesIO()
  Image.fromarray(square.reshape(SIDE * height, SIDE * width, channels)).save(
    buffer, 'WEBP', lossless=True
  )
  return buffer.getvalue()


def untile(data: bytes, count: int) -> np.ndarray:
  """The first `count` images of a tile."""
  square = np.asarray(Image.open(io.BytesIO(data)))
  height, width, channels = square.shape[0] // SIDE, square.shape[1] // SIDE, square.shape[2]
  square = square.reshape(SIDE, height, SIDE, width, channels).swapaxes(1, 2)
  return square.reshape(-1, height, width, channels)[:count]


def save_set(path: pathlib.Path, splits: dict[str, Split]) -> None:
  """Writes splits as a zip file of tiles and labels."""
  with zipfile.ZipFile(path, 'w', zipfile.ZIP_STORED) as archive:
    for name, split in splits.items():
      for first in range(0, len(split.images), SIDE**2):
        data = tile(split.images[first : first + SIDE**2])
        archive.writestr(f'{name}/{first:06}.webp', data)
      archive.writestr(f'{name}/labels.json', json.dumps(split.labels.tolist()))
    names = next(iter(splits.values())).class_names
    archive.writestr('classes.json', json.dumps(names))


def load(split: str, data_dir: str = '') -> Split:
  """A split of `DATA_DIR/cifar10.zip`: 'train', 'test', 'train[:45000]', 'train[20000:]+test'.

  Raises:
    InputError: no such file or split.
  """
  path = pathlib.Path(data_dir).expanduser() / DATA
  if not path.exists():
    raise InputError(f'{path}: no such file: give --config.dataset.data_dir of a joined bundle')
  with zipfile.ZipFile(path) as archive:
    names = tuple(json.loads(archive.read('classes.json')))
    parts = [_part(archive, part) for part in split.split('+')]
  images, labels, spans = zip(*parts, strict=True)
  images, labels = np.concatenate(images), np.concatenate(labels).astype(np.int32)
  return Split(images, labels, np.ones(len(labels), bool), names, spans)


def _part(archive: zipfile.ZipFile, notation: str):
  """Images, labels and span of one stretch."""
  match = re.fullmatch(r'(\w+)(?:\[(\d*):(\d*)\])?', notation)
  if not match or f'{match[1]}/labels.json' not in archive.namelist():
    raise InputError(f'{archive.filename}: no split {notation!r}: use train, test, train[:45000]')
  labels = json.loads(archive.read(f'{match[1]}/labels.json'))
  ends = slice(*(int(n) if n else None for n in match.groups()[1:]))
  first, last, _ = ends.indices(len(labels))
  if first >= last:
    raise InputError(f'{archive.filename}: split {notation!r} holds no example')
  tiles = [
    untile(archive.read(f'{match[1]}/{start:06}.webp'), len(labels) - start)
    for start in range(0, len(labels), SIDE**2)
    if start < last and first < start + SIDE**2
  ]
  offset = first // SIDE**2 * SIDE**2
  images = np.concatenate(tiles)[first - offset : last - offset]
  return images, labels[first:last], Span(match[1], first, last)
