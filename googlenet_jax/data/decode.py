"""From the bytes of a photo to the pixels of a crop: all that the host does to an image."""

import io
import math
from collections.abc import Callable

import cv2
import numpy as np
import simplejpeg
from PIL import Image, ImageOps

# The paper's "random interpolation methods (bilinear, area, nearest neighbor and cubic)".
# Antialiased where they shrink, but for the nearest.
INTERPOLATIONS = {
  'area': Image.Resampling.BOX,
  'bilinear': Image.Resampling.BILINEAR,
  'nearest': Image.Resampling.NEAREST,
  'bicubic': Image.Resampling.BICUBIC,
}
# What Pillow raises for data that is no image, or a broken or a dangerously large one.
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)

ORIENTATION = 0x0112  # the EXIF tag: 1 is upright

Box = tuple[float, float, float, float]  # left, top, right, bottom; pixels of the upright photo

cv2.setNumThreads(0)  # photos are decoded side by side already


def crop(
  data: bytes, choose: Callable[[int, int], Box], size: int, interpolation: str = 'bilinear'
) -> np.ndarray:
  """Decodes a photo and resizes a part of it.

  Args:
    data: a file in any format of Pillow's.
    choose: `(width, height) -> box`; the box lies inside of the upright photo.
    size: side of the result, pixels.
    interpolation: a name of `INTERPOLATIONS`.

  Returns:
    `[size, size, 3]` uint8 RGB.

  Raises:
    UNREADABLE: by what is wrong with the data.
  """
  image = Image.open(io.BytesIO(data))
  ImageOps.exif_transpose(image, in_place=True)
  image = to_rgb(image)
  return np.asarray(image.resize((size, size), INTERPOLATIONS[interpolation], choose(*image.size)))


def crop_quickly(
  data: bytes, choose: Callable[[int, int], Box], size: int, interpolation: str = 'area'
) -> np.ndarray:
  """`crop` as training wants it: faster, and within 1 of 255 of it on average.

  A JPEG is decoded at 1/2 or less where its box has `size` pixels then still, the box is
  rounded to pixels, and 'area' is OpenCV's, which enlarges bilinearly.
  """
  if not _is_plain_jpeg(data):
    return crop(data, choose, size, interpolation)
  height, width, *_ = simplejpeg.decode_jpeg_header(data)
  box = choose(width, height)
  left, top, right, bottom = box
  try:
    image = simplejpeg.decode_jpeg(
      data,
      min_height=math.ceil(height * size / (bottom - top)),
      min_width=math.ceil(width * size / (right - left)),
      min_factor=2,
    )
  except ValueError:  # stricter than Pillow, whose word counts
    return crop(data, lambda *unused: box, size, interpolation)
  y, x = image.shape[0] / height, image.shape[1] / width
  image = image[round(top * y) : round(bottom * y), round(left * x) : round(right * x)]
  if interpolation != 'area':
    part = Image.fromarray(np.ascontiguousarray(image))
    return np.asarray(part.resize((size, size), INTERPOLATIONS[interpolation]))
  shrinks = max(image.shape[:2]) > size
  return cv2.resize(
    image, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
  )


def _is_plain_jpeg(data: bytes) -> bool:
  """Whether this is an upright gray or YCbCr JPEG with a header that can be read."""
  try:
    colorspace = simplejpeg.decode_jpeg_header(data)[2]
  except ValueError:
    return False
  upright = True
  if data.find(b'Exif\0\0', 0, 2**16) >= 0:
    upright = Image.open(io.BytesIO(data)).getexif().get(ORIENTATION, 1) == 1
  return upright and colorspace in ('Gray', 'YCbCr')


def to_rgb(image: Image.Image) -> Image.Image:
  """RGB of any mode: transparency over white, 16 bits to their upper 8."""
  if image.mode == 'RGB':
    return image
  if image.mode.startswith('I'):
    pixels = np.asarray(image).astype(np.int64).clip(0, 2**16 - 1)
    return Image.fromarray((pixels >> 8).astype(np.uint8)).convert('RGB')
  if image.has_transparency_data:
    image = image.convert('RGBA')
    return Image.alpha_composite(Image.new('RGBA', image.size, 'white'), image).convert('RGB')
  return image.convert('RGB')


def random_box(
  width: int,
  height: int,
  rng: np.random.Generator,
  area: tuple[float, float],
  aspect: tuple[float, float],
) -> Box:
  """The paper's crop: a share of the area drawn uniformly, the aspect ratio log-uniformly.

  Drawn again while it does not fit into the photo; after 10 trials, the largest centred box
  of a ratio that is allowed. Section 6 of the paper: area 8% to 100%, aspect 3/4 to 4/3.

  Args:
    width, height: of the photo, pixels.
    rng: consumed.
    area: least and greatest share, (0, 1].
    aspect: least and greatest width over height.
  """
  for _ in range(10):
    pixels = width * height * rng.uniform(*area)
    ratio = math.exp(rng.uniform(math.log(aspect[0]), math.log(aspect[1])))
    crop_width, crop_height = round(math.sqrt(pixels * ratio)), round(math.sqrt(pixels / ratio))
    if 0 < crop_width <= width and 0 < crop_height <= height:
      left = rng.integers(width - crop_width, endpoint=True)
      top = rng.integers(height - crop_height, endpoint=True)
      return left, top, left + crop_width, top + crop_height
  ratio = min(max(width / height, aspect[0]), aspect[1])
  crop_width, crop_height = min(width, height * ratio), min(height, width / ratio)
  left, top = (width - crop_width) / 2, (height - crop_height) / 2
  return left, top, left + crop_width, top + crop_height


def centre_box(width: int, height: int, shorter: int, size: int) -> Box:
  """The centre crop of `size` pixels from the photo whose shorter side is resized to `shorter`.

  Resizing this box gives the pixels of resizing the photo and cropping it, sizes rounded as
  torchvision does.
  """
  scale = shorter / min(width, height)
  resized = [shorter if n == min(width, height) else int(n * scale) for n in (width, height)]
  left, top = (round((n - size) / 2) for n in resized)
  x, y = width / resized[0], height / resized[1]
  return left * x, top * y, (left + size) * x, (top + size) * y
