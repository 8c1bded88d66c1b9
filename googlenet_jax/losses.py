"""The training loss of all heads."""

import jax
import jax.numpy as jnp

from googlenet_jax.models import Outputs


def cross_entropy(logits: jax.Array, labels: jax.Array, smoothing: float = 0.0) -> jax.Array:
  """Cross-entropy of each example, nats.

  Args:
    logits: `[B, classes]` float32.
    labels: `[B, classes]` float32, a distribution (one-hot, or mixed).
    smoothing: share of the label spread evenly over all classes (arXiv 1512.00567).
  """
  labels = labels * (1 - smoothing) + smoothing / labels.shape[-1]
  return -jnp.sum(labels * jax.nn.log_softmax(logits), axis=-1)


def heads(outputs: Outputs) -> dict[str, jax.Array]:
  """Logits by head: 'main', 'aux1', 'aux2', ..."""
  return {'main': outputs.logits} | {f'aux{i + 1}': y for i, y in enumerate(outputs.aux)}


def correct(logits: jax.Array, labels: jax.Array, k: int = 1) -> jax.Array:
  """`[B]` float32: 1 where the label's largest class is among the `k` largest logits.

  Exactly `k` classes are counted also where logits tie (the lower class wins), so a
  network that answers the same for every class is right for `k / classes` of them.
  """
  _, best = jax.lax.top_k(logits, min(k, logits.shape[-1]))
  return jnp.any(best == labels.argmax(-1)[:, None], axis=-1).astype(jnp.float32)
