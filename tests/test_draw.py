"""Diagrams: every layer is there, once for modules that are alike."""

import re
from xml.etree import ElementTree

import pytest

from configs import default
from googlenet_jax import models
from googlenet_jax.errors import InputError
from googlenet_jax.models.inception_resnet_v2 import InceptionResNetV2
from googlenet_jax.models.inception_v4 import InceptionV4
from googlenet_jax.tools import draw


def texts(name, shape=None, **fields):
  picture = draw.svg(name, models.create(name, fields), shape or models.MODELS[name].image_shape)
  root = ElementTree.fromstring(picture)
  return [x.text for x in root.iter('{http://www.w3.org/2000/svg}text')]


def convolutions(found):
  return [x for x in found if re.fullmatch(r'\d+x\d+(/\d)?, \d+', x)]


def test_googlenet_is_drawn_layer_by_layer():
  found = texts('googlenet')
  assert len(convolutions(found)) == 57  # Table 1: 3, and 6 in each of 9 modules
  assert found.count('max pool 3x3') == 9 and found.count('max pool 3x3/2') == 4
  assert {'4a, auxiliary head 1', '4d, auxiliary head 2', '5b', '7x7x1024'} <= set(found)
  assert found[-1] == 'linear, 1000'


@pytest.mark.parametrize(
  ('name', 'fields', 'said'),
  [
    ('googlenet_naive', {}, ['3b', '28x28x832']),
    ('googlenet', {'stacked': True, 'stem': 'cifar', 'aux_heads': ()}, ['3a']),
    ('inception_v2', {}, ['inception_3c', 'inception_5b']),
    ('inception_v3', {}, ['Mixed_6c to Mixed_6d, 2 times', 'Mixed_6e, auxiliary head']),
    ('inception_v3', {'stem': 'cifar', 'aux_heads': ()}, ['Mixed_7b to Mixed_7c, 2 times']),
    ('xception', {}, ['block4 to block11, 8 times', 'separable, 2048']),
  ],
)
def test_modules_of_the_family(name, fields, said):
  shape = (32, 32, 3) if 'stem' in fields else None
  assert set(said) <= set(texts(name, shape, **fields))


def test_modules_with_a_sum_and_layers_side_by_side(monkeypatch):
  for network, kept in (
    (InceptionV4, ('Mixed_5e', 'Mixed_6g', 'Mixed_6h', 'Mixed_7d')),
    (InceptionResNetV2, ('Mixed_5b', 'block35_1', 'block35_2')),
  ):
    modules = {name: network.design.modules[name] for name in kept}
    monkeypatch.setattr(network, 'design', network.design._replace(modules=modules))
  found = texts('inception_v4')
  assert {'Mixed_6g to Mixed_6h, 2 times, auxiliary head', '1x3 | 3x1, 512'} <= set(found)
  assert '35x35x384' in found
  found = texts('inception_resnet_v2', aux_heads=())
  assert 'block35_1 to block35_2, 2 times' in found
  assert '1x1, 320, times 0.17, plus the input' in found


def test_a_head_ends_a_row_of_modules_that_are_alike():
  same = {x: (8, 8, 8, 8, 8, 8) for x in ('3a', '4a', '4b', '4c', '4d')}
  found = texts('googlenet', modules=same, aux_heads=('4c', '4b'))
  assert {'4a to 4b, 2 times, auxiliary head 1', '4c, auxiliary head 2', '4d'} <= set(found)


def test_a_file_is_written_whose_name_says_what_it_is(tmp_path):
  for name in ('', str(tmp_path / 'network.png')):
    with pytest.raises(InputError, match=r'needs the name of a file that ends in \.svg'):
      draw.draw(default.get_config(), None, name)
  draw.draw(default.get_config(), ['64', '64', '3'], str(tmp_path / 'network.svg'))
  assert 'googlenet, images of 64x64x3' in (tmp_path / 'network.svg').read_text()
  assert len(list(tmp_path.iterdir())) == 1


def test_other_networks_are_refused():
  with pytest.raises(InputError, match='vgg11 has no inception modules'):
    texts('vgg11')
