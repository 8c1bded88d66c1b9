"""Losses and accuracies against numpy definitions."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from googlenet_jax import losses
from googlenet_jax.models import Outputs


@pytest.mark.parametrize('smoothing', [0.0, 0.1])
def test_cross_entropy_is_the_numpy_definition(smoothing):
  rng = np.random.default_rng(0)
  logits = 5 * rng.normal(size=(6, 10)).astype(np.float32)
  labels = rng.dirichlet(np.ones(10), 6).astype(np.float32)  # mixed labels
  target = labels * (1 - smoothing) + smoothing / 10
  expected = -(target * special.log_softmax(logits, axis=-1)).sum(-1)
  ours = losses.cross_entropy(jnp.asarray(logits), jnp.asarray(labels), smoothing)
  np.testing.assert_allclose(ours, expected, rtol=1e-5)


@pytest.mark.parametrize('smoothing', [0.0, 0.1])
def test_guessing_costs_ln_of_the_classes(smoothing):
  loss = losses.cross_entropy(jnp.zeros((3, 1000)), jnp.eye(1000)[:3], smoothing)
  np.testing.assert_allclose(loss, np.log(1000), rtol=1e-5)


def test_top_k():
  logits = jnp.array([[3.0, 2.0, 1.0, 0.0], [0.0, 1.0, 2.0, 3.0]])
  labels = jnp.eye(4)[jnp.array([1, 3])]
  assert losses.correct(logits, labels).tolist() == [0, 1]
  assert losses.correct(logits, labels, 2).tolist() == [1, 1]
  assert losses.correct(logits, labels, 5).tolist() == [1, 1]  # of four classes


def test_top_k_of_equal_logits_is_chance():
  hits = losses.correct(jnp.zeros((10, 10)), jnp.eye(10), 5)
  assert hits.sum() == 5


def test_heads_are_named_in_order():
  outputs = Outputs(jnp.array(0), (jnp.array(1), jnp.array(2)))
  assert {k: int(v) for k, v in losses.heads(outputs).items()} == {'main': 0, 'aux1': 1, 'aux2': 2}
