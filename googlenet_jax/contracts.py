"""Checks of what a config's parts return, by shapes alone: nothing is computed.

A part of the user's own that breaks its contract would fail late, or train something else.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from googlenet_jax.errors import InputError
from googlenet_jax.losses import Loss
from googlenet_jax.metrics import Mean, Metric
from googlenet_jax.models import Outputs


def network(
  name: str, model, image_shape: tuple[int, int, int], classes: int
) -> tuple[Outputs, dict]:
  """Shapes of what a network returns in training for one image, and of its variables.

  Args:
    name: value of `model.name`, for errors.
    model: network.
    image_shape: (H, W, C) of the images.
    classes: number of classes.

  Raises:
    InputError: it is no `Outputs`, or its logits are not `[B, classes]`.
  """

  def run():
    keys = {'params': jax.random.key(0), 'dropout': jax.random.key(0)}
    return model.init_with_output(keys, jnp.zeros((1, *image_shape)), train=True)

  field = f'model.name={name!r}'
  outputs, variables = _shapes(field, run)
  if not isinstance(outputs, Outputs):
    what = 'an array' if hasattr(outputs, 'shape') else f'a {type(outputs).__name__}'
    raise InputError(f'config.{field} returns {what}: return models.Outputs(logits, aux)')
  for logits in (outputs.logits, *outputs.aux):
    _check(field, 'logits', logits, '[B, classes]', (1, classes))
  return outputs, variables


def loss(name: str, function: Loss, classes: int) -> None:
  """Raises InputError unless a loss, `train.loss`, gives a number an example."""
  _check_each(f'train.loss={name!r}', function, classes)


def metrics(made: Mapping[str, Metric], classes: int) -> None:
  """Raises InputError unless each metric, an entry of `eval.metrics`, takes what it is given."""
  for name, metric in made.items():
    field = f'eval.metrics: {name!r}'
    if isinstance(metric, Mean):
      _check_each(field, metric.function, classes)
    else:
      logits, mask = _logits(classes)
      _shapes(field, metric.sums, logits, logits, mask)


def optimizer(name: str, rule: optax.GradientTransformationExtraArgs, params: dict) -> None:
  """Raises InputError unless an optimizer, `optimizer.name`, gives updates like the parameters."""
  field = f'optimizer.name={name!r}'
  last = jax.ShapeDtypeStruct((), bool)
  updates, _ = _shapes(
    field, lambda x, last: rule.update(x, rule.init(x), x, last=last), params, last
  )
  like = [(x.shape, x.dtype) for x in jax.tree.leaves(params)]
  if [(x.shape, x.dtype) for x in jax.tree.leaves(updates)] != like:
    raise InputError(f'config.{field}: its updates are not of the shapes of the parameters')


def schedule(name: str, function: Callable) -> None:
  """Raises InputError unless a schedule, `schedule.name`, gives one number for a step."""
  field = f'schedule.name={name!r}'
  _check(field, 'result', _shapes(field, function, jnp.int32(0)), '[]', ())


def augmentations(made: Mapping[str, Callable], image_shape: tuple[int, int, int]) -> None:
  """Raises InputError unless each step, an entry of `augment.extra`, gives images again."""
  images = jax.ShapeDtypeStruct((2, *image_shape), jnp.float32)
  keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 2))
  for name, function in made.items():
    field = f'augment.extra: {name!r}'
    found = _shapes(field, function, images, keys)
    _check(field, 'result', found, '[B, H, W, C]', images.shape)


def _check_each(field: str, function: Loss, classes: int) -> None:
  logits, mask = _logits(classes)
  _check(field, 'result', _shapes(field, function, logits, logits), '[B]', mask.shape)


def _logits(classes: int) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
  """Logits `[B, C]` and a mask `[B]`, of a B that is neither 1 nor C."""
  count = classes + 1
  return tuple(jax.ShapeDtypeStruct(x, jnp.float32) for x in ((count, classes), (count,)))


def _shapes(field: str, function: Callable, *arguments) -> Any:
  """Shapes of what a part returns; InputError for whatever it raises."""
  try:
    return jax.eval_shape(function, *arguments)
  except InputError:
    raise
  except Exception as error:  # raised by the user's code, or for a value of another type
    what = str(error).strip().partition('\n')[0]
    raise InputError(
      f'config.{field}: {type(error).__name__}: {what} (--debug shows where)'
    ) from error


def _check(field: str, what: str, found: Any, dims: str, shape: tuple[int, ...]) -> None:
  """Raises InputError unless this is one array of the shape."""
  got = getattr(found, 'shape', None)
  if got is None:
    raise InputError(f'config.{field}: its {what} is a {type(found).__name__}, not an array {dims}')
  if tuple(got) != shape:
    raise InputError(f'config.{field}: its {what} is {list(got)} where {dims} is {list(shape)}')
