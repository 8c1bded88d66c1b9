"""Losses against numpy definitions, and the names of heads."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from googlenet_jax import losses, models
from googlenet_jax.models import Outputs
from googlenet_jax.run import report


def examples():
  """Logits `[6, 10]` and mixed labels."""
  rng = np.random.default_rng(0)
  logits = 5 * rng.normal(size=(6, 10)).astype(np.float32)
  return logits, rng.dirichlet(np.ones(10), 6).astype(np.float32)


def test_cross_entropy_is_the_numpy_definition():
  logits, labels = examples()
  expected = -(labels * special.log_softmax(logits, axis=-1)).sum(-1)
  ours = losses.cross_entropy(jnp.asarray(logits), jnp.asarray(labels))
  np.testing.assert_allclose(ours, expected, rtol=1e-5)


@pytest.mark.parametrize('gamma', [0.0, 2.0])
def test_focal_is_the_numpy_definition(gamma):
  logits, labels = examples()
  p = special.softmax(logits, axis=-1)
  expected = -(labels * (1 - p) ** gamma * np.log(p)).sum(-1)
  ours = losses.focal(jnp.asarray(logits), jnp.asarray(labels), gamma)
  np.testing.assert_allclose(ours, expected, rtol=1e-4)


@pytest.mark.parametrize('gamma', [0.0, 0.5, 2.0])
def test_focal_of_a_certain_example_has_a_gradient(gamma):
  logits, labels = jnp.array([[40.0, 0.0, 0.0]]), jnp.array([[1.0, 0.0, 0.0]])
  gradient = jax.grad(lambda x: losses.focal(x, labels, gamma).sum())(logits)
  np.testing.assert_allclose(gradient, 0, atol=1e-6)


def test_binary_is_the_numpy_definition():
  logits, labels = examples()
  p = special.expit(logits.astype(np.float64))
  expected = -(labels * np.log(p) + (1 - labels) * np.log1p(-p)).sum(-1)
  ours = losses.binary(jnp.asarray(logits), jnp.asarray(labels))
  np.testing.assert_allclose(ours, expected, rtol=1e-4)


@pytest.mark.parametrize('name', losses.LOSSES)
def test_every_loss_keeps_the_contract(name):
  loss = losses.LOSSES[name](jnp.zeros((3, 1000)), jnp.eye(1000)[:3])
  assert loss.shape == (3,) and loss.dtype == jnp.float32


def test_guessing_costs_ln_of_the_classes():
  loss = losses.cross_entropy(jnp.zeros((3, 1000)), jnp.eye(1000)[:3])
  np.testing.assert_allclose(loss, np.log(1000), rtol=1e-5)


def test_heads_are_named_in_order():
  outputs = Outputs(jnp.array(0), (jnp.array(1), jnp.array(2)))
  assert {k: int(v) for k, v in losses.heads(outputs).items()} == {'main': 0, 'aux1': 1, 'aux2': 2}


def test_auxiliary_heads_are_called_by_their_modules():
  fields = {'aux_heads': ('4d', '4a')}  # lowest first, however they are given
  assert losses.head_titles(models.create('googlenet', fields)) == {
    'aux1': 'aux1 (4a)',
    'aux2': 'aux2 (4d)',
  }
  assert losses.head_titles(models.create('inception_v3')) == {'aux1': 'aux1 (Mixed_6e)'}
  assert losses.head_titles(models.create('lenet5')) == {}


def test_a_head_that_learns_nothing_is_named_once():
  alarm = report.DeadHeadAlarm({'main': 'main', 'aux1': 'aux1 (4a)'}, 10, 5)
  line = {'main_loss': 0.5, 'main_top1': 0.9, 'aux1_loss': 2.303, 'aux1_top1': 0.1}
  (warning,) = alarm.warnings(5, line)
  assert warning.startswith("WARNING: head 'aux1 (4a)' is still at ln(10) = 2.303 at step 5")
  assert alarm.warnings(6, line) == []
