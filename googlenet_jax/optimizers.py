"""Optimizers by name.

Each is `(learning_rate, *, fields) -> optax.GradientTransformation`, the contract of optax's own
aliases: an update ends with the factor `-learning_rate`, a number or a schedule.
"""

import jax
import optax

from googlenet_jax.models.layers import CLASSIFIERS


def decay_mask(params) -> dict:
  """True for kernels: biases and batch norm's scales and shifts are not decayed."""
  return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == 'kernel', params)


def sgd(
  learning_rate: optax.ScalarOrSchedule,
  *,
  momentum: float = 0.9,
  nesterov: bool = False,
  weight_decay: float = 0.0,
  decay_all: bool = False,
) -> optax.GradientTransformation:
  """SGD with momentum.

  Args:
    learning_rate: factor on the update.
    momentum: share of the last velocity that the next one keeps.
    nesterov: Nesterov's momentum.
    weight_decay: coefficient of L2; `weight_decay * kernel` is added to the gradient.
    decay_all: decay biases and norms as well.
  """
  return optax.chain(
    *_decay(weight_decay, decay_all),
    optax.trace(momentum, nesterov),
    optax.scale_by_learning_rate(learning_rate),
  )


def adam(
  learning_rate: optax.ScalarOrSchedule,
  *,
  b1: float = 0.9,
  b2: float = 0.999,
  eps: float = 1e-8,
  weight_decay: float = 0.0,
  decay_all: bool = False,
) -> optax.GradientTransformation:
  """Adam (arXiv 1412.6980).

  Args:
    learning_rate: factor on the update.
    b1, b2: decay of the averages of the gradient and of its square, a step.
    eps: term added to the denominator.
    weight_decay: coefficient of L2; `weight_decay * kernel` is added to the gradient.
    decay_all: decay biases and norms as well.
  """
  return optax.chain(
    *_decay(weight_decay, decay_all),
    optax.scale_by_adam(b1, b2, eps),
    optax.scale_by_learning_rate(learning_rate),
  )


def adamw(
  learning_rate: optax.ScalarOrSchedule,
  *,
  b1: float = 0.9,
  b2: float = 0.999,
  eps: float = 1e-8,
  weight_decay: float = 0.0,
  decay_all: bool = False,
) -> optax.GradientTransformation:
  """AdamW: Adam with decoupled decay (arXiv 1711.05101).

  Args:
    learning_rate: factor on the update.
    b1, b2, eps: constants, see `adam`.
    weight_decay: share of the kernels that a step at a learning rate of 1 takes off.
    decay_all: decay biases and norms as well.
  """
  return optax.chain(
    optax.scale_by_adam(b1, b2, eps),
    *_decay(weight_decay, decay_all),
    optax.scale_by_learning_rate(learning_rate),
  )


def muon(
  learning_rate: optax.ScalarOrSchedule,
  *,
  beta: float = 0.95,
  nesterov: bool = True,
  ns_steps: int = 5,
  consistent_rms: float | None = 0.2,
  adam_lr: float = 1.0,
  b1: float = 0.9,
  b2: float = 0.999,
  eps: float = 1e-8,
  weight_decay: float = 0.0,
  decay_all: bool = False,
) -> optax.GradientTransformation:
  """Muon (https://kellerjordan.github.io/posts/muon/): momentum whose matrices are orthogonalised.

  It updates the kernels of convolutions `[H, W, I, O]`, as matrices `[H W I, O]`, and of hidden
  fully connected layers; AdamW updates the layers to the classes, biases and norms (`muon_rules`).

  Args:
    learning_rate: factor on the update.
    beta: share of the last momentum that the next one keeps.
    nesterov: Nesterov's momentum.
    ns_steps: Newton-Schulz iterations.
    consistent_rms: root mean square of the update of a matrix at a learning rate of 1, about;
      0.2 is that of AdamW's, so both parts share a rate (arXiv 2502.16982). None for Jordan's
      factor sqrt(max(1, O / (H W I))), whose rates are 2 to 8 times as great here.
    adam_lr: factor on AdamW's learning rate.
    b1, b2, eps: constants of AdamW, see `adam`.
    weight_decay: coefficient of decoupled decay, in both parts.
    decay_all: decay biases and norms as well.
  """
  matrices = optax.contrib.muon(
    learning_rate,
    ns_steps=ns_steps,
    beta=beta,
    nesterov=nesterov,
    weight_decay=weight_decay,
    muon_weight_dimension_numbers=_matrices,
    consistent_rms=consistent_rms,
  )
  rest = adamw(learning_rate, b1=b1, b2=b2, eps=eps, weight_decay=weight_decay, decay_all=decay_all)
  # optax's Muon has an AdamW of its own, whose decay takes no mask: here it gets no parameters.
  rules = {'muon': matrices, 'adamw': optax.chain(rest, optax.scale(adam_lr))}
  return optax.partition(rules, muon_rules)


def muon_rules(params) -> dict:
  """The rule that `muon` updates each parameter with: 'muon' or 'adamw'."""

  def rule(path, leaf):
    layer, name = ('', *(part.key for part in path))[-2:]
    hidden = name == 'kernel' and leaf.ndim in (2, 4) and layer not in CLASSIFIERS
    return 'muon' if hidden else 'adamw'

  return jax.tree_util.tree_map_with_path(rule, params)


def _matrices(params):
  """All axes but the last are the rows of a kernel's matrix, as in im2col."""

  def axes(kernel):
    return optax.contrib.MuonDimensionNumbers(tuple(range(kernel.ndim - 1)), kernel.ndim - 1)

  return jax.tree.map(axes, params)


def _decay(weight_decay, decay_all):
  mask = None if decay_all else decay_mask
  return [optax.add_decayed_weights(weight_decay, mask)] if weight_decay else []


OPTIMIZERS = {'sgd': sgd, 'adam': adam, 'adamw': adamw, 'muon': muon}
