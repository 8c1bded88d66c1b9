"""Optimizers by name against optax's own, Muon against numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from googlenet_jax import models, optimizers
from googlenet_jax.optimizers import OPTIMIZERS


def tree(seed):
  """Random arrays in the shape of a small network's parameters, and of its gradients."""
  rng = np.random.default_rng(seed)
  shapes = {
    'conv1': {'kernel': (3, 3, 4, 16), 'bn': {'scale': (16,), 'bias': (16,)}},
    'fc': {'kernel': (16, 8), 'bias': (8,)},
    'linear': {'kernel': (8, 5), 'bias': (5,)},
  }
  draw = lambda shape: jnp.asarray(rng.standard_normal(shape), jnp.float32)  # noqa: E731
  return jax.tree.map(draw, shapes, is_leaf=lambda x: isinstance(x, tuple))


def updates(optimizer, steps=4):
  """The updates of some steps, parameters changing between them."""
  params, every = tree(0), []
  state = optimizer.init(params)
  for step in range(steps):
    update, state = optimizer.update(tree(step + 1), state, params)
    params = optax.apply_updates(params, update)
    every.append(update)
  return every


def decayed(rule, weight_decay):
  return optax.chain(optax.add_decayed_weights(weight_decay, optimizers.decay_mask), rule)


@pytest.mark.parametrize(
  ('name', 'fields', 'expected'),
  [
    ('sgd', {}, optax.sgd(0.3, 0.9)),
    ('sgd', {'momentum': 0.5, 'nesterov': True}, optax.sgd(0.3, 0.5, nesterov=True)),
    ('sgd', {'weight_decay': 0.1}, decayed(optax.sgd(0.3, 0.9), 0.1)),
    ('adam', {'b1': 0.8, 'b2': 0.99, 'eps': 1e-3}, optax.adam(0.3, 0.8, 0.99, 1e-3)),
    ('adam', {'weight_decay': 0.1}, decayed(optax.adam(0.3), 0.1)),
    (
      'adamw',
      {'b2': 0.99, 'weight_decay': 0.1},
      optax.adamw(0.3, b2=0.99, weight_decay=0.1, mask=optimizers.decay_mask),
    ),
    (
      'adamw',
      {'weight_decay': 0.1, 'decay_all': True},
      optax.adamw(0.3, weight_decay=0.1),
    ),
  ],
)
def test_the_updates_are_those_of_optax_to_the_bit(name, fields, expected):
  got = updates(OPTIMIZERS[name](0.3, **fields))
  jax.tree.map(np.testing.assert_array_equal, got, updates(expected))


@pytest.mark.parametrize('name', OPTIMIZERS)
def test_the_learning_rate_is_a_factor_and_may_be_a_schedule(name):
  whole, half = (updates(OPTIMIZERS[name](rate, weight_decay=0.1), 1) for rate in (1.0, 0.5))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a / 2, b, rtol=1e-6), whole, half)
  schedule = updates(OPTIMIZERS[name](lambda count: 0.5 / (1 + count), weight_decay=0.1), 2)
  jax.tree.map(np.testing.assert_array_equal, schedule[0], half[0])


@pytest.mark.parametrize('name', OPTIMIZERS)
def test_only_kernels_are_decayed_unless_all_are(name):
  params = tree(0)
  zeros = jax.tree.map(jnp.zeros_like, params)
  for decay_all in (False, True):
    optimizer = OPTIMIZERS[name](1.0, weight_decay=0.01, decay_all=decay_all)
    update, _ = optimizer.update(zeros, optimizer.init(params), params)
    moved = jax.tree.map(lambda u: bool(np.any(u)), update)
    kernels = {
      'conv1': {'kernel': True, 'bn': {'scale': decay_all, 'bias': decay_all}},
      'fc': {'kernel': True, 'bias': decay_all},
      'linear': {'kernel': True, 'bias': decay_all},
    }
    assert moved == kernels


def initial(name, size, **fields):
  """A network, its variables and random images."""
  model = models.create(name, num_classes=10, **fields)
  images = jax.random.normal(jax.random.key(1), (16, size, size, 3))
  init = lambda: model.init(jax.random.key(0), images, train=False)  # noqa: E731
  return model, init, images


def test_muon_takes_hidden_kernels_and_adamw_the_rest():
  _, init, _ = initial('googlenet', 16, width=0.125, stem='compact', norm='batch')
  rules = optimizers.muon_rules(jax.eval_shape(init)['params'])
  assert rules['conv1'] == {'kernel': 'muon', 'bn': {'bias': 'adamw', 'scale': 'adamw'}}
  assert rules['inception_3a']['conv_5x5']['kernel'] == 'muon'
  assert rules['aux1']['fc'] == {'bias': 'adamw', 'kernel': 'muon'}
  assert rules['aux2']['linear'] == {'bias': 'adamw', 'kernel': 'adamw'}
  assert rules['linear'] == {'bias': 'adamw', 'kernel': 'adamw'}
  # 2 convolutions of the stem, 6 of each of 9 modules, one and a layer of each of 2 heads.
  assert jax.tree.leaves(rules).count('muon') == 2 + 6 * 9 + 2 * 2


def test_other_leaves_than_two_and_four_axes_are_adamws():
  params = {
    'attention': {'kernel': jnp.ones((4, 2, 2)), 'bias': jnp.ones((2, 2))},
    'cccp6': {'kernel': jnp.ones((1, 1, 4, 2))},
  }
  assert set(jax.tree.leaves(optimizers.muon_rules(params))) == {'adamw'}


def newton_schulz(gradient, steps=5):
  """Jordan's iteration in numpy, of a matrix with at most as many rows as columns."""
  a, b, c = 3.4445, -4.7750, 2.0315
  x = gradient / np.linalg.norm(gradient)
  for _ in range(steps):
    square = x @ x.T
    x = a * x + (b * square + c * square @ square) @ x
  return x


def first_muon_updates(**fields):
  return updates(OPTIMIZERS['muon'](1.0, **fields), 1)[0], tree(1)


def test_a_muon_update_is_the_newton_schulz_iteration_of_the_gradients_matrix():
  # Whatever the momentum, the first direction is the gradient's, which normalisation leaves.
  got, gradients = first_muon_updates(consistent_rms=None)
  kernel = np.float64(gradients['conv1']['kernel']).reshape(36, 16)  # [H W I, O]
  expected = -newton_schulz(kernel.T).T.reshape(3, 3, 4, 16)
  np.testing.assert_allclose(got['conv1']['kernel'], expected, atol=2e-5)
  kernel = np.float64(gradients['fc']['kernel'])
  np.testing.assert_allclose(got['fc']['kernel'], -newton_schulz(kernel.T).T, atol=2e-5)


def test_a_muon_update_is_near_orthogonal():
  got, gradients = first_muon_updates(consistent_rms=None)
  spread = lambda x: np.linalg.svd(np.reshape(x, (36, 16)), compute_uv=False)  # noqa: E731
  before, after = spread(gradients['conv1']['kernel']), spread(got['conv1']['kernel'])
  assert before.max() / before.min() > 4
  assert after.min() > 0.6 and after.max() < 1.3


def test_the_size_of_a_muon_update_does_not_depend_on_the_kernel():
  got, _ = first_muon_updates()
  for layer in ('conv1', 'fc'):
    rms = np.sqrt(np.mean(np.square(got[layer]['kernel'])))
    assert 0.14 < rms < 0.24, layer


def test_what_muon_leaves_to_adamw_is_adamws():
  fields = {'b1': 0.8, 'b2': 0.99, 'eps': 1e-6, 'weight_decay': 0.1}
  got = updates(OPTIMIZERS['muon'](1.0, adam_lr=0.5, **fields))
  expected = updates(OPTIMIZERS['adamw'](1.0, **fields), 1)[0]
  for leaf in (('linear', 'kernel'), ('linear', 'bias'), ('fc', 'bias')):
    a, b = (update[leaf[0]][leaf[1]] for update in (got[0], expected))
    np.testing.assert_allclose(a, b / 2, rtol=1e-6, err_msg=leaf)


def test_the_loss_of_a_small_network_falls_with_muon():
  model, init, images = initial('lenet5', 28)
  variables = jax.jit(init)()
  labels = jnp.arange(16) % 10
  optimizer = OPTIMIZERS['muon'](0.01, weight_decay=1e-3)

  @jax.jit
  def step(params, state):
    def loss(params):
      given = {**variables, 'params': params}
      logits = model.apply(given, images, train=False).logits
      return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    value, gradients = jax.value_and_grad(loss)(params)
    update, state = optimizer.update(gradients, state, params)
    return optax.apply_updates(params, update), state, value

  params, losses = variables['params'], []
  state = optimizer.init(params)
  for _ in range(20):
    params, state, value = step(params, state)
    losses.append(float(value))
  assert losses[0] > 2 and losses[-1] < 0.2 * losses[0]


def test_grouped_convolutions_are_matrices_too():
  kernel = jax.random.normal(jax.random.key(0), (3, 3, 2, 12))  # AlexNet's [H, W, I / groups, O]
  params = {'conv2': {'kernel': kernel}}
  optimizer = OPTIMIZERS['muon'](1.0, consistent_rms=None)
  update, _ = optimizer.update(params, optimizer.init(params), params)
  values = np.linalg.svd(np.reshape(update['conv2']['kernel'], (18, 12)), compute_uv=False)
  assert values.min() > 0.6 and values.max() < 1.3
