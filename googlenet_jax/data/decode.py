"""From the bytes of a photo to the pixels of a crop: all that the host does to an image."""

import ctypes
import io
import math
import warnings
from collections.abc import Callable

import cv2
import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError, features

from googlenet_jax.data.boxes import MOST_PIXELS, Box

# The paper's "random interpolation methods (bilinear, area, nearest neighbor and cubic)".
# Antialiased where they shrink, but for the nearest.
INTERPOLATIONS = {
  'area': Image.Resampling.BOX,
  'bilinear': Image.Resampling.BILINEAR,
  'nearest': Image.Resampling.NEAREST,
  'bicubic': Image.Resampling.BICUBIC,
}
# Of photos, by Pillow's format; Pillow opens more, documents and films among them.
FORMATS = {
  'JPEG': ('.jpg', '.jpeg', '.jpe', '.jfif'),
  'PNG': ('.png',),
  'WEBP': ('.webp',),
  'BMP': ('.bmp',),
  'GIF': ('.gif',),
  'TIFF': ('.tif', '.tiff'),
} | ({'AVIF': ('.avif',)} if 'avif' in features.modules and features.check('avif') else {})
EXTENSIONS = tuple(extension for extensions in FORMATS.values() for extension in extensions)
# Of photos too, phones' and cameras' own, in formats that are not read.
UNREAD = (
  '.heic', '.heif', '.avif', '.jxl', '.jp2', '.j2k', '.dng', '.raw', '.cr2', '.cr3', '.nef',
  '.arw', '.orf', '.raf', '.rw2', '.pef', '.srw',
)  # fmt: skip

TOO_LARGE = f'it has more than the {MOST_PIXELS:,} pixels that are decoded'
UNSCALED = 'its gray values do not run from 0, black, to 255 or 65535, white: save it so'

ORIENTATION = 0x0112  # the EXIF tag; 1 is upright
UPRIGHT = {
  2: Image.Transpose.FLIP_LEFT_RIGHT,
  3: Image.Transpose.ROTATE_180,
  4: Image.Transpose.FLIP_TOP_BOTTOM,
  5: Image.Transpose.TRANSPOSE,
  6: Image.Transpose.ROTATE_270,
  7: Image.Transpose.TRANSVERSE,
  8: Image.Transpose.ROTATE_90,
}

FRAMES = b'\xc0', b'\xc1', b'\xc2'  # markers of a JPEG's kind: baseline, extended, progressive
SPARE = 2  # pixels decoded for one of a crop, at least, where a JPEG is decoded scaled

cv2.setNumThreads(0)  # photos are decoded side by side already
# Of files that can be read all the same; what cannot be is raised.
warnings.filterwarnings('ignore', module=r'PIL\.')
# libtiff prints on stderr what Pillow raises; Pillow turns off its warnings alone.
libtiff = ctypes.CDLL(Image.core.__file__)  # with all that it is linked to
if hasattr(libtiff, 'TIFFSetErrorHandler'):
  libtiff.TIFFSetErrorHandler(None)


def views(
  data: bytes, choose: Callable[[int, int], list[Box]], size: int, interpolation: str = 'bilinear'
) -> np.ndarray:
  """Decodes a photo once and resizes parts of it: `[boxes, size, size, 3]`; see `crop`."""
  image = _open(data)
  image.load()  # before its tag is read: Pillow itself turns a TIFF then, and drops the tag
  turn = UPRIGHT.get(image.getexif().get(ORIENTATION))
  image = to_rgb(image if turn is None else image.transpose(turn))
  how = INTERPOLATIONS[interpolation]
  return np.stack([image.resize((size, size), how, box) for box in choose(*image.size)])


def crop(
  data: bytes, choose: Callable[[int, int], Box], size: int, interpolation: str = 'bilinear'
) -> np.ndarray:
  """Decodes a photo and resizes a part of it.

  Args:
    data: a file in one of `FORMATS`.
    choose: `(width, height) -> box`; the box lies inside of the upright photo.
    size: side of the result, pixels.
    interpolation: a name of `INTERPOLATIONS`.

  Returns:
    `[size, size, 3]` uint8 RGB.

  Raises:
    Exception: any kind, as Pillow raises it, for data that is broken or no image, more than
      `MOST_PIXELS`, or gray whose white level is unknown.
  """
  return views(data, lambda *photo: [choose(*photo)], size, interpolation)[0]


def crop_quickly(
  data: bytes, choose: Callable[[int, int], Box], size: int, interpolation: str = 'area'
) -> np.ndarray:
  """`crop` as training wants it: faster, and within 2 of 255 of it on average.

  A JPEG is decoded down to the end of the box, a large one at k/8 of its size where the box keeps
  `SPARE * size` pixels; 'area' is of a box rounded to pixels (`_area`).
  """
  frame, scan = _places(data)
  if not _is_plain_jpeg(data, scan):
    return crop(data, choose, size, interpolation)
  height, width, *_ = simplejpeg.decode_jpeg_header(data)
  _check_size(width, height)
  left, top, right, bottom = box = choose(width, height)
  reach = 3 * max(1, (bottom - top) / size)  # rows below the box that smooth filters see
  part, height = _upper_part(data, frame, height, math.ceil(bottom + reach))
  try:
    image = simplejpeg.decode_jpeg(
      part,
      # Of the colours: 4% faster, 0.2 of 255 from the smooth one, but what is not averaged shows.
      fastupsample=interpolation != 'nearest',
      min_height=math.ceil(height * SPARE * size / (bottom - top)),
      min_width=math.ceil(width * SPARE * size / (right - left)),
      min_factor=2,
      strict=part is data,  # else the rows left over are an error
    )
  except ValueError:  # stricter than Pillow, whose word counts
    return crop(data, lambda *unused: box, size, interpolation)
  scale = round(8 * image.shape[1] / width) / 8  # exactly; sizes are rounded up
  left, top, right, bottom = (scale * x for x in box)
  if interpolation != 'area':
    box = left, top, min(right, image.shape[1]), min(bottom, image.shape[0])
    return np.asarray(
      Image.fromarray(image).resize((size, size), INTERPOLATIONS[interpolation], box)
    )
  left, top = round(left), round(top)
  image = image[top : max(round(bottom), top + 1), left : max(round(right), left + 1)]
  return _area(image, size)


def _area(image: np.ndarray, size: int) -> np.ndarray:
  """Resized to `[size, size, 3]`: means of k x k bilinear samples about a pixel apart.

  OpenCV's INTER_AREA is slow but for whole factors: it alone takes twice the time of this.
  """
  height, width = (max(1, math.ceil(n / size - 1 / 8)) for n in image.shape[:2])
  image = cv2.resize(image, (width * size, height * size), interpolation=cv2.INTER_LINEAR)
  return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)


def _is_plain_jpeg(data: bytes, scan: int) -> bool:
  """Whether this is an upright gray or YCbCr JPEG, of which all before its scan can be read."""
  try:
    colorspace = simplejpeg.decode_jpeg_header(data)[2]
  except ValueError:
    return False
  upright, header = True, data[:scan]
  if b'Exif\0\0' in header or b'tiff:Orientation' in header:
    upright = _open(data).getexif().get(ORIENTATION, 1) == 1
  return upright and colorspace in ('Gray', 'YCbCr')


def _open(data: bytes) -> Image.Image:
  """A photo whose pixels are not yet decoded."""
  try:
    image = Image.open(io.BytesIO(data), formats=tuple(FORMATS))
  except UnidentifiedImageError as error:  # whose text is of no file
    raise ValueError(f'it is none of {", ".join(FORMATS)}' if data else 'it is empty') from error
  except Image.DecompressionBombError as error:  # more than twice as many
    raise ValueError(TOO_LARGE) from error
  _check_size(*image.size)
  if image.mode[0] in 'FI' and not _is_16_bit_gray(image):
    raise ValueError(UNSCALED)
  return image


def _is_16_bit_gray(image: Image.Image) -> bool:
  """Whether 0 is black and 65535 white in a photo whose mode begins with F or I.

  The mode alone does not tell: a PNG's 16 bits have been 'I' and 'I;16' in turn, and PNG has no
  more. A TIFF is 'F' for floats, 'I' for 32 bits and signed ones, 'I;16' for 12 bits too, and
  what has 0 for white is not inverted.
  """
  if image.format != 'TIFF':
    return True
  bits, white_is_zero = image.tag_v2.get(258), image.tag_v2.get(262, 0) == 0
  return image.mode.startswith('I;16') and bits == (16,) and not white_is_zero


def _check_size(width: int, height: int) -> None:
  if width * height > MOST_PIXELS:
    raise ValueError(TOO_LARGE)


def _places(data: bytes) -> tuple[int, int]:
  """Where a JPEG's frame header begins, and its scan; 0 for a frame of none of `FRAMES`."""
  frame, at = 0, 2
  while data[at : at + 1] == b'\xff' and data[at + 1 : at + 2] != b'\xda':
    frame = at if data[at + 1 : at + 2] in FRAMES else frame
    at += 2 + max(int.from_bytes(data[at + 2 : at + 4], 'big'), 2)
  return frame, at


def _upper_part(data: bytes, frame: int, height: int, rows: int) -> tuple[bytes | bytearray, int]:
  """A JPEG whose header says that it has these rows only, and how many: decoders stop there.

  Rows are added up to a multiple of 8, of which any k/8 is whole. The JPEG stays as it is where
  nothing lies below, where its end is missing, which nobody would notice then, and where it is of a
  rare kind.
  """
  rows = -(-rows // 8) * 8
  place = slice(frame + 5, frame + 7)
  whole = data.endswith(b'\xff\xd9') and data[place] == height.to_bytes(2, 'big')
  if not (frame and whole and rows < height):
    return data, height
  part = bytearray(data)
  part[place] = rows.to_bytes(2, 'big')
  return part, rows


def to_rgb(image: Image.Image) -> Image.Image:
  """RGB of any mode: transparency over white, 16 bits to their upper 8."""
  if image.mode == 'RGB':
    return image
  if image.mode.startswith('I'):
    pixels = np.asarray(image).clip(0, 2**16 - 1)
    return Image.fromarray((pixels >> 8).astype(np.uint8)).convert('RGB')
  if image.has_transparency_data:
    image = image.convert('RGBA')
    return Image.alpha_composite(Image.new('RGBA', image.size, 'white'), image).convert('RGB')
  return image.convert('RGB')
