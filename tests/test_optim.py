"""Schedules, optimizers and averages against closed forms in numpy."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from googlenet_jax import optim, schedules, train_state
from googlenet_jax.errors import InputError


def clock(total='10 epochs', examples=1000, batch_size=30):
  return schedules.Clock(examples, batch_size, total)


@pytest.mark.parametrize(
  ('duration', 'steps'),
  [
    ('12 epochs', 400),
    ('1 epoch', 33),
    ('300 steps', 300),
    ('25%', 83),
    ('0 epochs', 0),
    ('0.01epochs', 1),
  ],
)
def test_durations(duration, steps):
  assert clock().round(duration) == steps


@pytest.mark.parametrize('duration', ['12', 'epochs', '3 hours', '-1 epochs', ''])
def test_unusable_durations(duration):
  with pytest.raises(InputError, match='12 epochs'):
    clock().round(duration)


def test_what_recurs_is_due_where_epochs_end():
  c = clock()  # 33 1/3 steps an epoch
  due, step = [], 0
  while step < c.total_steps:
    step = c.due(step, '1 epochs')
    due.append(step)
  assert due == [34, 67, 100, 134, 167, 200, 234, 267, 300, 333]
  assert c.due(0, '0 epochs') == c.total_steps
  assert [c.due(step, '50 steps') for step in (0, 49, 50)] == [50, 50, 100]


def rates(steps, **fields):
  schedule = schedules.learning_rate(clock('100 steps'), peak=0.5, **fields)
  traced = jax.jit(schedule)
  for step in steps:
    np.testing.assert_allclose(traced(step), schedule(step), rtol=1e-6)
  return [float(schedule(step)) for step in steps]


def test_schedules_are_their_formulas():
  steps = [0, 7, 8, 50, 99]
  t = np.array(steps)
  expected = {
    'constant': np.ones(5),
    'exponential': 0.96 ** (t // 8),  # the paper: 4% every 8 epochs
    'polynomial': 0.2 + 0.8 * (1 - t / 100) ** 2,
    'cosine': 0.2 + 0.8 * (1 + np.cos(np.pi * t / 100)) / 2,
    'piecewise_linear': np.interp(t, [0, 25, 100], [0.2, 1.0, 0.0]),
  }
  for name, shares in expected.items():
    got = rates(
      steps,
      name=name,
      decay_every='8 steps',
      power=2.0,
      final=0.2,
      points=(('0 steps', 0.2), ('25%', 1.0), ('100%', 0.0)),
    )
    np.testing.assert_allclose(got, 0.5 * shares, rtol=1e-5, err_msg=name)


def test_warm_up_rises_to_the_peak():
  got = rates(range(12), name='constant', warmup='10 steps')
  np.testing.assert_allclose(got, [0.5 * min((s + 1) / 11, 1) for s in range(12)], rtol=1e-6)


def test_schedules_begin_after_the_warm_up_and_end_with_the_training():
  steps = np.array([10, 17, 18, 55, 99])
  fields = {'decay_every': '8 steps', 'power': 2.0, 'final': 0.2}
  fields['points'] = (('0 steps', 0.2), ('25%', 1.0), ('100%', 0.0))
  t = (steps - 10) / 90
  expected = {
    'exponential': 0.96 ** ((steps - 10) // 8),
    'polynomial': 0.2 + 0.8 * (1 - t) ** 2,
    'cosine': 0.2 + 0.8 * (1 + np.cos(np.pi * t)) / 2,
    'piecewise_linear': np.interp(steps, [0, 25, 100], [0.2, 1.0, 0.0]),  # whose times are its own
  }
  for name, shares in expected.items():
    got = rates(steps, name=name, warmup='10 steps', **fields)
    np.testing.assert_allclose(got, 0.5 * shares, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize(
  'fields',
  [
    {'name': 'piecewise_linear', 'points': (('50%', 1.0), ('25%', 0.0))},
    {'name': 'exponential', 'decay_every': '0 epochs'},
    {'name': 'constant', 'warmup': '100 steps'},
  ],
)
def test_unusable_schedules(fields):
  with pytest.raises(InputError, match='schedule'):
    rates([0], **fields)


PARAMS = {
  'conv1': {
    'kernel': jnp.array([[2.0]]),
    'bias': jnp.array([3.0]),
    'bn': {'scale': jnp.array([4.0])},
  }
}


def test_only_kernels_are_decayed():
  zeros = jax.tree.map(jnp.zeros_like, PARAMS)
  for decay_all, expected in ((False, (-0.02, 0, 0)), (True, (-0.02, -0.03, -0.04))):
    optimizer = optim.create(name='sgd', weight_decay=0.01, decay_all=decay_all)
    updates, _ = optimizer.update(zeros, optimizer.init(PARAMS), PARAMS, last=False)
    leaves = updates['conv1']['kernel'], updates['conv1']['bias'], updates['conv1']['bn']['scale']
    np.testing.assert_allclose([float(x.ravel()[0]) for x in leaves], expected, rtol=1e-6)


@pytest.mark.parametrize('decay_all', [False, True])
def test_an_optimizer_of_optax_is_given_what_it_takes(decay_all):
  fields = {'momentum': 0.8, 'weight_decay': 0.1, 'decay_all': decay_all, 'nesterov': True}
  ours = optim.create(name='optax:adamw', fields={'b2': 0.9}, **fields)
  mask = None if decay_all else {'conv1': {'kernel': True, 'bias': False, 'bn': {'scale': False}}}
  theirs = optax.adamw(1.0, b1=0.8, b2=0.9, weight_decay=0.1, mask=mask, nesterov=True)
  states = ours.init(PARAMS), theirs.init(PARAMS)
  for sign in (1.0, -0.5, 0.0):
    grads = jax.tree.map(lambda x, sign=sign: sign * x, PARAMS)
    found, state = ours.update(grads, states[0], PARAMS, last=False)
    expected, other = theirs.update(grads, states[1], PARAMS)
    states = state, other
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def follow(optimizer, gradients, rates=(0.01,)):
  """The parameter after each gradient, from 1; the last rate goes on."""
  params = {'x': {'kernel': jnp.array(1.0)}}
  state, path = optimizer.init(params), []
  for i, gradient in enumerate(gradients):
    gradient, last = {'x': {'kernel': jnp.array(gradient)}}, i + 1 == len(gradients)
    updates, state = optimizer.update(gradient, state, params, last=last)
    updates = optax.tree.scale(rates[min(i, len(rates) - 1)], updates)
    params = optax.apply_updates(params, updates)
    path.append(float(params['x']['kernel']))
  return path


@pytest.mark.parametrize('nesterov', [False, True])
def test_sgd_is_its_formula(nesterov):
  gradients, decay, rate = [0.5, -1.0, 2.0], 0.01, [0.1, 0.2, 0.3]
  optimizer = optim.create(name='sgd', momentum=0.9, nesterov=nesterov, weight_decay=decay)
  x, velocity, expected = 1.0, 0.0, []
  for gradient, lr in zip(gradients, rate, strict=True):
    gradient += decay * x
    velocity = 0.9 * velocity + gradient
    x -= lr * (gradient + 0.9 * velocity if nesterov else velocity)
    expected.append(x)
  np.testing.assert_allclose(follow(optimizer, gradients, rate), expected, rtol=1e-5)


@pytest.mark.parametrize('name', ['adam', 'adamw'])
def test_adam_is_its_formula(name):
  gradients, decay, lr = [0.5, -1.0, 2.0], 0.1, 0.01
  optimizer = optim.create(name=name, weight_decay=decay)
  x, m, v, expected = 1.0, 0.0, 0.0, []
  for t, gradient in enumerate(gradients, 1):
    gradient += decay * x if name == 'adam' else 0
    m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
    step = m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    x -= lr * (step + (decay * x if name == 'adamw' else 0))
    expected.append(x)
  np.testing.assert_allclose(follow(optimizer, gradients), expected, rtol=1e-5)


def test_clipping_bounds_the_global_norm():
  optimizer = optim.create(name='sgd', momentum=0.0, clip_norm=0.5)
  np.testing.assert_allclose(follow(optimizer, [10.0, -0.1], [1.0]), [0.5, 0.6], rtol=1e-5)


def test_accumulated_gradients_are_averaged_those_of_an_incomplete_group_too():
  optimizer = optim.create(name='sgd', momentum=0.0, accumulate=3)
  path = follow(optimizer, [1.0, 3.0, 2.0, 4.0, 1.0], [9.0, 9.0, 1.0, 9.0, 0.5])
  np.testing.assert_allclose(path, [1.0, 1.0, -1.0, -1.0, -2.25], rtol=1e-6)


def test_gradients_of_a_run_that_accumulated_more_make_the_next_update():
  more, fewer = (optim.create(name='sgd', momentum=0.0, accumulate=n) for n in (4, 2))
  params, state = {'w': jnp.zeros(1)}, more.init({'w': jnp.zeros(1)})
  for gradient in (1.0, 2.0, 3.0):
    _, state = more.update({'w': jnp.full(1, gradient)}, state, params, last=False)
  updates, state = fewer.update({'w': jnp.full(1, 6.0)}, state, params, last=False)
  np.testing.assert_allclose(updates['w'], [-3.0], rtol=1e-6)  # the mean of all four
  assert optim.pending(state) == 0


# A float32 quotient under jit falls short of a whole number for the first six.
@pytest.mark.parametrize('every', [41, 47, 55, 61, 82, 94, *range(1, 400, 33)])
def test_decay_falls_where_the_exact_boundary_is(every):
  steps = np.arange(60 * every)
  schedule = schedules.learning_rate(
    clock(f'{len(steps)} steps'),
    name='exponential',
    peak=1.0,
    decay_rate=0.5,
    decay_every=f'{every} steps',
  )
  rates = np.asarray(jax.jit(schedule)(steps))
  np.testing.assert_array_equal(rates, 0.5 ** (steps // every))


def test_decay_of_epochs_that_are_no_whole_number_of_steps():
  c = clock('300 epochs', 1_281_167, 256)
  schedule = schedules.learning_rate(
    c, name='exponential', peak=1.0, decay_rate=0.96, decay_every='8 epochs'
  )
  boundaries = [math.ceil(n * 8 * c.steps_per_epoch) for n in range(1, 38)]
  around = np.array([[step - 1, step] for step in boundaries if step < c.total_steps])
  falls = np.log(np.asarray(jax.jit(schedule)(around))) / np.log(0.96)
  expected = [[n, n + 1] for n in range(len(around))]
  np.testing.assert_allclose(falls, expected, atol=1e-3)


def averages(kind, values, begin):
  average = {'params': jnp.array(0.0), 'batch_stats': {}, 'count': jnp.array(0)}
  path = []
  for i, value in enumerate(values):
    new = {'params': jnp.array(value), 'batch_stats': {}}
    average = train_state.update_average(average, new, kind, 0.5, i >= begin)
    path.append(float(average['params']))
  return path


def test_polyak_is_the_mean_since_it_began():
  values = [1.0, 2.0, 6.0, 4.0]
  np.testing.assert_allclose(averages('polyak', values, 2), [1.0, 2.0, 6.0, 5.0], rtol=1e-6)


def test_ema_is_its_formula():
  values, path, x = [1.0, 2.0, 6.0, 4.0], [], 0.0
  for n, value in enumerate(values):
    decay = min(0.5, (1 + n) / (10 + n))
    x = decay * x + (1 - decay) * value
    path.append(x)
  np.testing.assert_allclose(averages('ema', values, 0), path, rtol=1e-6)


def test_norms_a_group():
  tree = {'a': {'kernel': jnp.array([3.0, 4.0])}, 'b': {'c': {'bias': jnp.array([2.0])}}}
  assert {k: float(v) for k, v in optim.group_norms(tree).items()} == {'a': 5.0, 'b': 2.0}
