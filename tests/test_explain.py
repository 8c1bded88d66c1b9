"""Pictures of what a network sees, against the network taken apart by hand."""

from functools import partial

import cv2
import flax.linen as nn
import jax
import numpy as np
import pytest
from etils import epath
from PIL import Image

from googlenet_jax import plots, weights
from googlenet_jax.errors import InputError
from googlenet_jax.models import googlenet
from googlenet_jax.models.layers import ConvBlock
from googlenet_jax.tools import explain
from googlenet_jax.train_state import abstract_variables

NAMES = ('ant, emmet', 'bee', 'cat', 'dog', 'a$_$')  # the last is no mathematics
CONV = partial(ConvBlock, batch_norm=True)
PICTURES = ('overlays', 'channels', 'tiles')


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
  preprocessing = weights.Preprocessing(32, 32, (127.5,), (63.75,), channels)
  description = weights.Description('googlenet', fields, preprocessing, NAMES)
  model = description.create()
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
  seen = explain.observe(made, image, 1)
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
  assert [title for *_, title in seen[:2]] == [f'predicted: {says[first]}'] * 2
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
  assert not explain.grad_cam(activation, -activation, (8, 8)).any()


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
    (3, {'norm': 'lrn', 'dtype': 'bfloat16', 'stem': 'compact'}, 4),
  ],
)
def test_three_pictures(tmp_path, channels, fields, rows):
  made = network(channels=channels, **fields)
  names = ['gradcam', 'branches_3b', 'filters_conv1']
  written = explain.explain(made, picture(channels), epath.Path(tmp_path), module='3b', label=4)
  assert written == {name: tmp_path / f'{name}.png' for name in names}
  assert sorted(tmp_path.iterdir()) == sorted(written.values())
  for path in written.values():
    pixels = np.asarray(Image.open(path).convert('RGB'), float)
    assert pixels.std() > 20 and min(pixels.shape[:2]) > 300
  height = Image.open(written['branches_3b']).height
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
  with pytest.raises(InputError, match='has none of GoogLeNet'):
    explain.explain(made, picture(), epath.Path(tmp_path))
