"""Inception v2: GoogLeNet with batch norm and two 3x3 for the 5x5, arXiv 1502.03167 (appendix).

As the network in the ONNX model zoo has it: the paper's Figure 5, with its reductions between the
stages and average pools in most modules, but 96 channels after the pools of 4c and 4d, a plain
first convolution where the paper's is separable (11.2 million parameters, of 13.6), and averages
that leave the padding out, where Caffe counts it.
"""

from googlenet_jax.models.bricks import Branches, Conv, Pool
from googlenet_jax.models.designed import SMALL_STEMS, Design, Designed

AVERAGE, MAX = Pool('avg'), Pool('max')
DOWN = Pool('max', 3, 2, 'ceil')


def module(one, reduce_three, three, reduce_double, double, projected, pool=AVERAGE) -> Branches:
  """A module whose map stays as large."""
  return (
    (Conv('conv_1x1', one),),
    (Conv('reduce_3x3', reduce_three), Conv('conv_3x3', three, 3)),
    (
      Conv('reduce_double3x3', reduce_double),
      Conv('conv_double3x3a', double, 3),
      Conv('conv_double3x3b', double, 3),
    ),
    (pool, Conv('pool_proj', projected)),
  )


def reduction(reduce_three, three, reduce_double, double) -> Branches:
  """A module that halves the map: its last convolutions have stride 2, and no 1x1 branch."""
  return (
    (Conv('reduce_3x3', reduce_three), Conv('conv_3x3', three, 3, 2)),
    (
      Conv('reduce_double3x3', reduce_double),
      Conv('conv_double3x3a', double, 3),
      Conv('conv_double3x3b', double, 3, 2),
    ),
    (DOWN,),
  )


class InceptionV2(Designed):
  """Inception v2 for 224x224 images; the fields are those of `Designed`."""

  design = Design(
    stems={
      'imagenet': (  # 224x224 -> 28x28
        Conv('conv1', 64, 7, 2),
        DOWN,
        Conv('conv2_reduce', 64),
        Conv('conv2', 192, 3),
        DOWN,
      ),
      **SMALL_STEMS,
    },
    modules={
      'inception_3a': module(64, 64, 64, 64, 96, 32),
      'inception_3b': module(64, 64, 96, 64, 96, 64),
      'inception_3c': reduction(128, 160, 64, 96),  # to 14x14
      'inception_4a': module(224, 64, 96, 96, 128, 128),
      'inception_4b': module(192, 96, 128, 96, 128, 128),
      'inception_4c': module(160, 128, 160, 128, 160, 96),
      'inception_4d': module(96, 128, 192, 160, 192, 96),
      'inception_4e': reduction(128, 192, 192, 256),  # to 7x7
      'inception_5a': module(352, 192, 320, 160, 224, 128),
      'inception_5b': module(352, 192, 320, 192, 224, 128, MAX),
    },
    epsilon=1e-5,
  )
