"""Published preprocessings: torchvision's figures, and which of them a file is given."""

import hashlib

import numpy as np
import pytest
from safetensors.numpy import save_file

from googlenet_jax import models, weights
from googlenet_jax.errors import InputError
from googlenet_jax.weights import published, variants
from tests import networks


@pytest.mark.parametrize(
  ('name', 'crop_size', 'resize_size'),
  [
    ('torchvision_v1', 224, 256),
    ('torchvision_v2', 224, 232),
    ('torchvision_inception_v3', 299, 342),
  ],
)
def test_torchvisions(name, crop_size, resize_size):
  found = weights.PREPROCESSINGS[name]
  assert (found.size, found.resize_shorter) == (crop_size, resize_size)
  if name != 'torchvision_inception_v3':  # whose network normalises once more
    np.testing.assert_allclose(found.mean, 255 * np.array([0.485, 0.456, 0.406]))
    np.testing.assert_allclose(found.std, 255 * np.array([0.229, 0.224, 0.225]))


def test_all_can_be_used():
  for preprocessing in weights.PREPROCESSINGS.values():
    preprocessing.check()
  for layout in published.LAYOUTS:
    assert layout.preprocessing in weights.PREPROCESSINGS


@pytest.fixture(scope='module')
def torchvision_file(tmp_path_factory):
  """A state dict of torchvision's ResNet-18."""
  layout = next(x for x in published.LAYOUTS if x.model == 'resnet18')
  arrays = {}
  for path, array in weights.expected(models.create('resnet18'), (224, 224, 3)).items():
    axes = {4: (3, 2, 0, 1), 2: (1, 0)}.get(len(array.shape), (0,))
    arrays[layout.name(path)] = np.zeros([array.shape[i] for i in axes], np.float32)
  file = tmp_path_factory.mktemp('weights') / 'resnet18.safetensors'
  save_file(arrays, file)
  return file


def test_a_file_that_is_told_by_its_digest(torchvision_file, monkeypatch):
  load = lambda **given: weights.load(str(torchvision_file), **given).description.preprocessing  # noqa: E731
  assert load() == weights.PREPROCESSINGS['torchvision_v1']
  digest = hashlib.sha256(torchvision_file.read_bytes()).hexdigest()
  monkeypatch.setitem(variants.OF_DIGEST, digest[:8], 'torchvision_v2')
  assert load() == weights.PREPROCESSINGS['torchvision_v2']
  assert load(preprocessing='vgg') == weights.PREPROCESSINGS['vgg']


def test_a_file_keeps_its_own_unless_another_is_wanted(tmp_path):
  own = weights.Preprocessing(32, 40, (120.0,), (60.0,))
  description = weights.Description('nin', {'width': 0.05}, own, ('dusk', 'noon'))
  path = str(tmp_path / 'a.safetensors')
  weights.save(path, networks.drawn(description))
  assert weights.load(path).description.preprocessing == own
  other = weights.load(path, preprocessing='torchvision_v2')
  weights.save(path, other)
  assert weights.load(path).description.preprocessing == weights.PREPROCESSINGS['torchvision_v2']


def test_unknown_names_are_told_with_the_nearest(tmp_path):
  with pytest.raises(InputError, match='did you mean torchvision_v1'):
    weights.load(str(tmp_path / 'a.safetensors'), preprocessing='torchvison_v1')
  with pytest.raises(InputError, match='use one of torchvision_v1, '):
    weights.load(str(tmp_path / 'a.safetensors'), preprocessing='mine')
