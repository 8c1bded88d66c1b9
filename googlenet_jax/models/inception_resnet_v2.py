"""Inception-ResNet-v2: residual Inception modules, arXiv 1602.07261 (Figure 15).

As published with weights by TensorFlow, which differs from the paper's figures in its stem (that of
Inception v3), in having twice as many blocks, in their widths, and in a last 1x1 to 1,536 channels.
"""

from googlenet_jax.models.bricks import Branches, Conv, Pool, Residual
from googlenet_jax.models.designed import SMALL_STEMS, Design, Designed
from googlenet_jax.models.inception_v3 import InceptionV3
from googlenet_jax.models.inception_v4 import reduction_a

DOWN = Pool('max', 3, 2, 'floor')

# To 35x35x320.
MIXED_5B: Branches = (
  (Conv('branch0', 96),),
  (Conv('branch1_0', 48), Conv('branch1_1', 64, 5)),
  (Conv('branch2_0', 64), Conv('branch2_1', 96, 3), Conv('branch2_2', 96, 3)),
  (Pool('avg'), Conv('branch3_1', 64)),
)

# 35x35 (Figure 16).
BLOCK_35 = Residual(
  branches=(
    (Conv('branch0', 32),),
    (Conv('branch1_0', 32), Conv('branch1_1', 32, 3)),
    (Conv('branch2_0', 32), Conv('branch2_1', 48, 3), Conv('branch2_2', 64, 3)),
  ),
  scale=0.17,
  up='conv2d',
)

# 17x17 (Figure 17).
BLOCK_17 = Residual(
  branches=(
    (Conv('branch0', 192),),
    (Conv('branch1_0', 128), Conv('branch1_1', 160, (1, 7)), Conv('branch1_2', 192, (7, 1))),
  ),
  scale=0.1,
  up='conv2d',
)

# 17x17 to 8x8 (Figure 18).
MIXED_7A: Branches = (
  (Conv('branch0_0', 256), Conv('branch0_1', 384, 3, 2, 0)),
  (Conv('branch1_0', 256), Conv('branch1_1', 288, 3, 2, 0)),
  (Conv('branch2_0', 256), Conv('branch2_1', 288, 3), Conv('branch2_2', 320, 3, 2, 0)),
  (DOWN,),
)

# 8x8 (Figure 19).
BLOCK_8 = Residual(
  branches=(
    (Conv('branch0', 192),),
    (Conv('branch1_0', 192), Conv('branch1_1', 224, (1, 3)), Conv('branch1_2', 256, (3, 1))),
  ),
  scale=0.2,
  up='conv2d',
)


class InceptionResNetV2(Designed):
  """Inception-ResNet-v2 for 299x299 images; the fields are those of `Designed`.

  The paper draws no auxiliary head; TF-slim trains with one after the last block of 17x17.
  """

  aux_heads: tuple[str, ...] = ('block17_20',)
  dropout: float = 0.2  # Figure 15 keeps 0.8

  design = Design(
    stems={'imagenet': InceptionV3.design.stems['imagenet'], **SMALL_STEMS},
    modules={
      'Mixed_5b': MIXED_5B,
      **{f'block35_{i}': BLOCK_35 for i in range(1, 11)},
      'Mixed_6a': reduction_a(256, 256, 384, 384),
      **{f'block17_{i}': BLOCK_17 for i in range(1, 21)},
      'Mixed_7a': MIXED_7A,
      **{f'block8_{i}': BLOCK_8 for i in range(1, 10)},
      'block8_10': BLOCK_8._replace(scale=1.0, relu=False),
    },
    head_after='block17_20',
    last=(Conv('Conv2d_7b_1x1', 1536),),
  )
