"""The other networks: published counts, other implementations' logits, a falling loss."""

import importlib.resources
import json
import math

import jax
import numpy as np
import onnx
import pytest
from etils import epath
from flax.traverse_util import flatten_dict
from safetensors.numpy import save_file

from configs import default
from googlenet_jax import models, train_state, training, weights
from googlenet_jax.errors import InputError
from googlenet_jax.weights import published
from tests.reference import timm_family
from tests.reference import torchvision_lineage as reference

PARAMETERS = {
  'lenet5': 61_706,
  'alexnet': 61_100_840,
  'alexnet_grouped': 60_965_224,
  'alexnet_bvlc': 60_965_224,
  'zfnet': 62_357_608,
  'zfnet_wide': 107_627_624,
  'zfnet_512': 87_250_536,  # 4 bytes each: the zoo's 349 MB
  'nin': 966_986,
  'vgg11': 132_863_336,
  'vgg13': 133_047_848,
  'vgg16': 138_357_544,
  'vgg19': 143_667_240,
  'resnet18': 11_689_512,
  'resnet34': 21_797_672,
  'resnet50': 25_557_032,
  'resnet101': 44_549_160,
  'resnet152': 60_192_808,
  'resnet20': 269_722,
  'resnet32': 464_154,
  'resnet44': 658_586,
  'resnet56': 853_018,
  'resnet110': 1_727_962,
  'plain20': 269_722,
  'plain32': 464_154,
  'plain44': 658_586,
  'plain56': 853_018,
  'plain110': 1_727_962,
  'googlenet': 13_378_280,
  'googlenet_bvlc': 13_378_280,
  'googlenet_bn': 13_385_816,
  'googlenet_torchvision': 13_004_888,
  'googlenet_naive': 97_526_008 + 3_287_144 + 3_461_224,  # heads of 1280 and 2640 channels
  'inception_v2': 11_194_984,
  'inception_v3': 27_161_264,
  # timm's counts, and the heads of TF-slim: 128 channels, 768, and the classes.
  'inception_v4': 42_679_816 + 1024 * 128 + 256 + 25 * 128 * 768 + 1536 + 769_000,
  'inception_resnet_v2': 55_843_464 + 1088 * 128 + 256 + 25 * 128 * 768 + 1536 + 769_000,
  'xception': 22_855_952,
}


def made(name, **fields):
  shape = models.MODELS[name].image_shape
  variables = train_state.abstract_variables(models.create(name, **fields), shape)
  return sum(math.prod(x.shape) for x in jax.tree.leaves(variables['params']))


def test_every_network_has_a_count():
  assert set(PARAMETERS) == set(models.MODELS)


@pytest.mark.parametrize('name', PARAMETERS)
def test_parameters(name):
  assert made(name) == PARAMETERS[name]


def test_parameters_of_the_variants():
  assert made('googlenet_naive', aux_heads=()) == 97_526_008
  assert made('inception_v3', aux_heads=()) == 23_834_568
  # torchvision's count less the biases that batch norm takes away again.
  assert made('vgg16', norm='batch') == 138_365_992 - 4_224


@pytest.mark.parametrize(
  ('name', 'fields', 'says'),
  [
    ('vgg16', {'norm': 'lrn'}, 'batch'),
    ('resnet50', {'stem': 'compact'}, 'stem'),
    ('resnet50', {'module': 'naive'}, 'no field'),
  ],
)
def test_unknown_values_are_named(name, fields, says):
  with pytest.raises(InputError, match=says):
    made(name, **fields)


def test_too_small_an_image_is_refused():
  with pytest.raises(InputError, match='larger images'):
    train_state.abstract_variables(models.create('lenet5'), (8, 8, 1))


# Fields, pixels, learning rate.
SMALL = {
  'lenet5': ({}, 32, 0.02),
  'nin': ({'width': 0.1}, 32, 0.02),
  'resnet20': ({'width': 0.5}, 32, 0.1),
}


@pytest.mark.parametrize('name', SMALL)
def test_loss_falls_in_50_steps(name, tmp_path):
  losses_fall(name, tmp_path, *SMALL[name])


def losses_fall(name, tmp_path, fields, size, rate, share=0.9):
  """Trains 50 steps on digits of `size` pixels: the loss falls to a share of what it was."""
  c = default.get_config()
  c.model.name = name
  c.model.update(fields)
  c.dataset.train, c.dataset.test = 'train[:400]', ''
  c.dataset.image_size = size
  c.dataset.channels = 0 if name == 'lenet5' else 3
  c.dataset.mean, c.dataset.std = (77.9,), (95.9,)
  c.train.duration, c.train.batch_size = '50 steps', 20
  c.optimizer.lr = rate
  c.optimizer.clip_norm = 1.0
  c.schedule.warmup = '10 steps'
  c.log.every = '10 steps'
  training.train(c, epath.Path(tmp_path))
  lines = [json.loads(line) for line in (tmp_path / 'metrics.jsonl').read_text().splitlines()]
  losses = [line['main_loss'] for line in lines if line['split'] == 'train']
  assert losses[-1] < share * losses[0], losses


# Of torchvision 0.29's: the last convolution of a network, with batch norm ('bn') or without.
LAST = {
  'vgg11': 'features.18.weight',
  'vgg13': 'features.22.weight',
  'vgg16': 'features.28.weight',
  'vgg19': 'features.34.weight',
  'vgg16 bn': 'features.40.weight',
  'vgg19 bn': 'features.49.weight',
  'resnet34': 'layer4.2.conv2.weight',
  'resnet101': 'layer3.22.conv3.weight',
  'resnet152': 'layer3.35.conv3.weight',
}


@pytest.mark.parametrize('network', LAST)
def test_a_state_dict_is_recognised_as_one_network_alone(network):
  name, _, norm = network.partition(' ')
  fields = {'norm': 'batch'} if norm else {}
  made = train_state.abstract_variables(models.create(name, **fields), (224, 224, 3))
  layout = next(x for x in published.LAYOUTS if x.model == name and x.fields(None) == fields)
  names = {layout.name(path) for path in flatten_dict(made)}
  assert LAST[network] in names
  assert [x for x in published.LAYOUTS if x.recognise(names)] == [layout]


def as_torchvision(name, tmp_path):
  """Logits of torchvision's network, and ours with the same weights."""
  kept = json.loads(reference.PATH.read_text())[name]
  arrays = {key: reference.draw(key, tuple(shape)) for key, shape in kept['shapes'].items()}
  file = tmp_path / 'weights.safetensors'
  save_file(arrays, file)
  network = weights.load(str(file))
  images = reference.images(kept['size'])
  assert network.description.model == name.removesuffix('_bn')
  return logits_of(network, images)[:, ::50], np.asarray(kept['logits'])


def logits_of(network, images):
  forward = jax.jit(lambda variables, images: network.model.apply(variables, images, train=False))
  return np.asarray(forward(network.variables, images).logits)


@pytest.mark.parametrize('name', ['alexnet', 'resnet18', 'inception_v3'])
def test_state_dicts_of_torchvision(name, tmp_path):
  found, expected = as_torchvision(name, tmp_path)
  np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def as_timm(name):
  """Shapes of timm's arrays by their names, made from ours."""
  layout = next(x for x in published.LAYOUTS if x.model == name)
  model = models.create(name, aux_heads=())
  shapes = weights.expected(model, models.MODELS[name].image_shape)
  # HWIO there as OIHW, [in, out] as [out, in].
  axes = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}
  return {layout.name(path): tuple(x.shape[i] for i in axes[x.ndim]) for path, x in shapes.items()}


@pytest.mark.parametrize('name', timm_family.NAMES)
def test_names_and_shapes_are_timms(name):
  kept = json.loads(timm_family.PATH.read_text())[name]
  assert timm_family.digest(as_timm(name)) == kept['digest']


def beside_timm(name, tmp_path):
  """Our logits and timm's, with the same weights."""
  kept = json.loads(timm_family.PATH.read_text())[name]
  file = tmp_path / 'weights.safetensors'
  save_file({x: reference.draw(x, shape) for x, shape in as_timm(name).items()}, file)
  network = weights.load(str(file))
  assert network.description.model == name
  images = reference.images(timm_family.SIZE)
  return logits_of(network, images)[:, ::50], np.asarray(kept['logits'])


def zoo(name, tmp_path):
  """A graph of the ONNX zoo with random weights in place of the placeholders."""
  folder = importlib.resources.files(onnx) / 'backend/test/data/light'
  graph = onnx.load(str(folder / f'light_{name}.onnx'))
  rng = np.random.default_rng(0)
  shapes = {x.name: onnx.numpy_helper.to_array(x) for x in graph.graph.initializer}
  filled = [node for node in graph.graph.node if node.op_type == 'ConstantOfShape']
  drawn = {node.output[0]: tuple(shapes[node.input[0]]) for node in filled}
  given = {x.name for node in filled for x in graph.graph.initializer if x.name in node.input}
  kept = [x for x in graph.graph.initializer if x.name not in given]
  drawn |= {x.name: tuple(x.dims) for x in kept if x.data_type == onnx.TensorProto.FLOAT}
  del graph.graph.initializer[:]
  for x in kept:
    if x.name not in drawn:
      graph.graph.initializer.append(x)
  for key, shape in drawn.items():
    if len(shape) > 1:
      few = rng.standard_normal(65_537, np.float32)  # repeated: there are up to 87 million
      array = np.resize(few, shape) * np.float32(math.sqrt(2 / math.prod(shape[1:])))
    elif key.endswith(('_s_0', '_riv_0', '_scale_0', '_var_0', '/sc_w_0')):
      array = rng.uniform(0.5, 1.5, shape).astype(np.float32)
    else:
      array = rng.uniform(-0.1, 0.1, shape).astype(np.float32)
    graph.graph.initializer.append(onnx.numpy_helper.from_array(array, key))
  for node in filled:
    graph.graph.node.remove(node)
  for x in [x for x in graph.graph.input if x.name in given]:
    graph.graph.input.remove(x)
  # The logits, which the graph's softmax would flatten.
  last = graph.graph.node[-1]
  assert last.op_type == 'Softmax'
  graph.graph.output[0].name = last.input[0]
  graph.graph.node.remove(last)
  path = tmp_path / f'{name}.onnx'
  onnx.save(graph, path)
  return path


# Ours by the zoo's name, the graph's input, and whether that is BGR.
ZOO = {
  'bvlc_alexnet': ('alexnet_bvlc', 'data_0', True),
  'zfnet512': ('zfnet_512', 'gpu_0/data_0', True),
  'vgg19': ('vgg19', 'data_0', True),
  'resnet50': ('resnet50', 'gpu_0/data_0', False),
  'inception_v2': ('inception_v2', 'data_0', True),
}


def as_onnx_runtime(name, tmp_path):
  """Relative error of our logits beside ONNX Runtime's."""
  import onnxruntime

  path = zoo(name, tmp_path)
  model, data, is_bgr = ZOO[name]
  session = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
  image = np.random.default_rng(1).normal(size=(1, 224, 224, 3)).astype(np.float32)
  theirs = image[..., ::-1] if is_bgr else image
  expected = session.run(None, {data: np.ascontiguousarray(theirs.transpose(0, 3, 1, 2))})[0]
  network = weights.load(str(path))
  assert network.description.model == model
  return np.abs(logits_of(network, image) - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize(
  'name', ['resnet50', 'bvlc_alexnet', 'inception_v2']
)  # others: tests/stress
def test_graphs_of_the_onnx_zoo(name, tmp_path):
  assert as_onnx_runtime(name, tmp_path) < 1e-4
