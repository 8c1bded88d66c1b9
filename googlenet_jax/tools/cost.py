"""What every layer of a network costs, computed from the traced network.

The forward pass is traced without allocating anything; convolutions, products with parameters,
pools and local response normalisations become rows, named after the modules that do them. So any
module has a table, and one that runs several layers as one has a row for each (the trace is that
of initialisation, which makes every layer's parameters apart). What a `while` loop does is not
counted.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict

from googlenet_jax import models, registry
from googlenet_jax.tools import trace
from googlenet_jax.tools.trace import Row


class Cost(NamedTuple):
  """A network's layers.

  Attributes:
    rows: layers of the forward pass in evaluation.
    training_rows: layers that act in training alone (auxiliary heads).
    input_bytes: bytes of the input, an image.
    peak_bytes: most bytes that are alive at once in evaluation, an image: every layer's output from
      when it is made until its last use; a concatenation is its parts, elementwise work in place.
  """

  rows: tuple[Row, ...]
  training_rows: tuple[Row, ...]
  input_bytes: int
  peak_bytes: int

  def total(self, field: str) -> int:
    """Sum of a field over the rows of evaluation."""
    return sum(getattr(row, field) for row in self.rows)

  @property
  def kept_bytes(self) -> int:
    """All that a training step keeps for its backward pass, without auxiliary heads, an image."""
    return self.input_bytes + self.total('kept_bytes')


def cost(model, image_shape: tuple[int, int, int]) -> Cost:
  """The layers of a network.

  Args:
    model: any flax module that takes images `[B, H, W, C]`, with or without `train`.
    image_shape: shape (H, W, C) of its images.
  """
  counts, normalised = {}, set()
  for (kind, *module, _), x in flatten_dict(_variables(model, image_shape)).items():
    if kind == 'params':
      counts['/'.join(module)] = counts.get('/'.join(module), 0) + math.prod(x.shape)
    elif kind == 'batch_stats':
      normalised.add('/'.join(module))

  def traced(train):
    def forward(key, images):
      keys = {'params': key, 'dropout': key}
      return model.init_with_output(keys, images, **_mode(model, train))[0]

    return trace.rows(forward, image_shape, counts, normalised)

  (rows, peak), (in_training, _) = traced(False), traced(True)
  names = {row.name for row in rows}
  extra = tuple(row for row in in_training if row.name not in names)
  left = sum(counts.values()) - sum(row.parameters for row in (*rows, *extra))
  if left:  # modules that do nothing with the images
    rows += (Row('elsewhere', 'other', (), left, 0, 0, 0, 0, (0, 0), (0, 0)),)
  return Cost(rows, extra, 4 * math.prod(image_shape), peak)


def flops(model, image_shape: tuple[int, int, int]) -> float:
  """XLA's own count for the forward pass of an image, as lowered.

  It leaves out multiplications with padding and adds elementwise work; a multiply-add is two.
  """
  images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
  forward = jax.jit(lambda variables, images: model.apply(variables, images, **_mode(model, False)))
  return forward.lower(_variables(model, image_shape), images).cost_analysis()['flops']


def _variables(model, image_shape):
  """Shapes of a network's variables, auxiliary heads included."""
  keys = {'params': jax.random.key(0), 'dropout': jax.random.key(0)}
  images, model = jnp.zeros((1, *image_shape)), models.with_zero_kernels(model)
  return jax.eval_shape(lambda: model.init(keys, images, **_mode(model, True)))


def _mode(model, train: bool) -> dict[str, bool]:
  """The keyword that says whether a network trains, where it takes that."""
  return {'train': train} if registry.takes(model.__call__, 'train') else {}
