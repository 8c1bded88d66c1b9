"""The optimizer, an optax chain."""

import jax
import jax.numpy as jnp
import optax

from googlenet_jax.errors import InputError
from googlenet_jax.models.layers import CLASSIFIERS
from googlenet_jax.schedules import Schedule

NAMES = ('sgd', 'adam', 'adamw')


def decay_mask(params) -> dict:
  """True for kernels: biases and batch norm's scales and shifts are not decayed."""
  return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == 'kernel', params)


def create(
  schedule: Schedule,
  *,
  name: str,
  momentum: float = 0.9,
  nesterov: bool = False,
  weight_decay: float = 0.0,
  decay_all: bool = False,
  clip_norm: float = 0.0,
  accumulate: int = 1,
  frozen: tuple[str, ...] = (),
  trunk_lr: float = 1.0,
) -> optax.GradientTransformation:
  """An optimizer.

  Args:
    schedule: learning rate by step (of the training loop, also with `accumulate`).
    name: 'sgd' and 'adam' add `weight_decay * kernel` to the gradient (L2); 'adamw'
      decays apart from it (arXiv 1711.05101).
    momentum, nesterov: of sgd; `b1` of the others is `momentum`.
    weight_decay: coefficient.
    decay_all: decay biases and norms as well.
    clip_norm: bound on the gradient's global norm; 0 for none.
    accumulate: steps whose gradients are averaged into one update.
    frozen: beginnings of the names of layers that stay as they are.
    trunk_lr: factor on the rate of all other layers but the classifiers' (GoogLeNet's hidden one
      and auxiliary heads included).
  """
  if name not in NAMES:
    raise InputError(f'no optimizer {name!r}: use one of {", ".join(NAMES)}')
  mask = None if decay_all else decay_mask
  decay = [optax.add_decayed_weights(weight_decay, mask)] if weight_decay else []

  def rate(update):  # optax counts updates, the schedule steps
    return -schedule(update * accumulate)

  if name == 'sgd':
    rule = [*decay, optax.trace(momentum, nesterov)]
  elif name == 'adam':
    rule = [*decay, optax.scale_by_adam(b1=momentum)]
  else:
    rule = [optax.scale_by_adam(b1=momentum), *decay]
  clip = [optax.clip_by_global_norm(clip_norm)] if clip_norm else []
  layers = [_scale_layers(frozen, trunk_lr)] if frozen or trunk_lr != 1 else []
  transform = optax.chain(*clip, *rule, optax.scale_by_schedule(rate), *layers)
  if accumulate > 1:
    transform = optax.MultiSteps(transform, accumulate).gradient_transformation()
  return transform


def _scale_layers(frozen, trunk_lr):
  def factor(layer):
    if layer.startswith(tuple(frozen)):
      return 0.0
    anew = layer in (*CLASSIFIERS, 'fc') or layer.startswith('aux')
    return 1.0 if anew else trunk_lr

  def scale(updates, params):
    del params
    return {layer: optax.tree.scale(factor(layer), tree) for layer, tree in updates.items()}

  return optax.stateless(scale)


def group_norms(tree) -> dict[str, jax.Array]:
  """L2 norm of each top-level group of a tree of parameters ('inception_3a', ...)."""
  return {name: optax.tree.norm(group).astype(jnp.float32) for name, group in tree.items()}
