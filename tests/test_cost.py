"""What layers cost, against arithmetic done by hand and published totals."""

import csv
import functools
import json
import pathlib
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from configs import default
from googlenet_jax import models
from googlenet_jax.errors import InputError
from googlenet_jax.models import bricks
from googlenet_jax.models.bricks import Conv, Pool, Separable
from googlenet_jax.models.layers import ConvBlock, Outputs
from googlenet_jax.tools import cost, summarize


@functools.cache
def costs(name, shape=None, **fields):
  return cost.cost(models.create(name, **fields), shape or models.MODELS[name].image_shape)


def rows(name, **fields):
  return {row.name: row for row in costs(name, **fields).rows}


class Layers(nn.Module):
  """A function of the images, as a user's network."""

  function: object

  @nn.compact
  def __call__(self, images, *, train):
    return Outputs(self.function(images, train))


def of(function, shape):
  return cost.cost(Layers(function), shape).rows


def test_alexnets_first_layers():
  found = rows('alexnet', shape=(227, 227, 3))
  conv1, pool1 = found['conv1'], found['pool1']
  assert (conv1.shape, conv1.output_bytes / 1024) == ((56, 56, 64), 784)
  assert (conv1.parameters, conv1.macs) == (23_296, 72_855_552)
  assert (pool1.shape, pool1.parameters, pool1.pool_ops) == ((27, 27, 64), 0, 419_904)
  assert found['pool5'].shape == (6, 6, 256)


def test_ten_filters_of_5x5():
  (row,) = of(lambda x, train: nn.Conv(10, (5, 5), padding=2, name='conv')(x), (32, 32, 3))
  assert (row.name, row.shape, row.parameters) == ('conv', (32, 32, 10), 760)


def test_a_5x5_convolution_through_a_reduction():
  shape = (14, 14, 480)
  (direct,) = of(lambda x, train: nn.Conv(48, (5, 5))(x), shape)
  through = of(lambda x, train: nn.Conv(48, (5, 5))(nn.Conv(16, (1, 1))(x)), shape)
  assert direct.macs == 112_896_000
  assert [row.macs for row in through] == [1_505_280, 3_763_200]


def branch(*layers):
  return (layers,)


FIVE, THREE, SEVEN = (Conv('conv', 64, n) for n in (5, 3, 7))
TWO_THREES = Conv('conv1', 64, 3), Conv('conv2', 64, 3)
POOL = Pool('max', 3, 2)
# In place of what, what, over which map, and the share of the multiply-adds that is saved, which
# docs/costs.md tells too.
IDEAS = {
  'a 1x1 to 16 before': (
    branch(Conv('conv', 48, 5)),
    branch(Conv('reduce', 16), Conv('conv', 48, 5)),
    (14, 14, 480),
    1 - 5_268_480 / 112_896_000,  # the numbers of the walk-throughs
  ),
  'two 3x3': (branch(FIVE), branch(*TWO_THREES), (35, 35, 64), 0.28),  # 1512.00567, section 3.1
  '1x3 and 3x1': (
    branch(THREE),
    branch(Conv('conv1', 64, (1, 3)), Conv('conv2', 64, (3, 1))),
    (35, 35, 64),
    1 / 3,  # section 3.2: 33%
  ),
  '1x7 and 7x1': (
    branch(SEVEN),
    branch(Conv('conv1', 64, (1, 7)), Conv('conv2', 64, (7, 1))),
    (17, 17, 64),
    5 / 7,
  ),
  'a pool first': (  # section 5: to a quarter, and a bottleneck
    branch(Conv('conv', 640, 3), POOL),
    branch(POOL, Conv('conv', 640, 3)),
    (34, 34, 320),
    0.75,
  ),
  'a convolution of stride 2 beside a pool': (
    branch(Conv('conv', 640, 3), POOL),
    ((Conv('conv', 320, 3, 2),), (POOL,)),
    (34, 34, 320),
    7 / 8,
  ),
  'a separable 3x3': (  # 1610.02357
    branch(Conv('conv', 728, 3)),
    branch(Separable('conv', 728)),
    (19, 19, 728),
    1 - 1 / 728 - 1 / 9,
  ),
}


@pytest.mark.parametrize('name', IDEAS)
def test_what_an_idea_saves(name):
  before, after, shape, share = IDEAS[name]
  build = bricks.Builder(functools.partial(ConvBlock, batch_norm=True), 1.0)

  def multiply_adds(module):
    found = of(lambda x, train: bricks.Brick(module, build)(x, train=train), shape)
    return sum(row.macs for row in found)

  assert 1 - multiply_adds(after) / multiply_adds(before) == pytest.approx(share)
  page = pathlib.Path(__file__).parents[1] / 'docs/costs.md'
  assert re.search(rf'\| {name} \|.*\| {100 * share:.1f} \|', page.read_text())


def test_fully_connected_against_global_average_pooling():
  shape = (7, 7, 1024)
  whole = of(lambda x, train: nn.Dense(1024)(x.reshape(len(x), -1)), shape)
  pooled = of(lambda x, train: nn.Dense(1)(x.mean((1, 2))), shape)[:1]
  assert sum(row.parameters for row in whole) == 7 * 7 * 1024 * 1024 + 1024
  assert [(row.kind, row.parameters) for row in pooled] == [('avg pool 7x7', 0)]


@pytest.mark.parametrize(('count', 'field', 'weights'), [(1, 3, 9), (2, 5, 18), (3, 7, 27)])
def test_stacked_3x3_convolutions(count, field, weights):
  def stack(x, train):
    for _ in range(count):
      x = nn.Conv(1, (3, 3), use_bias=False)(x)
    return x

  found = of(stack, (16, 16, 1))
  assert found[-1].receptive_field == (field, field)
  assert sum(row.parameters for row in found) == weights


@pytest.mark.parametrize(
  ('name', 'fields', 'parameters', 'millions'),
  [
    ('googlenet', {}, 6_998_552, 1_582.7),
    ('googlenet_bn', {}, 7_005_832, 1_582.7),
    ('googlenet_naive', {}, 97_526_008, 12_568.1),
    ('alexnet', {}, 61_100_840, 714.2),  # MACs of the rest: torchvision's own figures
    ('vgg11', {}, 132_863_336, 7_609.1),
    ('vgg16', {}, 138_357_544, 15_470.3),
    ('resnet18', {}, 11_689_512, 1_814.1),
    ('resnet50', {}, 25_557_032, 4_089.2),
    ('resnet152', {}, 60_192_808, 11_513.6),
    ('inception_v3', {}, 23_834_568, 5_713.2),
    ('resnet20', {}, 269_722, 40.6),
    ('nin', {}, 966_986, 222.5),
  ],
)
def test_totals(name, fields, parameters, millions):
  found = costs(name, **fields)
  assert found.total('parameters') == parameters
  assert found.total('macs') / 1e6 == pytest.approx(millions, abs=0.06)


def test_auxiliary_heads_are_rows_of_training():
  found = costs('googlenet')
  assert sum(row.parameters for row in found.training_rows) == 3_188_840 + 3_190_888
  assert {row.name.split('/')[0] for row in found.training_rows} == {'aux1', 'aux2'}


def test_layers_that_run_as_one_have_a_row_each():
  found = rows('googlenet')
  assert [found[f'inception_3a/{x}'].macs for x in ('conv_1x1', 'reduce_3x3', 'reduce_5x5')] == [
    28 * 28 * 192 * width for width in (64, 96, 16)
  ]
  assert [row for row in found if row.startswith('inception_3a/')] == [
    f'inception_3a/{x}'
    for x in ('pool', 'conv_1x1', 'reduce_3x3', 'reduce_5x5', 'conv_3x3', 'conv_5x5', 'pool_proj')
  ]


def test_receptive_fields():
  found = rows('googlenet')  # Caffe's network: 3a sees 11 + 2 x 8 more than pool2's 27
  fields = [found[x].receptive_field[0] for x in ('conv1', 'pool1', 'conv2', 'pool2')]
  assert fields == [7, 11, 19, 27]
  assert found['inception_3a/conv_5x5'].receptive_field == (59, 59)
  assert rows('vgg16')['conv5_3'].receptive_field == (196, 196)
  assert rows('resnet50')['conv5_3/conv3'].stride == (32, 32)
  assert rows('inception_v3')['Mixed_6b/branch7x7_2'].kind == 'conv 1x7'


def test_memory_of_a_chain():
  found = costs('lenet5')
  outputs = [4 * n for n in (32 * 32, 28 * 28 * 6, 14 * 14 * 6, 10 * 10 * 16, 400, 120, 84, 10)]
  assert found.kept_bytes == sum(outputs)
  assert found.peak_bytes == outputs[1] + outputs[2]  # a layer's input and output


def test_memory_of_branches():
  def branches(x, train):
    y = [nn.Conv(n, (1, 1), use_bias=False)(x) for n in (3, 5)]
    return nn.Conv(1, (1, 1), use_bias=False)(jnp.concatenate(y, -1))

  found = cost.cost(Layers(branches), (4, 4, 2))
  assert found.peak_bytes == 4 * 16 * (2 + 3 + 5)  # a concatenation is its parts

  def residual(x, train):
    y = nn.Conv(2, (1, 1), use_bias=False)(x)
    return nn.Conv(1, (1, 1), use_bias=False)(x + y)

  found = cost.cost(Layers(residual), (4, 4, 2))
  assert found.peak_bytes == 4 * 16 * (2 + 2)  # an addition is in place


def test_parameters_apart_from_any_layer():
  found = of(lambda x, train: nn.LayerNorm()(nn.Conv(4, (1, 1))(x)), (4, 4, 2))
  assert [(row.name, row.parameters) for row in found] == [('Conv_0', 12), ('LayerNorm_0', 8)]


class Encoder(nn.Module):
  """Called by a method of its own."""

  @nn.compact
  def encode(self, x):
    return nn.relu(nn.Conv(4, (3, 3), name='conv')(x))


class Twice(nn.Module):
  """A step of a scan."""

  @nn.compact
  def __call__(self, x, _):
    return nn.Dense(2, use_bias=False)(x), None


def test_modules_of_any_kind_have_their_parameters():
  shape = (6, 6, 2)

  def scoped(x, train):
    with jax.named_scope('stage'):
      return nn.Conv(4, (3, 3))(x)

  scan = nn.scan(Twice, variable_axes={'params': 0}, split_rngs={'params': True}, length=3)
  for function, name, parameters, macs in (
    (lambda x, train: nn.Sequential([nn.Conv(4, (3, 3))])(x), 'Conv_0', 76, 36 * 72),
    (scoped, 'Conv_0', 76, 36 * 72),
    (lambda x, train: Encoder().encode(x), 'Encoder_0/conv', 76, 36 * 72),
    (lambda x, train: nn.remat(nn.Conv)(4, (3, 3))(x), 'CheckpointConv_0', 76, 36 * 72),
    (lambda x, train: nn.Conv(4, (3,))(x[:, 0]), 'Conv_0', 28, 6 * 24),
    (lambda x, train: scan()(x.mean((1, 2)), None)[0], 'ScanTwice_0/Dense_0', 12, 12),
  ):
    found = of(function, shape)
    assert sum(row.parameters for row in found) == parameters, name
    assert sum(row.macs for row in found) == macs, name
    assert name in [row.name for row in found], [row.name for row in found]


def test_a_transposed_convolution_multiplies_no_zeros():
  """Every pixel of the input, times the window: what torch's counters give for it too."""

  def function(x, train):
    x = nn.Conv(16, (3, 3), (2, 2))(x)  # 16x16, sees 3
    x = nn.ConvTranspose(32, (2, 2), (2, 2), name='up')(x)
    return nn.Conv(1, (3, 3))(x)

  _, up, after = of(function, (32, 32, 1))
  assert (up.kind, up.shape) == ('transposed conv 2x2/2', (32, 32, 32))
  assert (up.macs, up.parameters) == (16 * 16 * 16 * 32 * 4, 16 * 32 * 4 + 32)
  # Each of its pixels sees one of the convolution's; three of them in a row see two.
  assert [(row.receptive_field[0], row.stride[0]) for row in (up, after)] == [(3, 1), (5, 1)]


@pytest.mark.parametrize(('layers', 'window', 'field'), [(1, 3, 2), (1, 4, 2), (2, 2, 1)])
def test_what_pixels_between_those_of_the_image_see(layers, window, field):
  def function(x, train):
    for _ in range(layers):
      x = nn.ConvTranspose(1, (window, window), (2, 2))(x)
    return x

  row = of(function, (8, 8, 1))[-1]
  assert (row.receptive_field, row.stride) == ((field, field), (0.5**layers,) * 2)


def test_norms_are_in_the_order_that_they_run_in():
  found = of(lambda x, train: nn.LayerNorm(name='a')(nn.GroupNorm(2, name='b')(x)), (4, 4, 2))
  assert [row.name for row in found] == ['b', 'a']


class Pooled(nn.Module):
  """A pool without a name in a module."""

  @nn.compact
  def __call__(self, x):
    return nn.max_pool(x, (2, 2), (2, 2))


def test_pools_without_a_name():
  def function(x, train):
    return nn.avg_pool(nn.max_pool(Pooled(name='stage')(x), (2, 2)), (2, 2)).mean((1, 2))

  names = ['stage/max_pool', 'max_pool', 'avg_pool', 'avg_pool_2']
  assert [row.name for row in of(function, (9, 9, 2))] == names


class Plain(nn.Module):
  """A module that knows nothing of training, of classes or of `Outputs`."""

  @nn.compact
  def __call__(self, x):
    return x.mean((1, 2)) @ self.param('weights', nn.initializers.normal(), (x.shape[-1], 5))


def test_any_module_has_costs():
  found = cost.cost(Plain(), (4, 4, 3))
  assert [(row.name, row.parameters, row.macs) for row in found.rows] == [
    ('avg_pool', 0, 0),
    ('linear', 15, 15),
  ]
  table = summarize.layers('plain', summarize.Shown(Plain(), (4, 4, 3), found))
  assert 'classes' not in table.notes[0]


def test_batch_norm_keeps_what_it_normalises():
  def apart(x, train):
    return nn.BatchNorm(use_running_average=not train)(nn.Conv(4, (1, 1), use_bias=False)(x))

  assert sum(row.kept_bytes for row in of(apart, (4, 4, 2))) == 2 * 4 * 4 * 16
  found = rows('googlenet_bn')['conv2']
  assert found.kept_bytes == 2 * found.output_bytes


def test_xlas_count_is_near():
  model = models.create('vgg16')
  ours = 2 * costs('vgg16').total('macs')
  assert 0.95 < cost.flops(model, (224, 224, 3)) / ours < 1.05


def of_model(name):
  c = default.get_config()
  c.model.name = name
  return c


@pytest.mark.parametrize('suffix', ['.json', '.csv', '.md'])
def test_tables_are_written(suffix, tmp_path):
  path = tmp_path / f'table{suffix}'
  shown = summarize.summarize(of_model('lenet5'), output=str(path))
  assert '61,706' in shown
  written = path.read_text()
  if suffix == '.json':
    total = json.loads(written)['rows'][-1]
    assert (total['parameters'], total['MACs']) == (61_706, 416_520)
  elif suffix == '.csv':
    assert next(csv.DictReader(written.splitlines()))['MACs'] == '117600'
  else:
    assert '| conv1 | conv 5x5 |' in written


def test_googlenet_beside_table_1():
  shown = summarize.summarize(default.get_config())
  conv1 = next(x for x in shown.split('Table 1')[1].splitlines() if x.startswith('conv1'))
  lines = shown.split('Table 1')[1].splitlines()[2:]
  differ = [line.split()[0] for line in lines if 'differs' in line.split()[1:]]
  assert differ == [
    'conv1',
    *(f'inception_{x}' for x in ('4a', '4b', '4c', '4d', '4e', '5a', '5b')),
  ]
  assert conv1.split() == ['conv1', '9,472', '2.7', 'differs', '118,013,952', '34', 'differs']


def test_the_network_of_a_config():
  c = of_model('googlenet')
  c.model.update(width=0.25, norm='batch', stem='compact', aux_heads=())
  shown = summarize.summarize(c, num_classes=10)
  assert '400,386' in shown and '32x32x3, 10 classes' in shown
  assert 'Table 1' not in shown


def test_networks_side_by_side(tmp_path):
  names = ['alexnet_grouped', 'googlenet']
  plot = tmp_path / 'costs.png'
  shown = summarize.summarize(default.get_config(), names, plot=str(plot))
  assert '60,965,224' in shown and '6,998,552' in shown
  assert ' 715 ' in shown  # 5b sees 587 + 2 x 64 of its 5x5's
  assert plot.read_bytes()[1:4] == b'PNG'


@pytest.mark.parametrize(
  ('given', 'says'),
  [
    ({'names': ['vgg17', 'vgg16']}, 'no such name'),
    ({'image_shape': ['224']}, 'H,W,C'),
    ({'output': 'table.txt'}, '.json'),
    ({'plot': 'plot.jpg'}, '.png'),
    ({'names': ['lenet5'], 'image_shape': ['8', '8', '1']}, 'larger images'),
  ],
)
def test_what_cannot_be_summarized(given, says):
  with pytest.raises(InputError, match=says):
    summarize.summarize(default.get_config(), **given)
