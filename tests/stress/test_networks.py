"""The larger of the other networks: minutes, and some GB of memory."""

import json

import numpy as np
import pytest

from googlenet_jax import models
from googlenet_jax.tools import cost
from tests import test_lineage
from tests.reference import timm_family

# Fields, pixels, learning rate, share that the loss falls to; little where a plain network is deep.
ALEXNETS = {'width': 0.125, 'kernel_init': 'he'}
NETWORKS = {
  'alexnet': (ALEXNETS, 224, 0.02),
  'alexnet_grouped': (ALEXNETS, 227, 0.02),
  'alexnet_bvlc': (ALEXNETS, 227, 0.02),
  'zfnet': (ALEXNETS, 224, 0.02),
  'zfnet_wide': (ALEXNETS, 224, 0.02),
  'zfnet_512': (ALEXNETS, 224, 0.02),
  **{f'vgg{n}': ({'width': 0.125, 'norm': 'batch'}, 64, 0.02) for n in (11, 13, 16, 19)},
  **{f'resnet{n}': ({'width': 0.125}, 64, 0.1) for n in (18, 34, 50, 101)},
  'resnet152': ({'width': 0.125}, 64, 0.3),
  **{f'resnet{n}': ({'width': 0.5}, 32, 0.1) for n in (32, 44, 56, 110)},
  'plain20': ({'width': 0.5}, 32, 0.1),
  **{f'plain{n}': ({'width': 0.5}, 32, 0.1, 0.98) for n in (32, 44, 56, 110)},
  'googlenet_naive': ({'width': 0.125, 'norm': 'batch'}, 64, 0.05),
  'inception_v3': ({'width': 0.125, 'dropout': 0.0}, 299, 0.2),
  **{
    name: ({'width': 0.125, 'dropout': 0.0, 'stem': 'cifar'}, 32, 0.1)
    for name in ('inception_v2', 'inception_resnet_v2', 'xception')
  },
  'inception_v4': ({'width': 0.125, 'dropout': 0.0, 'stem': 'cifar'}, 64, 0.2, 0.95),
}


@pytest.mark.parametrize('name', NETWORKS)
def test_loss_falls_in_50_steps(name, tmp_path):
  test_lineage.losses_fall(name, tmp_path, *NETWORKS[name])


@pytest.mark.parametrize('name', ['vgg11', 'vgg11_bn', 'resnet50'])
def test_state_dicts_of_torchvision(name, tmp_path):
  found, expected = test_lineage.as_torchvision(name, tmp_path)
  np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize('name', timm_family.NAMES)
def test_state_dicts_of_timm(name, tmp_path):
  found, expected = test_lineage.beside_timm(name, tmp_path)
  np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize('name', timm_family.NAMES)
def test_costs_are_those_of_timms_layers(name):
  kept = json.loads(timm_family.PATH.read_text())[name]
  found = cost.cost(models.create(name, aux_heads=()), models.MODELS[name].image_shape)
  assert found.total('parameters') == kept['parameters']
  assert found.total('macs') == kept['macs']


@pytest.mark.parametrize('name', ['vgg19', 'zfnet512'])
def test_large_graphs_of_the_onnx_zoo(name, tmp_path):
  assert test_lineage.as_onnx_runtime(name, tmp_path) < 1e-4
