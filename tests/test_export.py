"""Networks that run without the package, and what lies beside them."""

import json

import jax
import numpy as np
import pytest

from googlenet_jax import weights
from googlenet_jax.errors import InputError
from googlenet_jax.models import googlenet
from googlenet_jax.models.inception_resnet_v2 import InceptionResNetV2
from googlenet_jax.models.inception_v3 import InceptionV3
from googlenet_jax.models.xception import Xception
from googlenet_jax.weights import export
from tests import networks

MAIN = {'aux_heads': ()}
CLASSES = ('dusk', 'noon', 'night')


def drawn(name, image_shape, **fields):
  """A network with random weights, of three classes."""
  size, _, channels = image_shape
  preprocessing = weights.Preprocessing(size, size + 2, (120.0,), (60.0,), channels)
  return networks.drawn(weights.Description(name, fields, preprocessing, CLASSES))


FEW = {
  InceptionV3: ('Mixed_5b', 'Mixed_6a', 'Mixed_7c'),
  InceptionResNetV2: ('Mixed_5b', 'block35_1'),
  Xception: ('block1', 'block12'),
}


@pytest.fixture
def few_modules(monkeypatch):
  """One module or two of each kind, so that a network compiles in a second."""
  few = {name: googlenet.MODULES[name] for name in ('3a', '4a')}
  monkeypatch.setattr(googlenet, 'MODULES', few)
  for network, kept in FEW.items():
    modules = {name: network.design.modules[name] for name in kept}
    monkeypatch.setattr(network, 'design', network.design._replace(modules=modules))


@pytest.mark.parametrize(
  ('name', 'image_shape', 'fields'),
  [
    ('googlenet', (16, 16, 3), {**MAIN, 'stem': 'cifar', 'classifier': 'fc', 'width': 0.1}),
    ('alexnet_grouped', (67, 67, 3), {'width': 0.09}),
    ('lenet5', (32, 32, 1), {}),
    ('nin', (16, 16, 3), {'width': 0.05}),
    ('resnet20', (8, 8, 3), {'blocks': (1, 1)}),
    ('inception_v3', (75, 75, 3), {**MAIN, 'width': 0.02}),
    ('inception_resnet_v2', (8, 8, 3), {**MAIN, 'width': 0.02, 'stem': 'cifar'}),
    ('xception', (16, 16, 3), {'width': 0.02, 'stem': 'cifar'}),
  ],
)
def test_a_stablehlo_file_of_each_family_runs_alone(few_modules, name, image_shape, fields):
  network = drawn(name, image_shape, **fields)
  exported = jax.export.deserialize(bytearray(export.stablehlo(network)))
  assert exported.platforms == ('cpu', 'cuda', 'tpu')
  images = np.random.default_rng(1).integers(0, 256, (3, *image_shape), dtype=np.uint8)

  def both(images):
    normalised = (images - np.float32(120)) / 60
    logits = network.model.apply(network.variables, normalised, train=False).logits
    return exported.call(images), exported.call(images[:1]), jax.nn.softmax(logits)

  fast = {'xla_backend_optimization_level': 0, 'xla_llvm_disable_expensive_passes': True}
  three, one, expected = jax.jit(both).lower(images).compile(compiler_options=fast)(images)
  assert np.ptp(expected, axis=0).max() > 1e-4  # it depends on the image
  np.testing.assert_allclose(three, expected, atol=1e-6)
  np.testing.assert_allclose(one, expected[:1], atol=1e-6)


@pytest.mark.parametrize(('name', 'size'), [('alexnet', 64), ('zfnet', 64), ('vgg11', 32)])
def test_all_that_flatten_a_map_are_exported(name, size):
  content = export.stablehlo(drawn(name, (size, size, 3), width=0.02))
  (shape,) = jax.export.deserialize(bytearray(content)).out_avals
  assert str(shape.shape) == '(b, 3)'


def test_what_lies_beside_a_stablehlo_file(tmp_path):
  network = drawn('lenet5', (32, 32, 1))
  path = export.export(network, str(tmp_path / 'digits.stablehlo'))
  assert json.loads((tmp_path / 'digits.json').read_text()) == {
    'images': {
      'dtype': 'uint8',
      'shape': ['b', 32, 32, 1],
      'channels': 'gray',
      'resize_shorter': 34,
      'interpolation': 'bilinear, antialiased',
      'crop': 'centre',
    },
    'class_names': list(CLASSES),
  }
  assert export.export(network, str(path)) == path  # once more


def test_a_json_file_of_something_else_stays(tmp_path):
  (tmp_path / 'network.json').write_text('of a run')
  with pytest.raises(InputError, match=r'network\.json exists.*use another name'):
    export.export(drawn('lenet5', (32, 32, 1)), str(tmp_path / 'network.stablehlo'))
  assert [path.name for path in tmp_path.iterdir()] == ['network.json']
  assert (tmp_path / 'network.json').read_text() == 'of a run'
