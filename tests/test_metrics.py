"""Metrics against numpy definitions, and how they are named."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from googlenet_jax import losses, metrics
from googlenet_jax.errors import InputError

NAMES = ('loss', 'top1', 'top5', 'confusion', 'calibration_error')


def examples(count=200, classes=7):
  """Logits, one-hot labels that agree with most of them, and a mask."""
  rng = np.random.default_rng(0)
  labels = rng.integers(0, classes, count)
  logits = rng.normal(size=(count, classes)).astype(np.float32)
  logits[np.arange(count), labels] += 1.5
  return logits, np.eye(classes, dtype=np.float32)[labels], (rng.random(count) < 0.8).astype('f4')


def scores(names, parts=1, **fields):
  """The metrics of the examples, summed over some parts of them."""
  made, total = metrics.create(names, fields, losses.cross_entropy), None
  for part in zip(*(np.array_split(x, parts) for x in examples()), strict=True):
    sums = {name: metric.sums(*map(jnp.asarray, part)) for name, metric in made.items()}
    total = sums if total is None else jax.tree.map(jnp.add, total, sums)
  total = jax.tree.map(np.asarray, total)
  return {name: metric.result(total[name]) for name, metric in made.items()}


def calibration_error(logits, labels, bins):
  """Guo et al. (2017), equation 3, bin by bin."""
  p = special.softmax(logits, axis=-1)
  confidence, hits = p.max(-1), p.argmax(-1) == labels.argmax(-1)
  error = 0
  for m in range(bins):
    inside = (confidence > m / bins) & (confidence <= (m + 1) / bins)
    if inside.any():
      error += inside.mean() * abs(hits[inside].mean() - confidence[inside].mean())
  return error


@pytest.mark.parametrize('parts', [1, 3])
def test_metrics_are_the_numpy_definitions(parts):
  logits, labels, mask = examples()
  logits, labels = logits[mask > 0], labels[mask > 0]
  truth, order = labels.argmax(-1), np.argsort(-logits, axis=-1)
  found = scores(NAMES, parts)
  confusion = np.zeros((7, 7), int)
  np.add.at(confusion, (truth, order[:, 0]), 1)
  log_p = special.log_softmax(logits, axis=-1)
  np.testing.assert_allclose(found['loss'], -(labels * log_p).sum(-1).mean(), rtol=1e-5)
  assert found['top1'] == pytest.approx((order[:, 0] == truth).mean())
  assert found['top5'] == pytest.approx((order[:, :5] == truth[:, None]).any(-1).mean())
  assert found['calibration_error'] == pytest.approx(
    calibration_error(logits, labels, 15), rel=1e-4
  )
  np.testing.assert_array_equal(found['confusion'], confusion)


def test_a_metric_takes_fields():
  logits, labels, mask = examples()
  found = scores((*NAMES,), calibration_error={'bins': 4}, top5={'k': 2})
  expected = calibration_error(logits[mask > 0], labels[mask > 0], 4)
  assert found['calibration_error'] == pytest.approx(expected, rel=1e-4)
  hits = (np.argsort(-logits, axis=-1)[:, :2] == labels.argmax(-1)[:, None]).any(-1)
  assert found['top5'] == pytest.approx(hits[mask > 0].mean())


@pytest.mark.parametrize(
  ('names', 'fields', 'says'),
  [
    (('top1',), {}, "add 'loss'"),
    (('loss', 'top1', 'topp5'), {}, 'did you mean top5'),
    (('loss', 'top1', 'top5'), {'top5': {'kk': 1}}, "no field 'kk'"),
    (('loss', 'top1'), {'top5': {'k': 1}}, 'is not in config.eval.metrics'),
    (('loss', 'top1', 'googlenet_jax.metrics:top1'), {}, "'top1', as another is"),
    (('loss', 'top1', 'googlenet_jax.metrics:correct'), {}, "'correct', as another is"),
  ],
)
def test_unusable_metrics(names, fields, says):
  with pytest.raises(InputError, match=says):
    metrics.create(names, fields, losses.cross_entropy)


def test_top_k():
  logits = jnp.array([[3.0, 2.0, 1.0, 0.0], [0.0, 1.0, 2.0, 3.0]])
  labels = jnp.eye(4)[jnp.array([1, 3])]
  assert metrics.correct(logits, labels).tolist() == [0, 1]
  assert metrics.correct(logits, labels, 2).tolist() == [1, 1]
  assert metrics.correct(logits, labels, 5).tolist() == [1, 1]  # there are four classes


def test_top_k_of_equal_logits_is_chance():
  hits = metrics.correct(jnp.zeros((10, 10)), jnp.eye(10), 5)
  assert hits.sum() == 5
