"""The optimizer, an optax chain for a learning rate of 1: the step multiplies by the rate."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from googlenet_jax import registry
from googlenet_jax.errors import InputError
from googlenet_jax.models.layers import CLASSIFIERS
from googlenet_jax.optimizers import OPTIMIZERS, decay_mask


def create(
  *,
  name: str,
  momentum: float = 0.9,
  clip_norm: float = 0.0,
  accumulate: int = 1,
  backbone_lr: float = 1.0,
  fields: Mapping[str, Any] = MappingProxyType({}),
  **offered,
) -> optax.GradientTransformationExtraArgs:
  """An optimizer whose updates are those of a learning rate of 1.

  Its `update` takes `last`, a bool: whether this is the training's last step (see `accumulated`).

  Args:
    name: key of `optimizers.OPTIMIZERS`, or 'module:attribute' of one like optax's own:
      `(learning_rate, **fields) -> GradientTransformation`, whose updates are proportional to the
      rate. 'mask', where it has that field, is `optimizers.decay_mask`.
    momentum: momentum of SGD, b1 of Adam and its kin.
    clip_norm: bound on the gradient's global norm; 0 for none.
    accumulate: steps whose gradients are averaged into one update.
    backbone_lr: factor on the learning rate of the backbone: all layers but the classifier (with
      GoogLeNet's hidden layer 'fc') and the auxiliary heads.
    fields: fields of the optimizer.
    offered: fields that are put in where the optimizer has them: nesterov, weight_decay, decay_all.

  Raises:
    InputError: no such optimizer or field, or a value that it cannot have.
  """
  part = registry.find(name, OPTIMIZERS, 'optimizer.name')
  mask = None if offered.get('decay_all') else decay_mask
  offered |= {'momentum': momentum, 'b1': momentum, 'mask': mask, 'learning_rate': 1.0}
  if not registry.takes(part, 'learning_rate'):
    raise InputError(f'config.optimizer.name={name!r}: it needs the parameter learning_rate')
  rule = registry.call(part, 'optimizer.fields', fields, offered=offered)
  clip = [optax.clip_by_global_norm(clip_norm)] if clip_norm else []
  scale = [_scale_backbone(backbone_lr)] if backbone_lr != 1 else []
  transform = optax.chain(*clip, rule, *scale)
  if accumulate > 1:
    transform = accumulated(transform, accumulate)
  return optax.with_extra_args_support(transform)


def _scale_backbone(backbone_lr):
  """Multiplies the updates of the backbone's layers; see `create`."""

  def factor(layer):
    is_head = layer in (*CLASSIFIERS, 'fc') or layer.startswith('aux')
    return 1.0 if is_head else backbone_lr

  def scale(updates, params):
    del params
    return {layer: optax.tree.scale(factor(layer), tree) for layer, tree in updates.items()}

  return optax.stateless(scale)


class Accumulated(NamedTuple):
  """State of `accumulated`.

  Attributes:
    pending: number of gradients accumulated since the last update, int32.
    mean: mean of these gradients.
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

    # More than `every` where the run branches from one that accumulated more.
    return jax.lax.cond((count >= every) | last, make, wait)

  return optax.GradientTransformationExtraArgs(init, update)


def pending(opt_state) -> jax.Array:
  """Number of gradients accumulated since the last update, int32; 0 without accumulation."""
  return optax.tree.get(opt_state, 'pending', jnp.zeros((), jnp.int32))


def group_norms(tree) -> dict[str, jax.Array]:
  """L2 norm of each top-level group of a tree of parameters ('inception_3a', ...)."""
  return {name: optax.tree.norm(group).astype(jnp.float32) for name, group in tree.items()}
