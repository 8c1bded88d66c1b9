"""The networks against published counts and shapes and plain numpy definitions."""

import functools
import math
import re

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from googlenet_jax import models
from googlenet_jax.errors import InputError
from googlenet_jax.models import cpu_forms, googlenet, inception, layers, resnet
from googlenet_jax.models.batch_norm import BatchNorm


def shapes(train, size=224, channels=3, **fields):
  """Parameters by path and their shapes, and the outputs, without computing anything."""
  model = models.create('googlenet', **fields)
  rngs = {'params': jax.random.key(0), 'dropout': jax.random.key(0)}
  outputs, variables = jax.eval_shape(
    lambda: model.init_with_output(rngs, jnp.zeros((2, size, size, channels)), train=train)
  )
  flat = flax.traverse_util.flatten_dict(variables['params'], sep='/')
  return {path: x.shape for path, x in flat.items()}, outputs


def total(params, prefix=''):
  return sum(int(np.prod(shape)) for path, shape in params.items() if path.startswith(prefix))


@pytest.mark.parametrize(
  ('fields', 'main', 'with_aux'),
  [
    ({}, 6_998_552, 13_378_280),
    ({'norm': 'none'}, 6_998_552, 13_378_280),
    ({'norm': 'batch'}, 7_005_832, 13_385_816),
    ({'norm': 'batch', 'kernel_5x5': 3}, 6_624_904, 13_004_888),
    ({'aux_heads': ()}, 6_998_552, 6_998_552),
    ({'num_classes': 10, 'aux_heads': ()}, 5_983_802, 5_983_802),
    ({'num_classes': 100, 'aux_heads': ()}, 6_076_052, 6_076_052),
    ({'module': 'naive', 'aux_heads': ()}, 97_526_008, 97_526_008),
    (
      {'stem': 'tutorial', 'norm': 'none', 'num_classes': 10, 'aux_heads': ()},
      5_979_642,
      5_979_642,
    ),
  ],
)
def test_parameter_counts(fields, main, with_aux):
  params, _ = shapes(False, **fields)
  assert total(params) == with_aux  # whatever `train` is when they are made
  assert total(params) - total(params, 'aux') == main


@pytest.mark.parametrize(
  ('layer', 'weights', 'biases'),
  [
    ('conv1', 9_408, 64),
    ('conv2_reduce', 4_096, 64),
    ('conv2/', 110_592, 192),
    ('inception_3a', 163_328, 368),
    ('inception_3b', 388_096, 640),
    ('inception_4a', 375_552, 624),
    ('inception_4b', 448_512, 648),
    ('inception_4c', 509_440, 664),
    ('inception_4d', 604_672, 704),
    ('inception_4e', 867_328, 1_024),
    ('inception_5a', 1_042_432, 1_024),
    ('inception_5b', 1_442_816, 1_264),
    ('linear', 1_024_000, 1_000),
  ],
)
def test_counts_of_a_layer(layer, weights, biases):
  params, _ = shapes(False)
  assert total({p: s for p, s in params.items() if p.endswith('kernel')}, layer) == weights
  assert total({p: s for p, s in params.items() if p.endswith('bias')}, layer) == biases


def test_counts_of_the_auxiliary_heads():
  params, _ = shapes(True)
  assert total(params, 'aux1') == 3_188_840
  assert total(params, 'aux2') == 3_190_888


def test_parameter_paths_are_public():
  params, _ = shapes(True)
  convs = ('conv_1x1', 'reduce_3x3', 'conv_3x3', 'reduce_5x5', 'conv_5x5', 'pool_proj')
  names = ['3a', '3b', '4a', '4b', '4c', '4d', '4e', '5a', '5b']
  expected = {'conv1', 'conv2_reduce', 'conv2', 'linear'}
  expected |= {f'inception_{name}/{conv}' for name in names for conv in convs}
  expected |= {f'aux{i}/{layer}' for i in (1, 2) for layer in ('conv', 'fc', 'linear')}
  assert set(params) == {f'{name}/{what}' for name in expected for what in ('kernel', 'bias')}
  assert params['conv1/kernel'] == (7, 7, 3, 64)  # HWIO
  assert params['inception_3a/reduce_5x5/kernel'] == (1, 1, 192, 16)
  assert params['inception_5b/conv_3x3/kernel'] == (3, 3, 192, 384)
  assert params['aux1/fc/kernel'] == (2048, 1024)


def test_parameter_paths_of_batch_norm():
  params, _ = shapes(False, norm='batch')
  block = {path.removeprefix('conv1/') for path in params if path.startswith('conv1/')}
  assert block == {'kernel', 'bn/scale', 'bn/bias'}


@pytest.mark.parametrize('axis', [None, 'devices'])
@pytest.mark.parametrize('train', [True, False])
@pytest.mark.parametrize(('dtype', 'rounding'), [('float32', 2e-6), ('bfloat16', 1e-2)])
def test_batch_norm_is_that_of_flax(dtype, rounding, axis, train):
  x = 3 * jax.random.normal(jax.random.key(0), (2, 8, 3, 5, 6)).astype(dtype) + 1
  scale, shift, weights = (jax.random.normal(jax.random.key(i), (6,)) for i in (1, 2, 3))

  def run(norm):
    layer = norm(
      use_running_average=not train, momentum=0.9, epsilon=1e-3, axis_name=axis, dtype=x.dtype
    )
    made = layer.init(jax.random.key(0), x[0])
    params, statistics = {'scale': scale, 'bias': shift}, {'mean': shift, 'var': scale**2}
    assert jax.tree.structure(made) == jax.tree.structure(
      {'params': params, 'batch_stats': statistics}
    )

    def loss(params, x):
      variables = {'params': params, 'batch_stats': statistics}
      y, new = layer.apply(variables, x, mutable=['batch_stats'])
      return jnp.vdot(jnp.sin(y.astype(jnp.float32)).sum((0, 1, 2)), weights), (y, new)

    of_each = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
    return jax.jit(jax.vmap(of_each, in_axes=(None, 0), axis_name='devices'))(params, x)

  ((_, outputs), gradients), ((_, expected), of_flax) = run(BatchNorm), run(nn.BatchNorm)
  jax.tree.map(np.testing.assert_array_equal, outputs, expected)

  def near(ours, theirs):
    largest = float(jnp.abs(theirs).max())
    np.testing.assert_allclose(
      np.float32(ours), np.float32(theirs), rtol=0, atol=rounding * largest
    )

  jax.tree.map(near, gradients, of_flax)


@pytest.mark.parametrize('axis', [None, 'devices'])
def test_batch_norm_of_a_pool_is_the_pool_of_batch_norm(axis):
  x = 3 * jax.random.normal(jax.random.key(0), (2, 4, 7, 8, 6)) + 1
  scale, shift, weights = (jax.random.normal(jax.random.key(i), (6,)) for i in (1, 2, 3))
  assert (scale < 0).any() and (scale > 0).any()
  layer = BatchNorm(use_running_average=False, axis_name=axis)
  pool = functools.partial(layers.max_pool, window=3, stride=2, pool_rounding='same')

  def run(normalised):
    def loss(params, x):
      y, new = normalised({'params': params}, x)
      return jnp.vdot(jnp.sin(y).sum((0, 1, 2)), weights), (y, new)

    of_each = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
    mapped = jax.vmap(of_each, in_axes=(None, 0), axis_name='devices')
    return jax.jit(mapped)({'scale': scale, 'bias': shift}, x)

  def before(variables, x):
    statistics = {'mean': shift, 'var': scale**2}
    return layer.apply(
      variables | {'batch_stats': statistics}, x, pool=pool, mutable=['batch_stats']
    )

  def after(variables, x):
    statistics = {'mean': shift, 'var': scale**2}
    y, new = layer.apply(variables | {'batch_stats': statistics}, x, mutable=['batch_stats'])
    return pool(y), new

  ((_, outputs), gradients), ((_, expected), others) = run(before), run(after)
  assert outputs[0].shape == (2, 4, 4, 4, 6)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), outputs, expected)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=3e-6 * float(jnp.abs(b).max())),
    gradients,
    others,
  )


@pytest.mark.parametrize('norm', ['batch', 'lrn', 'none'])
@pytest.mark.parametrize('module', ['reduced', 'naive'])
def test_pools_that_run_early_change_nothing(norm, module, monkeypatch):
  widths = (8, 8, 16, 8, 8, 8)
  model = models.create(
    'googlenet',
    num_classes=3,
    width=0.125,
    modules=dict.fromkeys(('3a', '4a', '4b', '5a'), widths),
    aux_heads=('4b',),  # whose map is not pooled
    norm=norm,
    module=module,
    stem='imagenet',
    dropout=0.0,
    aux_dropout=0.0,
  )
  images = jax.random.normal(jax.random.key(0), (4, 64, 64, 3))
  variables = model.init(jax.random.key(1), images, train=True)
  rng = np.random.default_rng(0)

  def turned(path, x):  # some scales below 0
    return x * rng.choice([-1, 1], x.shape) if path[-1].key == 'scale' else x

  params = jax.tree_util.tree_map_with_path(turned, variables.pop('params'))

  def run():
    def loss(params):
      outputs, new = model.apply(
        {'params': params} | variables, images, train=True, mutable=['batch_stats']
      )
      return sum(jnp.sin(y).sum() for y in (outputs.logits, *outputs.aux)), (outputs, new)

    return jax.jit(jax.value_and_grad(loss, has_aux=True))(params)

  early = run()
  monkeypatch.setattr(models.googlenet.GoogLeNet, '_pools_early', lambda *unused: False)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-4 * float(jnp.abs(b).max())),
    early,
    run(),
  )


@pytest.mark.parametrize('train', [True, False])
def test_a_network_may_have_no_modules(train):
  params, outputs = shapes(train, modules={}, aux_heads=())
  assert params['linear/kernel'] == (192, 1000)  # channels of the stem
  assert outputs.logits.shape == (2, 1000)


def test_batch_norm_has_no_gradient_of_a_variance_that_rounds_below_0():
  x, of_y = (jax.random.normal(jax.random.key(i), (64, 32)) for i in (0, 1))
  layer = BatchNorm(use_running_average=False, epsilon=1e-3)
  variables = layer.init(jax.random.key(0), x)
  run = jax.jit(lambda x: layer.apply(variables, x, mutable=['batch_stats']))
  _, back, new = jax.vjp(run, 1e4 + x, has_aux=True)  # its squares are 8 apart
  clipped = np.flatnonzero(new['batch_stats']['var'] <= 0.9)  # 0.9 times the first one, which is 1
  assert len(clipped)
  expected = (of_y - of_y.mean(0)) / np.sqrt(1e-3)
  np.testing.assert_allclose(back(of_y)[0][:, clipped], expected[:, clipped], rtol=1e-4, atol=1e-3)


TABLE_1 = {
  'conv1': (112, 112, 64),
  'conv2': (56, 56, 192),
  'inception_3a': (28, 28, 256),
  'inception_3b': (28, 28, 480),
  'inception_4a': (14, 14, 512),
  'inception_4b': (14, 14, 512),
  'inception_4c': (14, 14, 512),
  'inception_4d': (14, 14, 528),
  'inception_4e': (14, 14, 832),
  'inception_5a': (7, 7, 832),
  'inception_5b': (7, 7, 1024),
}


def stages(size=224, **fields):
  """Output shape (H, W, C) of every named layer."""
  model = models.create('googlenet', aux_heads=(), **fields)

  def run():
    images = jnp.zeros((1, size, size, 3))
    variables = model.init(jax.random.key(0), images, train=False)
    return model.apply(variables, images, train=False, capture_intermediates=True)[1]

  found = jax.eval_shape(run)['intermediates']
  return {name: found[name]['__call__'][0].shape[1:] for name in TABLE_1}


@pytest.mark.parametrize('pool_rounding', ['same', 'ceil'])
def test_stage_shapes_of_table_1(pool_rounding):
  assert stages(pool_rounding=pool_rounding) == TABLE_1


def test_floor_geometry_of_the_onnx_file():
  sizes = {name: shape[0] for name, shape in stages(pool_rounding='floor').items()}
  assert [sizes[n] for n in ('conv1', 'conv2', 'inception_3a', 'inception_4a', 'inception_5a')] == [
    112,
    55,
    27,
    13,
    6,
  ]


def test_channels_of_naive_modules():
  assert stages(module='naive')['inception_5b'] == (7, 7, 4944)


@pytest.mark.parametrize(
  ('stem', 'maps'), [('imagenet', (4, 2, 1)), ('cifar', (32, 16, 8)), ('compact', (16, 8, 4))]
)
def test_stems_at_32_pixels(stem, maps):
  found = stages(32, stem=stem)
  assert tuple(found[f'inception_{n}'][0] for n in ('3a', '4a', '5a')) == maps


@pytest.mark.parametrize('size', [32, 33, 47, 64, 97, 225])
@pytest.mark.parametrize('stem', ['imagenet', 'cifar', 'compact'])
@pytest.mark.parametrize('pool_rounding', ['same', 'ceil'])
def test_any_size_from_32_pixels_on(size, stem, pool_rounding):
  _, outputs = shapes(True, size=size, stem=stem, pool_rounding=pool_rounding, width=0.125)
  assert [y.shape for y in (outputs.logits, *outputs.aux)] == [(2, 1000)] * 3


@pytest.mark.parametrize('train', [False, True])
def test_initialisation_makes_every_parameter(train):
  rngs = {'params': jax.random.key(0), 'dropout': jax.random.key(0)}
  for name, side in (('googlenet', 64), ('inception_v3', 299)):
    model, images = models.create(name, width=0.1), jnp.zeros((1, side, side, 3))
    outputs, variables = jax.eval_shape(
      lambda model=model, images=images: model.init_with_output(rngs, images, train=train)
    )
    heads = [layer for layer in variables['params'] if layer.startswith('aux')]
    assert len(heads) == len(model.aux_heads)
    assert len(outputs.aux) == (len(heads) if train else 0)


def test_evaluation_computes_nothing_of_the_auxiliary_heads():
  images = jnp.zeros((1, 64, 64, 3))
  programs = []
  for aux_heads in ((), ('4a', '4d')):
    model = models.create('googlenet', aux_heads=aux_heads, width=0.125)
    if not programs:
      variables = jax.eval_shape(lambda m=model: m.init(jax.random.key(0), images, train=False))
    text = str(jax.make_jaxpr(lambda v, m=model: m.apply(v, images, train=False).logits)(variables))
    programs.append(re.sub(r'0x[0-9a-f]+', '', text))
  assert programs[0] == programs[1]


@pytest.mark.parametrize('channels', [64, 1])  # 1: a depthwise kernel
def test_initial_kernels(channels):
  fan_in = 3 * 3 * channels
  shape = 3, 3, channels, 1024
  drawn = {
    name: np.asarray(init(jax.random.key(0), shape, jnp.float32))
    for name, init in layers.KERNEL_INITS.items()
  }
  scaling = nn.initializers.variance_scaling
  own = {
    'xavier': scaling(1.0, 'fan_in', 'uniform'),
    'he': scaling(2.0, 'fan_in', 'truncated_normal'),
    'torch': scaling(1 / 3, 'fan_in', 'uniform'),
    'normal': nn.initializers.normal(0.01),
  }
  for name, init in own.items():
    np.testing.assert_allclose(drawn[name], init(jax.random.key(0), shape), rtol=1e-6, atol=1e-9)
  for name, bound in (('xavier', math.sqrt(3 / fan_in)), ('torch', 1 / math.sqrt(fan_in))):
    assert bound * 0.99 < np.abs(drawn[name]).max() <= bound
    assert drawn[name].std() == pytest.approx(bound / math.sqrt(3), rel=0.02)
  assert drawn['he'].std() == pytest.approx(math.sqrt(2 / fan_in), rel=0.02)
  assert drawn['normal'].std() == pytest.approx(0.01, rel=0.02)


def test_initial_parameters_are_those_of_the_published_weights():
  model = models.create(
    'googlenet', num_classes=10, modules={'3a': (8, 4, 8, 4, 8, 8)}, aux_heads=('3a',)
  )
  images = jnp.zeros((1, 64, 64, 3))
  params = model.init(jax.random.key(0), images, train=True)['params']
  flat = flax.traverse_util.flatten_dict(params, sep='/')
  for path, array in flat.items():
    if path.endswith('bias'):
      assert (array == (0.0 if path.endswith('linear/bias') else 0.2)).all(), path
  assert np.abs(flat['conv1/kernel']).max() <= math.sqrt(3 / 147)  # xavier, of 7x7x3
  assert np.abs(flat['conv1/kernel']).max() > 0.99 * math.sqrt(3 / 147)


def test_dropout_is_that_of_the_paper():
  rates = {}

  def watch(call, args, kwargs, context):
    if isinstance(context.module, nn.Dropout):
      rates[context.module.path[0]] = context.module.rate, context.module.deterministic
    return call(*args, **kwargs)

  model = models.create('googlenet')
  rngs = {'params': jax.random.key(0), 'dropout': jax.random.key(0)}
  for train in (True, False):
    with nn.intercept_methods(watch):
      jax.eval_shape(lambda t=train: model.init(rngs, jnp.zeros((1, 224, 224, 3)), train=t))
    found = {name.removesuffix('_0'): x for name, x in rates.items()}
    shares = {'Dropout': 0.4, 'aux1': 0.7, 'aux2': 0.7}  # section 5
    assert found == {name: (share, not train) for name, share in shares.items()}
    rates.clear()


def test_auxiliary_head_is_the_numpy_definition():
  head = googlenet.AuxHead(
    num_classes=3,
    pool='5x5',
    conv_features=4,
    fc_features=6,
    dropout=0.0,
    conv=functools.partial(layers.ConvBlock, batch_norm=False),
    linear=nn.Dense,
  )
  rng = np.random.default_rng(0)
  x = rng.normal(size=(2, 14, 14, 5)).astype(np.float32)
  params = head.init(jax.random.key(0), x, train=False)['params']
  params = jax.tree.map(lambda y: rng.normal(size=y.shape).astype(np.float32), params)
  windows = np.lib.stride_tricks.sliding_window_view(x, (5, 5), (1, 2))[:, ::3, ::3].mean((-2, -1))
  assert windows.shape == (2, 4, 4, 5)
  maps = np.maximum(windows @ params['conv']['kernel'][0, 0] + params['conv']['bias'], 0)
  hidden = maps.reshape(2, -1) @ params['fc']['kernel'] + params['fc']['bias']
  expected = np.maximum(hidden, 0) @ params['linear']['kernel'] + params['linear']['bias']
  found = head.apply({'params': params}, x, train=False)
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_padded_shortcut_of_a_residual_block():
  conv = functools.partial(layers.ConvBlock, batch_norm=False)
  block = resnet.Block(features=8, stride=2, bottleneck=False, shortcut='pad', conv=conv)
  x = np.random.default_rng(0).normal(size=(2, 6, 6, 4)).astype(np.float32)
  params = block.init(jax.random.key(0), x, train=False)['params']
  alone = block.apply({'params': jax.tree.map(jnp.zeros_like, params)}, x, train=False)
  expected = np.zeros((2, 3, 3, 8), np.float32)  # arXiv 1512.03385, section 3.3, option A
  expected[..., 2:6] = np.maximum(x[:, ::2, ::2], 0)
  np.testing.assert_array_equal(alone, expected)


def test_outputs_in_training():
  _, outputs = shapes(True, num_classes=7, dtype='bfloat16')
  assert [y.shape for y in (outputs.logits, *outputs.aux)] == [(2, 7)] * 3
  assert {y.dtype for y in (outputs.logits, *outputs.aux)} == {jnp.dtype('float32')}


def test_auxiliary_heads_follow_any_module():
  params, outputs = shapes(True, aux_heads=('3b', '5a', '4c'))
  assert len(outputs.aux) == 3
  assert [params[f'aux{i}/conv/kernel'][2] for i in (1, 2, 3)] == [480, 512, 832]


def test_auxiliary_head_averages_a_small_map_whole():
  params, _ = shapes(True, size=32, stem='imagenet')  # maps of 2x2 after 4a
  assert params['aux1/fc/kernel'] == (128, 1024)


def test_bfloat16_keeps_float32_parameters():
  model = models.create('googlenet', dtype='bfloat16', width=0.125, norm='batch', stem='compact')
  variables = jax.eval_shape(
    lambda: model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), train=False)
  )
  assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype('float32')}


@pytest.mark.parametrize(
  ('channels', 'width', 'rounded'),
  [(64, 1.0, 64), (16, 0.25, 8), (208, 0.25, 56), (96, 0.125, 16), (100, 1, 104)],
)
def test_width_rounds_to_multiples_of_8(channels, width, rounded):
  assert layers.scaled(channels, width) == rounded


def test_width_scales_the_auxiliary_heads():
  params, _ = shapes(True, width=0.5)
  assert params['aux1/conv/kernel'][3] == 64
  assert params['aux1/fc/kernel'] == (1024, 512)


def test_linear_classifier_keeps_places():
  params, _ = shapes(False, classifier='linear', aux_heads=())
  assert params['linear/kernel'] == (7 * 7 * 1024, 1000)
  assert 'fc/kernel' not in params


FULL = inception.Widths(8, 4, 16, 4, 8, 8)


def branches(x, widths=FULL, reduced=True, **fields):
  """A module's outputs and parameters; those of a name are the same in every module."""
  module = inception.InceptionModule(widths, reduced, 5, layers.ConvBlock, **fields)
  made = module.init(jax.random.key(0), x, train=False)
  return module.apply(made, x, train=False), made['params']


@pytest.mark.parametrize('reduced', [True, False])
def test_a_width_of_0_leaves_a_branch_out(reduced):
  x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 6, 6, 12)), jnp.float32)
  whole, params = branches(x, reduced=reduced)
  ends = np.cumsum([8, 16, 8])
  names = ('conv_1x1', 'conv_3x3', 'conv_5x5', 'pool_proj')
  parts = dict(zip(names, np.split(whole, ends, -1), strict=True))
  assert parts['pool_proj'].shape[-1] == (8 if reduced else 12)
  for left_out in parts:
    own = {left_out, left_out.replace('conv', 'reduce')} & set(FULL._fields)
    y, kept = branches(x, FULL._replace(**dict.fromkeys(own, 0)), reduced)
    assert params.keys() - kept.keys() == own & params.keys()
    expected = np.concatenate([part for name, part in parts.items() if name != left_out], -1)
    np.testing.assert_allclose(y, expected, atol=1e-5)


def test_pool_branch_may_average():
  x = np.random.default_rng(0).normal(size=(1, 4, 4, 3)).astype(np.float32)
  y, _ = branches(jnp.asarray(x), reduced=False, pool_branch='average')
  corner, middle = x[0, :2, :2].mean((0, 1)), x[0, :3, :3].mean((0, 1))  # padding does not count
  np.testing.assert_allclose(y[0, 0, 0, -3:], corner, rtol=1e-5)
  np.testing.assert_allclose(y[0, 1, 1, -3:], middle, rtol=1e-5)


def test_two_3x3_for_a_5x5():
  x = jnp.zeros((1, 9, 9, 12)).at[0, 4, 4].set(1.0)
  y, params = branches(x, stacked=True)
  assert params['conv_5x5_first']['kernel'].shape == (3, 3, 4, 8)
  assert params['conv_5x5']['kernel'].shape == (3, 3, 8, 8)
  seen = jnp.abs(y[0, ..., 24:32]).max(-1) > 0
  assert not seen[:2].any() and not seen[-2:].any()  # no further than a 5x5
  assert seen[2:7].any() and seen[:, 2:7].any()


def test_no_relu_after_reductions():
  x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 6, 6, 12)), jnp.float32)
  y, params = branches(x, reduction_relu=False)
  reduced = jnp.einsum('bhwi,io->bhwo', x, params['reduce_3x3']['kernel'][0, 0])
  assert reduced.min() < 0
  expected = nn.relu(
    jax.lax.conv_general_dilated(
      reduced,
      params['conv_3x3']['kernel'],
      (1, 1),
      'SAME',
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    )
  )
  np.testing.assert_allclose(y[..., 8:24], expected, atol=1e-5)


def test_no_relu_in_the_tutorials_stem():
  fields = {'stem': 'tutorial', 'norm': 'none', 'aux_heads': (), 'modules': {'3a': FULL}}
  model = models.create('googlenet', width=0.125, **fields)
  images = np.random.default_rng(0).normal(size=(1, 32, 32, 3)).astype(np.float32)
  made = model.init(jax.random.key(0), images, train=False)
  _, found = model.apply(made, images, train=False, capture_intermediates=True)
  names = 'conv1', 'conv2', 'inception_3a'
  least = {name: found['intermediates'][name]['__call__'][0].min() for name in names}
  assert least['conv1'] < 0 and least['conv2'] < 0
  assert least['inception_3a'] >= 0


def test_fully_connected_classifier():
  params, _ = shapes(False, classifier='fc')
  assert params['fc/kernel'] == (7 * 7 * 1024, 1024)  # 51.4 million
  assert params['linear/kernel'] == (1024, 1000)


@pytest.mark.parametrize(
  'fields',
  [
    {'stem': 'tiny'},
    {'norm': 'layer'},
    {'aux_heads': ('6a',)},
    {'widht': 2},
    {'kernel_init': 'one'},
    {'pool_rounding': 'valid'},
    {'pool_branch': 'median'},
    {'modules': {'3a': (0, 8, 0, 8, 0, 0)}},
    {'modules': {'3a': (8, 0, 8, 8, 8, 8)}},
  ],
)
def test_unknown_fields_are_named(fields):
  with pytest.raises(InputError, match=next(iter(fields))):
    shapes(False, **fields)


@pytest.mark.parametrize('name', ['googlenet', 'vgg16', 'resnet50', 'inception_v3'])
@pytest.mark.parametrize(
  ('field', 'value'),
  [
    ('num_classes', 0),
    ('num_classes', -3),
    ('num_classes', 10.0),
    ('width', -1),
    ('num_classes', float('inf')),
    ('dropout', 1),
    ('dtype', 'float16'),
    ('dtype', jnp.int8),
    ('dtype', 'wide'),
  ],
)
def test_impossible_values_are_refused_when_a_network_is_created(name, field, value):
  with pytest.raises(InputError) as told:
    models.create(name, **{field: value})
  assert f'{field}={value!r}: use ' in str(told.value) and '\n' not in str(told.value)


@pytest.mark.parametrize('dtype', [jnp.bfloat16, jnp.dtype('bfloat16'), np.float32])
def test_a_dtype_may_be_an_object(dtype):
  _, outputs = shapes(False, dtype=dtype)
  assert outputs.logits.dtype == jnp.float32


def test_unknown_model_is_named():
  with pytest.raises(InputError, match='no such name; did you mean googlenet'):
    models.create('googlenets')


def test_too_small_an_image_is_refused():
  with pytest.raises(InputError, match='leaves no pixels'):
    shapes(False, size=32, pool_rounding='floor')


def numpy_pool(x, window, stride, pool_rounding):
  """Max pooling, one window at a time."""
  size = x.shape[1]
  if pool_rounding == 'same':
    count = -(-size // stride)
    before = max((count - 1) * stride + window - size, 0) // 2
  elif pool_rounding == 'ceil':
    count, before = int(np.ceil((size - window) / stride)) + 1, 0
  else:
    count, before = (size - window) // stride + 1, 0
  out = np.zeros((x.shape[0], count, count, x.shape[3]), x.dtype)
  for i, j in np.ndindex(count, count):
    top, left = i * stride - before, j * stride - before
    view = x[:, max(top, 0) : top + window, max(left, 0) : left + window]
    out[:, i, j] = view.max((1, 2))
  return out


@pytest.mark.parametrize('pool_rounding', ['same', 'ceil', 'floor'])
@pytest.mark.parametrize('size', [7, 8, 13, 14])
@pytest.mark.parametrize(('window', 'stride'), [(3, 2), (2, 2), (3, 1)])
def test_max_pool_is_the_numpy_definition(pool_rounding, size, window, stride):
  x = np.random.default_rng(0).normal(size=(2, size, size, 3)).astype(np.float32) - 5
  np.testing.assert_array_equal(
    layers.max_pool(x, window, stride, pool_rounding), numpy_pool(x, window, stride, pool_rounding)
  )


@pytest.mark.parametrize(
  ('window', 'stride', 'size', 'padding'),
  [
    (3, 1, 16, ((1, 1), (1, 1))),
    (3, 2, 16, ((0, 1), (0, 1))),
    (3, 2, 7, ((1, 1), (1, 1))),
    (3, 2, 15, ((0, 0), (0, 0))),
    (3, 2, 14, ((0, 1), (0, 2))),
    (2, 2, 9, ((0, 0), (0, 0))),
  ],
)
def test_max_pool_gradient_is_the_stock_one(window, stride, size, padding):
  rng = np.random.default_rng(0)
  x = jnp.asarray(rng.integers(0, 4, (2, size, size, 5)), jnp.float32)  # full of ties
  stock, stock_vjp = jax.vjp(lambda x: nn.max_pool(x, (window,) * 2, (stride,) * 2, padding), x)
  ours, ours_vjp = jax.vjp(lambda x: cpu_forms.max_pool(x, window, stride, padding), x)
  np.testing.assert_array_equal(ours, stock)
  cotangent = rng.normal(size=stock.shape).astype(np.float32)
  np.testing.assert_allclose(ours_vjp(cotangent)[0], stock_vjp(cotangent)[0], atol=2e-6)


def stock_convolution(x, kernel, padding, groups):
  sides = [(pad, pad) for pad in padding]
  layout = {'dimension_numbers': ('NHWC', 'HWIO', 'NHWC')}
  return jax.lax.conv_general_dilated(
    x, kernel, (1, 1), sides, feature_group_count=groups, **layout
  )


CONVOLUTIONS = {  # map, window, padding, and groups of 4 channels where not 1
  '1x1': ((6, 5), (1, 1), (0, 0)),
  '5x5 on 4x4': ((4, 4), (5, 5), (2, 2)),
  '7x7 on 4x7': ((4, 7), (7, 7), (3, 3)),
  '3x3 on 1x1': ((1, 1), (3, 3), (1, 1)),
  '1x7 on 3x3': ((3, 3), (1, 7), (0, 3)),
  '5x5 on 4x4, no more than it needs': ((4, 4), (5, 5), (1, 1)),
  'depthwise 3x3': ((6, 5), (3, 3), (1, 1), 4),
  'depthwise 3x5, unpadded': ((6, 7), (3, 5), (0, 0), 4),
  'depthwise 3x3 on 1x2': ((1, 2), (3, 3), (1, 1), 4),
  'two groups': ((6, 5), (3, 3), (1, 1), 2),
}


@pytest.mark.parametrize('case', CONVOLUTIONS)
@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_convolution_and_its_gradients_are_the_stock_ones(case, dtype):
  size, window, padding, *rest = CONVOLUTIONS[case]
  groups = rest[0] if rest else 1
  rng = np.random.default_rng(0)
  channels = 4 if rest else 3
  x = jnp.asarray(rng.normal(size=(2, *size, channels)), dtype)
  kernel = jnp.asarray(rng.normal(size=(*window, channels // groups, 4)), dtype)
  stock, stock_vjp = jax.vjp(lambda *x: stock_convolution(*x, padding, groups), x, kernel)
  ours, ours_vjp = jax.vjp(lambda *x: cpu_forms.convolution(*x, 1, padding, groups), x, kernel)
  cotangent = jnp.asarray(rng.normal(size=stock.shape), dtype)
  for a, b in zip((ours, *ours_vjp(cotangent)), (stock, *stock_vjp(cotangent)), strict=True):
    assert a.dtype == b.dtype
    tolerance = 1e-5 if dtype == 'float32' else 0.1
    np.testing.assert_allclose(np.float32(a), np.float32(b), atol=tolerance, rtol=tolerance)


def lowered(loss, *arguments):
  """The gradient's program for each platform."""
  gradients = jax.jit(jax.grad(loss, tuple(range(len(arguments))))).trace(*arguments)
  return {
    platform: gradients.lower(lowering_platforms=(platform,)).as_text()
    for platform in ('cpu', 'cuda', 'tpu')
  }


def test_cpu_forms_are_for_cpus_alone():
  x, one, five = (jnp.ones(shape) for shape in ((1, 4, 4, 3), (1, 1, 3, 4), (5, 5, 3, 4)))
  pools = lowered(lambda x: cpu_forms.max_pool(x, 3, 2, ((0, 1), (0, 1))).sum(), x)
  products = lowered(lambda *x: cpu_forms.convolution(*x, 1, (0, 0), 1).sum(), x, one)
  pads = lowered(lambda *x: cpu_forms.convolution(*x, 1, (2, 2), 1).sum(), x, five)
  alone = lowered(
    lambda *x: cpu_forms.convolution(*x, 1, (1, 1), 3).sum(), x, jnp.ones((3, 3, 1, 3))
  )
  for platform in ('cpu', 'cuda', 'tpu'):
    cpu = platform == 'cpu'
    assert ('convolution' in alone[platform]) != cpu
    assert ('select_and_scatter' in pools[platform]) != cpu
    assert ('dot_general' in products[platform]) == cpu
    assert ('optimization_barrier' in pads[platform]) == cpu


@pytest.mark.parametrize('size', [(14, 14), (13, 7), (4, 5), (3, 3)])
def test_adaptive_pool_is_torchs_definition(size):
  x = np.random.default_rng(0).normal(size=(2, *size, 3)).astype(np.float32)
  expected = np.zeros((2, 4, 4, 3), np.float32)
  for i, j in np.ndindex(4, 4):
    rows, columns = (
      slice(k * n // 4, -((k + 1) * n // -4)) for k, n in zip((i, j), size, strict=True)
    )
    expected[:, i, j] = x[:, rows, columns].mean((1, 2))
  np.testing.assert_allclose(layers.adaptive_avg_pool(x, 4), expected, atol=1e-6)


@pytest.mark.parametrize('channels', [3, 4, 5, 8, 11])
def test_local_response_norm_is_the_numpy_definition(channels):
  x = 30 * np.random.default_rng(0).normal(size=(2, 3, 3, channels)).astype(np.float32)
  expected = np.empty_like(x)
  for c in range(channels):
    near = x[..., max(c - 2, 0) : c + 3]
    expected[..., c] = x[..., c] / (1 + 1e-4 / 5 * (near**2).sum(-1)) ** 0.75
  np.testing.assert_allclose(layers.local_response_norm(x), expected, rtol=1e-5)


@pytest.mark.parametrize(('size', 'strides'), [(1, 1), (1, 2), (3, 1), (5, 1), (7, 2)])
def test_conv_block_is_the_numpy_definition(size, strides):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(2, 8, 8, 3)).astype(np.float32)
  block = layers.ConvBlock(4, size, strides, bias_init=nn.initializers.constant(0.2))
  variables = block.init(jax.random.key(0), x, train=False)
  kernel = np.asarray(variables['params']['kernel'])
  pad = size // 2
  padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
  count = (8 + 2 * pad - size) // strides + 1
  expected = np.zeros((2, count, count, 4))
  for i, j in np.ndindex(count, count):
    view = padded[:, i * strides : i * strides + size, j * strides : j * strides + size]
    expected[:, i, j] = np.einsum('bhwc,hwco->bo', view, kernel) + 0.2
  np.testing.assert_allclose(
    block.apply(variables, x, train=False), np.maximum(expected, 0), atol=1e-5
  )
