"""The step over four devices against one device with the whole batch."""

import functools
import itertools
import types

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import special

from googlenet_jax import losses, metrics, models, optim, parallel, steps, train_state
from googlenet_jax.data import pipeline, sources
from googlenet_jax.evaluation import Evaluator
from googlenet_jax.models import Outputs, layers
from googlenet_jax.run import record

NARROW = (8, 4, 8, 4, 8, 8)  # channels of a module
SCORED = metrics.create(('loss', 'top1', 'top5', 'confusion'), {}, losses.cross_entropy)


def gradients_over_devices(model, variables, batch):
  """`steps.make_gradients` mapped over all devices."""
  compute = steps.make_gradients(
    model, loss=losses.cross_entropy, aux_weight=0.3, label_smoothing=0.1
  )
  share = len(batch.image) // jax.device_count()

  def step(carry, host_batch):
    params, batch_stats, _ = carry
    return compute(params, batch_stats, host_batch, jax.random.key(0), 0)

  host_batch = jax.tree.map(lambda x: np.asarray(x).reshape(-1, share, *x.shape[1:]), batch)
  names = steps.train_metrics(('main', 'aux1', 'aux2'), ())
  absent = ('steps', 'learning_rate')
  zeros = {x: 0.0 for x in names if x not in absent}
  carry = (variables['params'], variables.get('batch_stats', {}), zeros)
  return parallel.fetch(parallel.MappedStep(step, 0)(parallel.replicate(carry), host_batch))


def test_gradients_of_four_devices_are_those_of_the_whole_batch():
  assert jax.device_count() == 4
  rng = np.random.default_rng(0)
  mask = np.ones(16, np.float32)
  mask[[2, 3, 9]] = 0  # the devices hold different numbers of examples
  batch = pipeline.Batch(
    rng.normal(size=(16, 32, 32, 3)).astype(np.float32),
    np.eye(10, dtype=np.float32)[rng.integers(0, 10, 16)],
    mask,
  )
  fields = {'num_classes': 10, 'stem': 'compact', 'norm': 'batch', 'dropout': 0.0}
  fields['modules'] = {name: NARROW for name in ('3a', '4a', '4d')}
  model = models.create('googlenet', aux_dropout=0.0, bn_axis=parallel.AXIS, **fields)
  variables = jax.jit(lambda key: model.init(key, batch.image[:1], train=True))(jax.random.key(1))
  grads, batch_stats, sums = gradients_over_devices(model, variables, batch)

  one = models.create('googlenet', aux_dropout=0.0, **fields)

  @jax.jit
  def whole(params):
    outputs, updated = one.apply(
      {**variables, 'params': params}, batch.image, train=True, mutable=['batch_stats']
    )
    target = optax.smooth_labels(batch.label, 0.1)
    by_head = [
      (optax.softmax_cross_entropy(logits, target) * mask).sum() / mask.sum()
      for logits in (outputs.logits, *outputs.aux)
    ]
    return by_head[0] + 0.3 * (by_head[1] + by_head[2]), updated['batch_stats']

  (loss, stats), expected = jax.value_and_grad(whole, has_aux=True)(variables['params'])
  assert sums['examples'] == 13
  np.testing.assert_allclose(sums['loss'] / 13, loss, rtol=1e-5)
  scale = max(float(jnp.abs(x).max()) for x in jax.tree.leaves(expected))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5 * scale), grads, expected)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), batch_stats, stats)


class Pixel(nn.Module):
  """Logits that are the image's first pixels: an evaluation whose answer is known."""

  @nn.compact
  def __call__(self, images, *, train):
    self.param('unused', nn.initializers.zeros, (1,))
    return Outputs(images[:, 0, :, 0])


class Scale(nn.Module):
  """The same with something to learn."""

  @nn.compact
  def __call__(self, images, *, train):
    return Outputs(images[:, 0, :, 0] * self.param('scale', nn.initializers.ones, (1,)))


def test_evaluation_is_exact_for_any_batch_size():
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (37, 8, 8, 1), dtype=np.uint8)
  labels = rng.integers(0, 8, 37).astype(np.int32)
  valid = np.arange(37) != 5
  split = sources.Split(images, labels, valid, tuple('abcdefgh'))
  data = pipeline.in_memory(split, train=False, mean=(0.0,), std=(50.0,), max_bad=1)
  logits = images[valid, 0, :, 0] / 50.0
  order = np.argsort(-logits, axis=-1, kind='stable')
  truth = labels[valid]
  confusion = np.zeros((8, 8), int)
  np.add.at(confusion, (truth, order[:, 0]), 1)
  log_softmax = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
  for batch_size in (1, 10, 36, 64):
    evaluator = Evaluator(Pixel(), data, SCORED, batch_size, each=True)
    result = evaluator({'params': {'unused': np.zeros(1, np.float32)}})
    values = result.values
    assert result.examples == 36
    np.testing.assert_allclose(values['top1'], (order[:, 0] == truth).mean(), rtol=1e-6)
    np.testing.assert_allclose(
      values['top5'], (order[:, :5] == truth[:, None]).any(-1).mean(), rtol=1e-6
    )
    np.testing.assert_allclose(values['loss'], -log_softmax[np.arange(36), truth].mean(), rtol=1e-5)
    np.testing.assert_array_equal(values['confusion'], confusion)
    np.testing.assert_array_equal(result.correct[valid], order[:, 0] == truth)
    assert not result.correct[5]
    np.testing.assert_array_equal(record.flags(record.bits(result.correct), 37), result.correct)


def test_mirror_images_are_averaged_in():
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (20, 8, 8, 1), dtype=np.uint8)
  labels = rng.integers(0, 8, 20).astype(np.int32)
  split = sources.Split(images, labels, np.ones(20, bool), tuple('abcdefgh'))
  data = pipeline.in_memory(split, train=False, mean=(0.0,), std=(50.0,))
  evaluator = Evaluator(Pixel(), data, SCORED, 8, flip=True, each=True, shifts=(1, 3))
  result = evaluator({'params': {'unused': np.zeros(1)}})
  values = result.values
  logits = images[:, 0, :, 0] / 50.0
  one = special.softmax(logits, -1)
  both = (one + special.softmax(logits[:, ::-1], -1)) / 2
  for pixels in (1, 3):
    moved = np.concatenate([logits[:, pixels:0:-1], logits[:, : 8 - pixels]], -1)
    right = (moved.argmax(-1) == labels).mean()
    np.testing.assert_allclose(values[f'top1_shift_{pixels}'], right, rtol=1e-6)
  np.testing.assert_array_equal(result.correct, both.argmax(-1) == labels)
  for name, shares in (('', both), ('_unflipped', one)):
    right = (shares.argmax(-1) == labels).mean()
    np.testing.assert_allclose(values[f'top1{name}'], right, rtol=1e-6)
    loss = -np.log(shares[np.arange(20), labels]).mean()
    np.testing.assert_allclose(values[f'loss{name}'], loss, rtol=1e-5)


@pytest.mark.parametrize('name', losses.LOSSES)
def test_an_image_that_is_its_own_mirror_has_the_same_loss_with_and_without(name):
  half = np.random.default_rng(0).integers(0, 256, (20, 8, 4, 1), dtype=np.uint8)
  images = np.concatenate([half, half[:, :, ::-1]], 2)
  labels = np.arange(20, dtype=np.int32) % 8
  split = sources.Split(images, labels, np.ones(20, bool), tuple('abcdefgh'))
  data = pipeline.in_memory(split, train=False, mean=(0.0,), std=(50.0,))
  scored = metrics.create(('loss', 'top1'), {}, losses.LOSSES[name])
  values = Evaluator(Pixel(), data, scored, 8, flip=True)(
    {'params': {'unused': np.zeros(1)}}
  ).values
  np.testing.assert_allclose(values['loss'], values['loss_unflipped'], rtol=1e-5)


def test_each_device_and_step_has_its_own_dropout():
  def step(carry, host_batch, key):
    state = types.SimpleNamespace(step=carry['step'], skipped_batches=jnp.int32(0))
    _, own = steps.draw(lambda *given: None, 16, state, (), (), key)
    keys = jax.lax.all_gather(jax.random.key_data(own), parallel.AXIS)
    return {'step': carry['step'] + 1, 'keys': keys}

  mapped, seen = parallel.MappedStep(step, arguments=1), []
  carry = parallel.replicate({'step': np.int32(0), 'keys': np.zeros((4, 2), np.uint32)})
  for _ in range(2):
    carry = mapped(carry, (), jax.random.key(0))
    seen += map(tuple, parallel.fetch(carry['keys']))
  assert len(set(seen)) == 8


def test_an_average_begins_after_the_step_that_it_is_told():
  options = {'average': 'polyak', 'average_from': 2}
  _, *after = trained(Scale(), gray_noise(), 5, **options)
  taken = [x.params['scale'] for x in after[2:]]
  assert len({float(x[0]) for x in taken}) == 3
  np.testing.assert_allclose(after[-1].average['params']['scale'], np.mean(taken, 0), rtol=1e-6)
  assert after[-1].average['count'] == 3
  np.testing.assert_array_equal(after[1].average['params']['scale'], after[1].params['scale'])


def gray_noise():
  """48 gray images of noise, in order."""
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (48, 8, 8, 1), dtype=np.uint8)
  labels = rng.integers(0, 8, 48).astype(np.int32)
  split = sources.Split(images, labels, np.ones(48, bool), tuple('abcdefgh'))
  return pipeline.in_memory(split, train=False, mean=(0.0,), std=(50.0,))


def streamed(data):
  """The same examples, fed by the host: what a source of files will do."""

  def feed(step, count, batch_size):
    share = batch_size // jax.device_count()
    index = np.arange(step * batch_size, (step + count) * batch_size) % data.size
    index = index.reshape(count, jax.device_count(), share).swapaxes(0, 1)
    return {name: x[index] for name, x in data.device_data.items()}

  def read(device_data, host_batch, positions, key):
    first = data.make_batch(host_batch, (), jax.numpy.arange(len(positions)), key)
    return first._replace(mask=first.mask * (positions < data.size))

  return data._replace(device_data=(), feed=feed, make_batch=read)


def train_step(
  model,
  data,
  total_steps,
  optimizer,
  frozen=(),
  rate=0.1,
  *,
  aux_until=None,
  head_norms=False,
  average='none',
  average_decay=0.0,
  average_from=0,
  **fields,
):
  """A training step of batches of 16 examples."""
  gradients = steps.make_gradients(
    model,
    loss=losses.cross_entropy,
    aux_weight=0.3,
    label_smoothing=0.0,
    aux_until=aux_until,
    frozen=frozen,
    head_norms=head_norms,
  )
  schedule = rate if callable(rate) else lambda step: rate
  update = steps.make_update(optimizer, schedule, total_steps=total_steps, frozen=frozen)
  averaging = steps.make_average(average, average_decay, average_from)
  return steps.make_train_step(
    gradients, update, averaging, data.make_batch, batch_size=16, **fields
  )


def trained(model, data, count, *, optimizer=None, frozen=(), rate=0.1, **fields):
  """The states before and after some steps of 16 examples, as numpy arrays."""
  optimizer = optimizer or optim.create(name='sgd')
  step = train_step(model, data, count, optimizer, frozen, rate, **fields)
  step, key = parallel.MappedStep(step, arguments=3), jax.random.key(0)
  heads = ('main', *(f'aux{i + 1}' for i in range(len(getattr(model, 'aux_heads', ())))))
  average = fields.get('average', 'none')
  layers = layers_of(model, data) if fields.get('log_norms') else ()
  names = steps.train_metrics(heads, *3 * (layers,))
  state = train_state.create(model, key, data.image_shape, optimizer, average, names, heads, frozen)
  states = [jax.tree.map(np.asarray, state)]
  state, device_data = parallel.replicate(state), parallel.replicate(data.device_data)
  for i in range(count):
    state = step(state, data.feed(i, 1, 16), device_data, key, np.int32(1))
    states.append(parallel.fetch(state))
  return states


def layers_of(model, data):
  """Names of a network's layers."""
  return tuple(train_state.abstract_variables(model, data.image_shape)['params'])


def noise(size=16, channels=3):
  """48 images of noise, for training."""
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (48, size, size, channels), dtype=np.uint8)
  labels = rng.integers(0, 8, 48).astype(np.int32)
  split = sources.Split(images, labels, np.ones(48, bool), tuple('abcdefgh'))
  return pipeline.in_memory(split, train=True, mean=(127.0,), std=(60.0,))


def test_frozen_layers_stay_bit_for_bit_and_keep_nothing():
  fields = {'num_classes': 8, 'stem': 'compact', 'norm': 'batch', 'aux_heads': ('4a',)}
  fields['modules'] = {name: NARROW for name in ('3a', '3b', '4a', '5a')}
  model, frozen = models.create('googlenet', **fields), ('conv', 'inception_3')
  first, *_, last = trained(model, noise(), 50, frozen=frozen, average='ema', average_decay=0.9)
  for layer in last.params:
    for tree in ('params', 'batch_stats'):
      before, after = (getattr(x, tree).get(layer, {}) for x in (first, last))
      averaged = last.average[tree].get(layer, {})
      if layer.startswith(frozen):
        jax.tree.map(np.testing.assert_array_equal, before, after)
        jax.tree.map(np.testing.assert_array_equal, before, averaged)
      else:
        same = jax.tree.map(np.array_equal, before, after)
        assert not any(jax.tree.leaves(same)), layer
  momenta = optax.tree.get(last.opt_state, 'trace')
  assert set(momenta) == {x for x in last.params if not x.startswith(frozen)}

  def seen(train, *held):
    with steps.as_in_evaluation(held):
      images = np.random.default_rng(1).normal(size=(4, 16, 16, 3)).astype(np.float32)
      variables, rngs = train_state.variables(last), {'dropout': jax.random.key(0)}
      how = {'mutable': ['intermediates', 'batch_stats'], 'capture_intermediates': True}
      applied = jax.jit(functools.partial(model.apply, train=train, **how))
      _, found = applied(variables, images, rngs=rngs)
    return found['intermediates']['inception_3b']['__call__'][0]

  pooled = layers.max_pool(seen(False), 3, 2, 'same')  # in training, the module does that
  np.testing.assert_array_equal(seen(True, *frozen), pooled)
  assert not np.allclose(seen(True), pooled)


class Headed(nn.Module):
  """A network whose auxiliary head learns by itself, but for the layer that is `shared`."""

  aux_heads: tuple[str, ...] = ('first',)
  shared: bool = False

  @nn.compact
  def __call__(self, images, *, train):
    main, aux = (self.param(x, nn.initializers.zeros, (8,)) for x in ('linear', 'aux1'))
    row = images[:, 0, :, 0]
    if self.shared:
      row *= self.param('shared', nn.initializers.ones, (8,))
    return Outputs(row + main, (row + aux,))


def test_the_gradient_of_each_head_is_told_apart():
  fields = {'log_norms': True, 'head_norms': True}
  _, last = trained(Headed(shared=True), noise(8, 1), 1, **fields)
  norms = {name: float(x) for name, x in last.log_sums.items() if 'gradient_norm' in name}
  main = norms['main_gradient_norm/shared']
  assert main > 0.01
  # Both heads begin alike: what they send down differs by the weight alone.
  expected = {
    'main_gradient_norm/linear': norms['gradient_norm/linear'],
    'main_gradient_norm/aux1': 0.0,
    'aux1_gradient_norm/linear': 0.0,
    'aux1_gradient_norm/aux1': norms['gradient_norm/aux1'],
    'aux1_gradient_norm/shared': 0.3 * main,
    'gradient_norm/shared': 1.3 * main,
  }
  assert {name: norms[name] for name in expected} == pytest.approx(expected)


def test_auxiliary_losses_end_when_asked():
  plain = {'optimizer': optim.create(name='sgd', momentum=0.0)}
  states = trained(Headed(), noise(8, 1), 4, aux_until=2, **plain)
  heads = [state.params['aux1'] for state in states]
  moved = [not np.array_equal(*pair) for pair in itertools.pairwise(heads)]
  assert moved == [True, True, False, False]
  always = trained(Headed(), noise(8, 1), 4, **plain)
  np.testing.assert_array_equal(states[2].params['aux1'], always[2].params['aux1'])
  np.testing.assert_array_equal(states[-1].params['linear'], always[-1].params['linear'])


class Steep(nn.Module):
  """Two layers of which the first has by far the larger gradient."""

  @nn.compact
  def __call__(self, images, *, train):
    zeros = nn.initializers.zeros
    x = nn.Dense(8, use_bias=False, kernel_init=zeros, name='stem')(1e4 * images[:, 0, :, 0])
    return Outputs(nn.Dense(8, kernel_init=zeros, name='head')(x) + x)


def test_clipping_does_not_count_frozen_layers():
  optimizer = optim.create(name='sgd', momentum=0.0, clip_norm=1e-3)
  data = noise(8, 1)
  moved = []
  for frozen in ((), ('stem',)):
    first, last = trained(Steep(), data, 1, optimizer=optimizer, frozen=frozen, rate=1.0)
    change = last.params['head']['bias'] - first.params['head']['bias']
    moved.append(np.linalg.norm(change))
  assert moved[0] < 1e-5  # nearly all of the norm is the stem's
  np.testing.assert_allclose(moved[1], 1e-3, rtol=1e-4)


def test_a_skipped_batch_leaves_averages_and_groups_in_step():
  data = noise(8, 1)
  read = data.make_batch

  def poisoned(device_data, host_batch, positions, key):
    batch = read(device_data, host_batch, positions, key)
    bad = (positions // 16 == 1)[:, None, None, None]
    return batch._replace(image=jnp.where(bad, jnp.nan, batch.image))

  states = trained(
    Scale(),
    data._replace(make_batch=poisoned),
    6,
    optimizer=optim.create(name='sgd', momentum=0.0, accumulate=2),
    rate=lambda step: jnp.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])[step],
    average='polyak',
    on_nonfinite='skip',
  )
  values = [float(state.params['scale'][0]) for state in states]
  changed = [step for step in range(1, 7) if values[step] != values[step - 1]]
  assert changed == [3, 5, 6]  # batch 1 counts nowhere; the last one is a group of its own
  applied = [float(state.log_sums['learning_rate']) for state in states]
  np.testing.assert_allclose(applied, [0, 0, 0, 0.3, 0.3, 0.5, 0.6], rtol=1e-6)
  for step, state in enumerate(states):
    made = [values[i] for i in changed if i <= step]
    assert state.average['count'] == len(made)
    expected = np.mean(made) if made else values[0]
    np.testing.assert_allclose(state.average['params']['scale'][0], expected, rtol=1e-6)


@pytest.mark.parametrize('count', [1, 3])
def test_a_host_fed_pipeline_gives_a_step_what_a_resident_one_does(count):
  device_data = gray_noise()
  model, found = Scale(), []
  optimizer = optim.create(name='sgd')
  for data in (device_data, streamed(device_data)):
    step = train_step(model, data, 3, optimizer, looped=count > 1)
    step = parallel.MappedStep(step, arguments=3)
    heads = ('main',)
    names, key = steps.train_metrics(heads, ()), jax.random.key(0)
    state = train_state.create(model, key, (8, 8, 1), optimizer, 'none', names, heads)
    state, resident_arrays = parallel.replicate(state), parallel.replicate(data.device_data)
    for first in range(0, 3, count):
      host_batch = data.feed(first, count, 16)
      state = step(state, host_batch, resident_arrays, jax.random.key(0), np.int32(count))
    found.append(float(parallel.fetch(state.log_sums)['loss']))
    assert parallel.fetch(state.log_sums)['examples'] == 48
    score = Evaluator(model, data, SCORED, 16)({'params': {'scale': np.ones(1)}})
    found.append(score.values['loss'])
  assert found[:2] == pytest.approx(found[2:], rel=1e-5)
