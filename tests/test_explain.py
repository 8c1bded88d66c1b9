"""Pictures of what a network sees, against the network taken apart by hand."""

from functools import cache, partial

import cv2
import flax.linen as nn
import jax
import numpy as np
import pytest
from etils import epath
from PIL import Image

from googlenet_jax import models, plots, weights
from googlenet_jax.errors import InputError
from googlenet_jax.models import feedforward, googlenet, inception_v3
from googlenet_jax.models.layers import ConvBlock
from googlenet_jax.tools import attribution, explain
from googlenet_jax.train_state import abstract_variables

NAMES = ('ant, emmet', 'bee', 'cat', 'dog', 'a$_$')  # the last is no mathematics
CONV = partial(ConvBlock, batch_norm=True)
PICTURES = ('overlays', 'channels', 'tiles')


def test_photos_of_one_name_have_folders_of_their_own():
  stems = ['cat', 'cat', 'cat_1', 'dog']
  assert explain.names_of(stems) == ['cat_2', 'cat_3', 'cat_1', 'dog']


@pytest.fixture(autouse=True)
def few_modules(monkeypatch):
  few = {name: googlenet.MODULES[name] for name in ('3a', '3b', '4a', '5a')}
  monkeypatch.setattr(googlenet, 'MODULES', few)


@pytest.fixture
def drawn(monkeypatch):
  """What the functions that draw were given."""
  given = {}
  for name in PICTURES:
    draw = partial(lambda name, *args: given.setdefault(name, args) and b'', name)
    monkeypatch.setattr(plots, name, draw)
  return given


def network(seed=0, channels=3, **fields):
  """A narrow network of random weights and running statistics."""
  fields = {'width': 0.1, 'norm': 'batch', 'stem': 'cifar', 'aux_heads': ()} | fields
  return with_weights('googlenet', created('googlenet', **fields), seed, channels)


@cache  # what is compiled for a network is kept with it
def created(name, **fields):
  return models.create(name, num_classes=len(NAMES), **fields)


def with_weights(name, model, seed=0, channels=3):
  preprocessing = weights.Preprocessing(32, 32, (127.5,), (63.75,), channels)
  description = weights.Description(name, {}, preprocessing, NAMES)
  rng = np.random.default_rng(seed)

  def drawn_from(x):  # He's for kernels; the others, variances among them, are above zero
    std = np.sqrt(2 / np.prod(x.shape[:-1]))
    values = rng.normal(0, std, x.shape) if len(x.shape) > 1 else rng.uniform(0.2, 1, x.shape)
    return values.astype(np.float32)

  variables = jax.tree.map(drawn_from, abstract_variables(model, description.image_shape))
  return weights.Network(description, model, variables, 'made here')


def picture(channels=3, seed=0):
  coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, channels), np.uint8)
  return cv2.resize(coarse, (32, 32)).reshape(32, 32, channels)


def part(module, made, name, x):
  variables = {kind: made.variables[kind][name] for kind in ('params', 'batch_stats')}
  return module.apply(variables, x, train=False)


def inception(made, name, x):
  widths = googlenet.Widths(*(max(8, 8 * round(w / 80)) for w in googlenet.MODULES[name]))
  return part(googlenet.InceptionModule(widths, True, 5, CONV), made, f'inception_{name}', x)


def rest(made, name, x):
  """From the output of a module to the logits."""
  modules = list(googlenet.MODULES)
  for before, after in zip(
    modules[modules.index(name) :], modules[modules.index(name) + 1 :], strict=False
  ):
    if before[0] != after[0]:
      x = nn.max_pool(x, (3, 3), (2, 2), 'SAME')
    x = inception(made, after, x)
  linear = made.variables['params']['linear']
  return x.mean((1, 2)) @ linear['kernel'] + linear['bias']


def outputs(made, image):
  """`[1, H, W, C]` of each module."""
  return jax.jit(partial(_outputs, made))(image)


def _outputs(made, image):
  x = (image[None] / 255 - 0.5) * 4
  for name, size in (('conv1', 3), ('conv2_reduce', 1), ('conv2', 3)):
    features = made.variables['params'][name]['kernel'].shape[-1]
    x = part(CONV(features, size), made, name, x)
  found = {}
  for name in googlenet.MODULES:
    if found and list(found)[-1][0] != name[0]:
      x = nn.max_pool(x, (3, 3), (2, 2), 'SAME')
    found[name] = x = inception(made, name, x)
  return found


def scaled_up(heat):
  heat = cv2.resize(np.maximum(np.asarray(heat), 0), (32, 32), interpolation=cv2.INTER_LINEAR)
  return heat / heat.max()


@pytest.mark.parametrize('label', [0, 3])
def test_grad_cam_is_the_gradient_of_the_rest_of_the_network(tmp_path, drawn, label):
  made, image = network(), picture()
  explain.explain(made, image, epath.Path(tmp_path), label=label)
  maps = drawn['overlays'][1]
  assert list(maps) == ['inception_3b', 'inception_4a', 'inception_5a']
  for name, x in outputs(made, image).items():
    if name == '3a':
      continue
    gradient = jax.jit(jax.grad(lambda x, name=name: rest(made, name, x)[0, label]))(x)
    heat = (x[0] * gradient[0].mean((0, 1))).sum(-1)
    assert heat.min() < 0 < heat.max()
    np.testing.assert_allclose(maps[f'inception_{name}'], scaled_up(heat), atol=1e-3)


def test_after_the_last_module_grad_cam_is_the_class_activation_map(tmp_path, drawn):
  """Selvaraju et al., section 3.1: before a global average, the classifier's own weights."""
  made, image = network(seed=1), picture(seed=1)
  explain.explain(made, image, epath.Path(tmp_path), label=2)
  last = np.asarray(outputs(made, image)['5a'][0])
  heat = last @ np.asarray(made.variables['params']['linear']['kernel'])[:, 2]
  np.testing.assert_allclose(drawn['overlays'][1]['inception_5a'], scaled_up(heat), atol=1e-3)


def test_gradients_are_differences_of_the_logit():
  """A channel raised everywhere by a little raises the logit by the sum of its gradients."""
  made, image = network(), picture()
  layers = tuple(f'inception_4a/{branch}' for branch in explain.BRANCHES)
  seen = attribution.observe(made, image, 1, layers)
  x = outputs(made, image)['4a']
  step = 1e-3 * np.eye(x.shape[-1], dtype=np.float32)
  logits = jax.jit(jax.vmap(lambda d: rest(made, '4a', x + d)[0, 1]))
  slopes = np.asarray(logits(step) - logits(-step)) / 2e-3
  found = seen.gradients['inception_4a'].sum((0, 1))
  np.testing.assert_allclose(found, slopes, atol=0.01 * np.abs(slopes).max())


def test_the_predicted_class_is_explained_unless_another_is_asked_for(tmp_path, drawn):
  made, image = network(), picture()
  run = jax.jit(partial(made.model.apply, train=False))
  logits = run(made.variables, (image[None] - 127.5) / 63.75).logits[0]
  shares = np.exp(logits) / np.exp(logits).sum()
  first, other = np.argsort(-shares)[:2]
  says = [
    f'{name} ({100 * share:.1f}%)' for name, share in zip(('ant', *NAMES[1:]), shares, strict=True)
  ]
  seen = []
  for label in (None, int(first), int(other)):
    drawn.clear()
    explain.explain(made, image, epath.Path(tmp_path), label=label)
    seen.append(drawn['overlays'])
  assert [title for _, _, title, _ in seen[:2]] == [f'predicted: {says[first]}'] * 2
  assert seen[2][2] == f'predicted: {says[first]}; explained: {says[other]}'
  for name, heat in seen[0][1].items():
    np.testing.assert_array_equal(heat, seen[1][1][name])
    assert np.abs(heat - seen[2][1][name]).max() > 0.1


def test_branches_are_the_parts_of_the_modules_output(tmp_path, drawn):
  made, image = network(), picture()
  explain.explain(made, image, epath.Path(tmp_path), module='4a')
  whole = np.asarray(outputs(made, image)['4a'][0])
  start = 0
  rows = drawn['channels'][0]
  for branch, width in (('conv_1x1', 16), ('conv_3x3', 24), ('conv_5x5', 8), ('pool_proj', 8)):
    own = whole[..., start : start + width]
    means = own.mean((0, 1))
    chosen = list(rows[branch])
    assert len(chosen) == 8
    np.testing.assert_allclose(means[chosen], np.sort(means)[::-1][:8], rtol=1e-4)
    np.testing.assert_allclose(
      np.stack(list(rows[branch].values()), -1), own[..., chosen], atol=1e-4
    )
    start += width
  assert start == whole.shape[-1] and len(rows) == 4


def test_where_nothing_speaks_for_a_class_the_map_is_zero():
  activation = np.ones((4, 4, 3), np.float32)
  assert not attribution.grad_cam(activation, -activation, (8, 8)).any()


def test_filters_are_gray_at_zero_and_each_in_its_own_range():
  kernel = np.zeros((1, 1, 3, 3))
  kernel[0, 0, :, 0] = 2, 0, -2
  kernel[0, 0, :, 1] = 0.01, 0, -0.005
  found = explain.about_zero(kernel)[:, 0, 0]
  assert found.tolist() == [[255, 128, 0], [255, 128, 64], [128, 128, 128]]


def test_tiles_are_in_order_of_rows(tmp_path):
  colors = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255)], np.uint8)
  path = tmp_path / 'tiles.png'
  path.write_bytes(plots.tiles(np.tile(colors[:, None, None], (1, 3, 3, 1)), 'three'))
  pixels = np.asarray(Image.open(path).convert('RGB'))
  red, green, blue = (np.argwhere((pixels == color).all(-1)).mean(0) for color in colors)
  assert red[0] == green[0] < blue[0] and red[1] == blue[1] < green[1]


@pytest.mark.parametrize(
  ('channels', 'fields', 'rows'),
  [
    (3, {}, 4),
    (1, {'module': 'naive', 'classifier': 'fc'}, 3),  # its pool has no convolution
    (1, {'norm': 'lrn', 'dtype': 'bfloat16', 'stem': 'compact'}, 4),
  ],
)
def test_what_is_written(tmp_path, channels, fields, rows):
  made, folder = network(channels=channels, **fields), epath.Path(tmp_path)
  written = explain.explain(made, picture(channels), folder, label=4, path_points=channels - 1)
  written |= explain.draw_filters(made, folder)
  maps = written.pop('maps')
  assert written == {
    name: folder / f'{name}.png' for name in ('gradcam', 'branches_4a', 'filters_conv1')
  }
  assert sorted(tmp_path.iterdir()) == sorted([*written.values(), maps])
  with np.load(maps) as arrays:
    np.testing.assert_array_equal(arrays['image'], picture(channels))
    assert arrays['label'] == 4 and arrays['inception_5a'].shape == (32, 32)
    assert channels == 1 or arrays['integrated_gradients'].shape == (32, 32, 3)
  for path in written.values():
    pixels = np.asarray(Image.open(path).convert('RGB'), float)
    assert pixels.std() > 20 and min(pixels.shape[:2]) > 300
  height = Image.open(written['branches_4a']).height
  assert height == pytest.approx(110 * (1.85 * rows + 0.6), abs=2)


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    ({'module': '9z'}, "no inception module '9z': use one of 3a, 3b, 4a, 5a"),
    ({'module': '4b'}, "no inception module '4b': use one of 3a, 3b, 4a, 5a"),
    ({'label': 5}, 'no class 5: use a label from 0 to 4'),
    ({'label': -1}, 'no class -1: use a label from 0 to 4'),
  ],
)
def test_bad_choices(tmp_path, arguments, message):
  with pytest.raises(InputError) as error:
    explain.explain(network(), picture(), epath.Path(tmp_path), **arguments)
  assert str(error.value) == message
  assert not list(tmp_path.iterdir())


def test_modules_that_only_the_table_has(tmp_path, monkeypatch):
  made = network()
  monkeypatch.setitem(googlenet.MODULES, '5b', googlenet.MODULES['5a'])
  with pytest.raises(InputError, match="module '5b': use one of 3a, 3b, 4a, 5a"):
    explain.explain(made, picture(), epath.Path(tmp_path), module='5b')


def test_network_without_inception_modules(tmp_path):
  made = network()
  plain = {name: x for name, x in made.variables['params'].items() if 'inception' not in name}
  made = made._replace(variables={'params': plain, 'batch_stats': {}})
  with pytest.raises(InputError, match='googlenet has no inception modules'):
    explain.explain(made, picture(), epath.Path(tmp_path), module='4a')


def test_a_second_image_compiles_nothing(tmp_path, drawn):
  made, calls = network(), []

  def count(method, args, kwargs, context):
    calls.append(context.module)
    return method(*args, **kwargs)

  how = {'module': '4a', 'path_points': 1}
  explain.explain(made, picture(), epath.Path(tmp_path), **how)
  with nn.intercept_methods(count):
    explain.explain(made, picture(seed=1), epath.Path(tmp_path), label=1, **how)
  assert not calls


@pytest.mark.parametrize(
  ('name', 'stages'),
  [
    ('alexnet', ['conv1', 'conv2', 'conv5']),
    ('vgg11', ['conv3_2', 'conv4_2', 'conv5_2']),
    ('resnet50', ['conv3_1', 'conv4_1', 'conv5_1']),  # not conv3_1/conv1, of the maps of conv2_1
    ('inception_v3', ['Mixed_5d', 'Mixed_6e', 'Mixed_7c']),
    ('nin', ['cccp2', 'cccp4', 'cccp6']),  # the last is a map of each class
  ],
)
def test_stages_of_other_families(monkeypatch, name, stages):
  few = {'blocks': (1, 1, 1, 1)} if name == 'resnet50' else {'aux_heads': ()}
  some = ('Mixed_5d', 'Mixed_6a', 'Mixed_6e', 'Mixed_7a', 'Mixed_7c')
  table = inception_v3.InceptionV3.design
  few_modules = {name: table.modules[name] for name in some}
  monkeypatch.setattr(inception_v3.InceptionV3, 'design', table._replace(modules=few_modules))
  model, shape = models.create(name, few), models.MODELS[name].image_shape
  variables = abstract_variables(model, shape)
  maps = attribution._maps(model.apply, variables, np.zeros((1, *shape), np.float32))
  assert list(attribution._stages(maps, variables['params'])) == stages


def test_a_resnets_grad_cam_is_its_class_activation_map(tmp_path, drawn):
  fields = {'features': 8, 'blocks': (1, 1), 'stem': 'cifar'}
  made = with_weights('resnet20', created('resnet20', **fields))
  explain.explain(made, picture(), epath.Path(tmp_path), label=2)
  seen = attribution.observe(made, picture(), 2)
  assert seen.stages == ['conv2_1', 'conv3_1']
  heat = (
    seen.activations['conv3_1'] @ np.asarray(made.variables['params']['linear']['kernel'])[:, 2]
  )
  np.testing.assert_allclose(drawn['overlays'][1]['conv3_1'], scaled_up(heat), atol=1e-3)
  assert 'channels' not in drawn


def test_grad_cam_of_a_chain_by_its_definition():
  """Section 3, equations 1 and 2: weights are means of the logit's slopes at each pixel."""
  table = (
    feedforward.Conv('conv1', 4, 3),
    feedforward.Pool('pool1', 2),
    feedforward.Conv('conv2', 3, 3),
    feedforward.Linear('fc8', feedforward.CLASSES),
  )
  made = with_weights('mine', feedforward.Chain(table, num_classes=len(NAMES)))
  seen = attribution.observe(made, picture(), 1)
  assert seen.stages == ['conv1', 'conv2']
  activation = seen.activations['conv2']
  slopes = np.asarray(made.variables['params']['fc8']['kernel'])[:, 1].reshape(activation.shape)
  heat = np.zeros(activation.shape[:2])
  for k in range(3):
    heat += slopes[..., k].sum() / slopes[..., k].size * activation[..., k]
  found = attribution.grad_cam(activation, seen.gradients['conv2'], (32, 32))
  np.testing.assert_allclose(found, scaled_up(heat), atol=1e-3)


def test_integrated_gradients_sum_to_the_difference_of_logits():
  """Completeness, Sundararajan et al. (2017), proposition 1."""
  made, image = network(), picture()
  run = jax.jit(partial(made.model.apply, train=False))
  both = (np.stack([np.zeros_like(image), image]) - 127.5) / 63.75
  black, whole = np.asarray(run(made.variables, both).logits[:, 1])
  errors = []
  for points in (3, 300):
    found = attribution.integrated_gradients(made, image, 1, points)
    assert found.difference == pytest.approx(whole - black, rel=1e-3)
    errors.append(abs(found.attributions.sum() - found.difference))
  assert errors[1] < 0.01 * abs(whole - black) < errors[0]


def test_integrated_gradients_of_a_linear_network_are_its_products():
  made = with_weights('mine', feedforward.Chain((feedforward.Linear('fc8', 0),), len(NAMES)))
  kernel = np.asarray(made.variables['params']['fc8']['kernel'])[:, 3].reshape(32, 32, 3)
  found = attribution.integrated_gradients(made, picture(), 3, 2)
  np.testing.assert_allclose(found.attributions, kernel * picture() / 63.75, atol=1e-4)


@pytest.mark.parametrize(('given', 'label'), [('', None), ('cat', 2), ('Emmet', 0), ('4', 4)])
def test_classes_by_name_and_by_number(given, label):
  assert explain.find_class(NAMES, given) == label


@pytest.mark.parametrize(
  ('given', 'says'),
  [
    ('emmit', '--label=emmit: no such class; did you mean emmet?'),
    ('5', '--label=5: no such class: use a name, or a label from 0 to 4'),
    ('crane', 'several classes are called that, give a number: 0 (crane, bird), 1 (crane)'),
  ],
)
def test_classes_that_are_not_there(given, says):
  names = ('crane, bird', 'crane') if given == 'crane' else NAMES
  with pytest.raises(InputError) as error:
    explain.find_class(names, given)
  assert says in str(error.value)
