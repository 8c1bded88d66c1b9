"""Which part of a photo is looked at: boxes in training, in evaluation, in the paper's test."""

import math

import numpy as np

Box = tuple[float, float, float, float]  # left, top, right, bottom; pixels of the upright photo

CROPS = (1, 10, 144)  # crops of a photo in a test
# Pixels that a photo may have; a header of some bytes may claim billions. Pillow's: 256 MiB of RGB.
MOST_PIXELS = 89_478_485
SCALES = (256, 288, 320, 352)  # shorter sides of the 144 crops, for crops of 224


def random_box(
  width: int,
  height: int,
  rng: np.random.Generator,
  area: tuple[float, float],
  aspect: tuple[float, float],
) -> Box:
  """The paper's crop: a share of the area drawn uniformly, the aspect ratio log-uniformly.

  Drawn again while it does not fit into the photo; after 10 trials, the largest centred box
  of a ratio that is allowed. Section 6 of the paper: area 8% to 100%, aspect "chosen randomly"
  between 3/4 and 4/3; log-uniformly as in torchvision.

  Args:
    width, height: size of the photo, pixels.
    rng: source of randomness; consumed.
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


def centre_box(width: int, height: int, resize_shorter: int, size: int) -> Box:
  """The centre crop of `size` pixels after the shorter side is resized to `resize_shorter`.

  Resizing this box gives the pixels of resizing the photo, to the nearest whole size, and
  cropping it.
  """
  scale = resize_shorter / min(width, height)
  resized = [round(n * scale) for n in (width, height)]
  left, top = ((n - size) // 2 for n in resized)
  x, y = width / resized[0], height / resized[1]
  return left * x, top * y, (left + size) * x, (top + size) * y


def test_boxes(width: int, height: int, crops: int, size: int, resize_shorter: int) -> list[Box]:
  """The boxes of a test by 1, 10 or 144 crops (section 7 of the paper), each seen mirrored too.

  1: the centre (not mirrored). 10: the four corners and the centre of the centre square of
  `resize_shorter` pixels (Krizhevsky et al. 2012). 144: at four scales, the left, centre
  and right square (top, centre and bottom of a portrait); of each its corners and centre at
  `size` pixels, and the square itself.

  Args:
    width, height: size of the photo, pixels.
    crops: one of `CROPS`.
    size: side of a crop, pixels.
    resize_shorter: side that the photo's shorter one is resized to; the 144 crops' scales are in
      proportion to `SCALES`.

  Returns:
    1, 5 or 72 boxes in pixels of the photo.
  """
  if crops == 1:
    return [centre_box(width, height, resize_shorter, size)]
  scales = (
    [resize_shorter] if crops == 10 else [round(resize_shorter * s / SCALES[0]) for s in SCALES]
  )
  boxes = []
  for side in scales:
    resized = [round(n * side / min(width, height)) for n in (width, height)]
    x, y = width / resized[0], height / resized[1]
    free = max(resized) - side  # pixels that the square may move along the longer side
    rest = side - size
    corners = [(0, 0), (rest, 0), (0, rest), (rest, rest), (rest // 2, rest // 2)]
    for offset in (free // 2,) if crops == 10 else (0, free // 2, free):
      left, top = (offset, 0) if width >= height else (0, offset)
      squares = [(left + dx, top + dy, size) for dx, dy in corners]
      if crops == 144:
        squares.append((left, top, side))
      boxes += [(a * x, b * y, (a + n) * x, (b + n) * y) for a, b, n in squares]
  return [(a, b, min(c, width), min(d, height)) for a, b, c, d in boxes]  # for rounding
