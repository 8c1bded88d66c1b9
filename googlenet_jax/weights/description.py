"""What a network is, apart from its arrays: beside a run's checkpoints, and in our files."""

import json
import math
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from googlenet_jax import models
from googlenet_jax.data.boxes import MOST_PIXELS
from googlenet_jax.errors import InputError

FORMAT = 2
RENAMED = {'geometry': 'pool_rounding', 'shorter': 'resize_shorter'}  # since format 1


class Preprocessing(NamedTuple):
  """From a photo to a network's input.

  Attributes:
    size: side of the input, pixels.
    resize_shorter: shorter side of the resized photo, before the centre crop, pixels.
    mean, std: statistics of RGB in [0, 255]; one value serves all channels.
    channels: 3 for RGB, 1 for gray.
  """

  size: int = 224
  resize_shorter: int = 256
  mean: tuple[float, ...] = (0.0,)
  std: tuple[float, ...] = (1.0,)
  channels: int = 3

  def check(self) -> None:
    """Raises ValueError where this is of no image, or of one larger than any that is decoded."""
    sizes = self.size, self.resize_shorter, self.channels
    values = *self.mean, *self.std
    if not (
      all(isinstance(n, int) and n > 0 for n in sizes)
      and self.size <= self.resize_shorter
      and self.resize_shorter**2 <= MOST_PIXELS
      and {len(self.mean), len(self.std)} <= {1, self.channels}
      and all(isinstance(x, (int, float)) and math.isfinite(x) for x in values)
      and min(self.std) > 0
    ):
      raise ValueError(f'it has unusable {self}')


class Description(NamedTuple):
  """What a network is, apart from its arrays.

  Attributes:
    model: name of the network.
    fields: values of its fields, where they are not its own defaults.
    preprocessing: steps from a photo to its images.
    class_names: names in label order.
  """

  model: str
  fields: dict[str, Any]
  preprocessing: Preprocessing
  class_names: tuple[str, ...]

  def to_json(self) -> str:
    """One line; InputError for a field that has no text, such as a function."""
    return json.dumps(
      self._asdict() | {'preprocessing': self.preprocessing._asdict(), 'format': FORMAT},
      default=_text,
    )

  @classmethod
  def from_json(cls, text: str, where: str) -> 'Description':
    """Reads the text of `to_json`, of this format or an earlier one.

    Args:
      text: JSON that was written.
      where: name of its place, for errors.

    Raises:
      InputError: the text has a newer format, or is no description.
    """
    try:
      read = json.loads(text)
      if read['format'] > FORMAT:
        raise InputError(f'{where} was written by a newer version of googlenet_jax: use that')
      renamed = RENAMED if read['format'] == 1 else {}
      parts, preprocessing = (
        {renamed.get(name, name): tuples(x) for name, x in read[what].items()}
        for what in ('fields', 'preprocessing')
      )
      preprocessing = Preprocessing(**preprocessing)
      preprocessing.check()
      return cls(str(read['model']), parts, preprocessing, tuple(map(str, read['class_names'])))
    except InputError:
      raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
      raise InputError(f'{where} does not describe a network: {error!r}') from error

  def override(self, fields: dict) -> 'Description':
    """The same with fields of the network; those that are None stay."""
    given = {name: value for name, value in fields.items() if value is not None}
    return self._replace(fields={**self.fields, **given})

  def create(self, **others) -> nn.Module:
    """The network; `others` are fields that are no part of what it is."""
    return models.create(self.model, num_classes=len(self.class_names), **self.fields, **others)

  @property
  def image_shape(self) -> tuple[int, int, int]:
    """(H, W, C) of the network's images."""
    return self.preprocessing.size, self.preprocessing.size, self.preprocessing.channels


def tuples(value):
  """A value that was read from JSON, which has no tuples."""
  if isinstance(value, dict):
    return {name: tuples(x) for name, x in value.items()}
  return tuple(map(tuples, value)) if isinstance(value, list) else value


def _text(value):
  """What JSON has no form for: numpy's numbers as numbers, dtypes by name."""
  if isinstance(value, np.generic):
    return value.item()
  try:
    return jnp.dtype(value).name
  except TypeError as error:
    raise InputError(f'a network of {value!r} cannot be stored: give a field by name') from error
