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
import zipfile

import numpy as np
from PIL import Image

from googlenet_jax.data import sources
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
    names = json.loads(archive.read('classes.json'))
    files = [pathlib.PurePosixPath(x) for x in archive.namelist() if x.endswith('/labels.json')]
    labels = {str(x.parent): np.array(json.loads(archive.read(str(x)))) for x in files}
    spans = sources.spans(split, {part: len(x) for part, x in labels.items()}, str(path))
    images = np.concatenate([_images(archive, x, len(labels[x.part])) for x in spans])
  return sources.arrays(images, sources.joined(spans, labels), names)._replace(spans=spans)


def _images(archive: zipfile.ZipFile, span: Span, size: int) -> np.ndarray:
  """The images of a stretch of a part that holds `size`."""
  begin = span.first // SIDE**2 * SIDE**2
  tiles = [
    untile(archive.read(f'{span.part}/{start:06}.webp'), size - start)
    for start in range(begin, span.last, SIDE**2)
  ]
  return np.concatenate(tiles)[span.first - begin : span.last - begin]
