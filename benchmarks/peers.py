"""The same networks, written as one would without this project: in plain Flax and in PyTorch."""

import flax.linen as nn
import jax.numpy as jnp

from googlenet_jax.models.googlenet import STEMS
from googlenet_jax.models.layers import scaled


class PlainFlax(nn.Module):
  """GoogLeNet with batch norm and without auxiliary heads, of nn.Conv and nn.max_pool."""

  classes: int
  stem: str
  width: float  # width of the stem
  kernel_5x5: int
  modules: dict

  @nn.compact
  def __call__(self, x, *, train):
    def block(x, features, window=1, stride=1):
      x = nn.Conv(features, (window, window), (stride, stride), window // 2, use_bias=False)(x)
      return nn.relu(nn.BatchNorm(not train, momentum=0.9, epsilon=1e-3)(x))

    def pool(x, stride):
      return nn.max_pool(x, (3, 3), (stride, stride), 'SAME')

    for name, features, window, stride in STEMS[self.stem]:
      if name.startswith('conv'):
        x = block(x, scaled(features, self.width), window, stride)
      elif name.startswith('pool'):
        x = pool(x, stride)
    stage = '3'
    for name, w in self.modules.items():
      if name[0] != stage:
        x, stage = pool(x, 2), name[0]
      branches = (
        block(x, w[0]),
        block(block(x, w[1]), w[2], 3),
        block(block(x, w[3]), w[4], self.kernel_5x5),
        block(pool(x, 1), w[5]),
      )
      x = jnp.concatenate(branches, -1)
    return nn.Dense(self.classes)(x.mean((1, 2)))


def torch_network(classes: int, stem: str, width: float, kernel_5x5: int, modules: dict):
  """The same network as a `torch.nn.Module` of channels-first images."""
  import torch
  from torch import nn as tnn

  def block(channels, features, window=1, stride=1):
    conv = tnn.Conv2d(channels, features, window, stride, window // 2, bias=False)
    norm = tnn.BatchNorm2d(features, eps=1e-3)
    return tnn.Sequential(conv, norm, tnn.ReLU(inplace=True))

  def pool(stride):
    return tnn.MaxPool2d(3, stride, ceil_mode=stride == 2, padding=0 if stride == 2 else 1)

  class Module(tnn.Module):
    def __init__(self, channels, w):
      super().__init__()
      branches = (
        block(channels, w[0]),
        tnn.Sequential(block(channels, w[1]), block(w[1], w[2], 3)),
        tnn.Sequential(block(channels, w[3]), block(w[3], w[4], kernel_5x5)),
        tnn.Sequential(pool(1), block(channels, w[5])),
      )
      self.branches = tnn.ModuleList(branches)

    def forward(self, x):
      return torch.cat([branch(x) for branch in self.branches], 1)

  layers, channels = [], 3
  for name, features, window, stride in STEMS[stem]:
    if name.startswith('conv'):
      layers.append(block(channels, scaled(features, width), window, stride))
      channels = scaled(features, width)
    elif name.startswith('pool'):
      layers.append(pool(stride))
  stage = '3'
  for name, w in modules.items():
    if name[0] != stage:
      layers.append(pool(2))
      stage = name[0]
    layers.append(Module(channels, w))
    channels = w[0] + w[2] + w[4] + w[5]
  head = (tnn.AdaptiveAvgPool2d(1), tnn.Flatten(), tnn.Linear(channels, classes))
  return tnn.Sequential(*layers, *head)
