"""scikit-learn's 1,797 handwritten digits, 8x8 pixels; nothing is downloaded."""

import re

import numpy as np

from googlenet_jax.data.sources import Span, Split
from googlenet_jax.errors import InputError

DIGITS = {'train': 1437, 'test': 360}  # examples


def load(split: str) -> Split:
  """A split of the digits: 'train', 'test' or a stretch of them, 'train[:1200]'."""
  from sklearn import datasets, model_selection  # a second of import, for this set alone

  span = _span(split)
  part, first, last, _ = span
  data = datasets.load_digits()
  images = np.round(data.images * (255 / 16)).astype(np.uint8)[..., None]
  labels = data.target.astype(np.int32)
  train, test = model_selection.train_test_split(
    np.arange(len(labels)), test_size=DIGITS['test'], random_state=0, stratify=labels
  )
  rows = {'train': train, 'test': test}[part][first:last]
  return Split(images[rows], labels[rows], np.ones(len(rows), bool), tuple('0123456789'), (span,))


def _span(split: str) -> Span:
  match = re.fullmatch(r'(train|test)(?:\[(\d*):(\d*)\])?', split)
  if not match:
    raise InputError(f"dataset 'digits': no split {split!r}: use 'train', 'test', 'train[:1200]'")
  ends = slice(*(int(n) if n else None for n in match.groups()[1:]))
  first, last, _ = ends.indices(DIGITS[match[1]])
  if first >= last:
    raise InputError(f"dataset 'digits': split {split!r} holds no example")
  return Span(match[1], first, last)
