"""scikit-learn's 1,797 handwritten digits, 8x8 pixels; nothing is downloaded.

They are the test set of Alpaydin and Kaynak's "Optical Recognition of Handwritten Digits" (UCI
Machine Learning Repository, 1998, CC BY 4.0). `digits.npz` holds them with values from 0 to 16, the
1,437 of 'train' first: scikit-learn's stratified split with seed 0, which the tests compare. The
library itself takes two seconds to import.
"""

import pathlib

import numpy as np

from googlenet_jax.data import sources
from googlenet_jax.data.sources import Split

FILE = pathlib.Path(__file__).with_name('digits.npz')
DIGITS = {'train': slice(0, 1437), 'test': slice(1437, 1797)}


def load(split: str) -> Split:
  """A split of the digits: 'train', 'test' or a stretch of them, 'train[:1200]'."""
  sizes = {part: x.stop - x.start for part, x in DIGITS.items()}
  spans = sources.spans(split, sizes, "dataset 'digits'")
  with np.load(FILE) as data:
    images, labels = (
      sources.joined(spans, {part: data[name][x] for part, x in DIGITS.items()}) for name in data
    )
  images = np.round(images * (255 / 16)).astype(np.uint8)[..., None]
  return sources.arrays(images, labels, tuple('0123456789'))._replace(spans=spans)
