"""Training losses by name: `(logits [B, C], labels [B, C]) -> [B]`.

Labels are distributions over the classes: one-hot, smoothed or mixed.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from googlenet_jax.models import Outputs

Loss = Callable[[jax.Array, jax.Array], jax.Array]


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
  """Cross-entropy with the softmax, nats."""
  return optax.softmax_cross_entropy(logits, labels)


def focal(logits: jax.Array, labels: jax.Array, gamma: float = 2.0) -> jax.Array:
  """Cross-entropy, each class's term weighted by `(1 - p) ** gamma` (arXiv 1708.02002)."""
  log_p = jax.nn.log_softmax(logits)
  # Kept above 0: there a power below 1 has no finite gradient.
  miss = jnp.maximum(-jnp.expm1(log_p), jnp.finfo(log_p.dtype).tiny)
  return -jnp.sum(labels * miss**gamma * log_p, axis=-1)


def binary(logits: jax.Array, labels: jax.Array) -> jax.Array:
  """Cross-entropy of a sigmoid a class, summed over the classes, nats (arXiv 2110.00476)."""
  return optax.sigmoid_binary_cross_entropy(logits, labels).sum(axis=-1)


LOSSES: dict[str, Loss] = {'cross_entropy': cross_entropy, 'focal': focal, 'binary': binary}


def heads(outputs: Outputs) -> dict[str, jax.Array]:
  """Logits by head: 'main', 'aux1', 'aux2', ..."""
  return {'main': outputs.logits} | {f'aux{i + 1}': y for i, y in enumerate(outputs.aux)}


def head_titles(model) -> dict[str, str]:
  """Heads by name, for a person: {'aux1': 'aux1 (4a)'} of a network with the field `aux_heads`."""
  modules = sorted(getattr(model, 'aux_heads', None) or ())
  return {f'aux{i}': f'aux{i} ({module})' for i, module in enumerate(modules, 1)}
