"""The optimizer, an optax chain for a learning rate of 1: the step multiplies by the rate."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from googlenet_jax.errors import InputError
from googlenet_jax.models.layers import CLASSIFIERS
from googlenet_jax.optimizers import decay_mask

NAMES = ('sgd', 'adam', 'adamw')


def create(
  *,
  name: str,
  momentum: float = 0.9,
  nesterov: bool = False,
  weight_decay: float = 0.0,
  decay_all: bool = False,
  clip_norm: float = 0.0,
  accumulate: int = 1,
  backbone_lr: float = 1.0,
) -> optax.GradientTransformationExtraArgs:
  """An optimizer whose updates are those of a learning rate of 1.

  Its `update` takes `last`, a bool: whether this is the training's last step (see `accumulated`).

  Args:
    name: 'sgd' and 'adam' add `weight_decay * kernel` to the gradient (L2); 'adamw'
      decays apart from it (arXiv 1711.05101).
    momentum, nesterov: of sgd; `b1` of the others is `momentum`.
    weight_decay: coefficient.
    decay_all: decay biases and norms as well.
    clip_norm: bound on the gradient's global norm; 0 for none.
    accumulate: steps whose gradients are averaged into one update.
    backbone_lr: factor on the rate of all other layers but the classifiers' (GoogLeNet's hidden one
      and auxiliary heads included).
  """
  if name not in NAMES:
    raise InputError(f'no optimizer {name!r}: use one of {", ".join(NAMES)}')
  mask = None if decay_all else decay_mask
  decay = [optax.add_decayed_weights(weight_decay, mask)] if weight_decay else []

  if name == 'sgd':
    rule = [*decay, optax.trace(momentum, nesterov)]
  elif name == 'adam':
    rule = [*decay, optax.scale_by_adam(b1=momentum)]
  else:
    rule = [optax.scale_by_adam(b1=momentum), *decay]
  clip = [optax.clip_by_global_norm(clip_norm)] if clip_norm else []
  layers = [_scale_layers(backbone_lr)] if backbone_lr != 1 else []
  transform = optax.chain(*clip, *rule, optax.scale(-1.0), *layers)
  if accumulate > 1:
    transform = accumulated(transform, accumulate)
  return optax.with_extra_args_support(transform)


def _scale_layers(backbone_lr):
  def factor(layer):
    anew = layer in (*CLASSIFIERS, 'fc') or layer.startswith('aux')
    return 1.0 if anew else backbone_lr

  def scale(updates, params):
    del params
    return {layer: optax.tree.scale(factor(layer), tree) for layer, tree in updates.items()}

  return optax.stateless(scale)


class Accumulated(NamedTuple):
  """State of `accumulated`.

  Attributes:
    pending: gradients that no update has been made of yet, int32.
    mean: of these gradients.
    inner: state of the optimizer.
  """

  pending: jax.Array
  mean: Any
  inner: Any


def accumulated(
  inner: optax.GradientTransformation, every: int
) -> optax.GradientTransformationExtraArgs:
  """Makes one update of the mean of `every` gradients, and of what is left at the last step.

  `optax.MultiSteps` drops what is left.
  """

  def init(params):
    return Accumulated(jnp.zeros((), jnp.int32), optax.tree.zeros_like(params), inner.init(params))

  def update(grads, state, params, *, last):
    count = state.pending + 1
    mean = jax.tree.map(lambda mean, g: mean + (g - mean) / count, state.mean, grads)

    def make():
      updates, changed = inner.update(mean, state.inner, params)
      return updates, Accumulated(jnp.zeros_like(count), optax.tree.zeros_like(mean), changed)

    def wait():
      return optax.tree.zeros_like(grads), Accumulated(count, mean, state.inner)

    return jax.lax.cond((count == every) | last, make, wait)

  return optax.GradientTransformationExtraArgs(init, update)


def pending(opt_state) -> jax.Array:
  """Gradients that wait for others to make an update with."""
  return optax.tree.get(opt_state, 'pending', jnp.zeros((), jnp.int32))


def group_norms(tree) -> dict[str, jax.Array]:
  """L2 norm of each top-level group of a tree of parameters ('inception_3a', ...)."""
  return {name: optax.tree.norm(group).astype(jnp.float32) for name, group in tree.items()}
