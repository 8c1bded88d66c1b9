"""Inception v3: Szegedy et al., "Rethinking the Inception Architecture", arXiv 1512.00567.

As published with weights by TensorFlow and torchvision, whose names the modules have. The paper's
Table 1 has three more 3x3 convolutions where their stem has a 1x1, a 3x3 and a pool.
"""

from googlenet_jax.models.bricks import Branches, Conv, Pool, Split
from googlenet_jax.models.designed import SMALL_STEMS, Design, Designed

AVERAGE = Pool('avg', 3, 1, 1, counts=True)
DOWN = Pool('max', 3, 2, 'floor')


def module_a(pool_features: int) -> Branches:
  """35x35 (Figure 5)."""
  return (
    (Conv('branch1x1', 64),),
    (Conv('branch5x5_1', 48), Conv('branch5x5_2', 64, 5)),
    (
      Conv('branch3x3dbl_1', 64),
      Conv('branch3x3dbl_2', 96, 3),
      Conv('branch3x3dbl_3', 96, 3),
    ),
    (AVERAGE, Conv('branch_pool', pool_features)),
  )


def module_c(features: int) -> Branches:
  """17x17, 7x7 factorised (Figure 6)."""
  c = features
  return (
    (Conv('branch1x1', 192),),
    (
      Conv('branch7x7_1', c),
      Conv('branch7x7_2', c, (1, 7)),
      Conv('branch7x7_3', 192, (7, 1)),
    ),
    (
      Conv('branch7x7dbl_1', c),
      Conv('branch7x7dbl_2', c, (7, 1)),
      Conv('branch7x7dbl_3', c, (1, 7)),
      Conv('branch7x7dbl_4', c, (7, 1)),
      Conv('branch7x7dbl_5', 192, (1, 7)),
    ),
    (AVERAGE, Conv('branch_pool', 192)),
  )


def _both(branch: str) -> Split:
  return Split((Conv(f'{branch}a', 384, (1, 3)), Conv(f'{branch}b', 384, (3, 1))))


MODULE_E: Branches = (  # 8x8 (Figure 7)
  (Conv('branch1x1', 320),),
  (Conv('branch3x3_1', 384), _both('branch3x3_2')),
  (Conv('branch3x3dbl_1', 448), Conv('branch3x3dbl_2', 384, 3), _both('branch3x3dbl_3')),
  (AVERAGE, Conv('branch_pool', 192)),
)


class InceptionV3(Designed):
  """Inception v3 for 299x299 images; the fields are those of `Designed`."""

  aux_heads: tuple[str, ...] = ('Mixed_6e',)
  dropout: float = 0.5

  design = Design(
    stems={
      'imagenet': (  # 299x299 -> 35x35
        Conv('Conv2d_1a_3x3', 32, 3, 2, 0),
        Conv('Conv2d_2a_3x3', 32, 3, 1, 0),
        Conv('Conv2d_2b_3x3', 64, 3),
        DOWN,
        Conv('Conv2d_3b_1x1', 80),
        Conv('Conv2d_4a_3x3', 192, 3, 1, 0),
        DOWN,
      ),
      **SMALL_STEMS,
    },
    modules={
      'Mixed_5b': module_a(32),
      'Mixed_5c': module_a(64),
      'Mixed_5d': module_a(64),
      'Mixed_6a': (  # to 17x17
        (Conv('branch3x3', 384, 3, 2, 0),),
        (
          Conv('branch3x3dbl_1', 64),
          Conv('branch3x3dbl_2', 96, 3),
          Conv('branch3x3dbl_3', 96, 3, 2, 0),
        ),
        (DOWN,),
      ),
      'Mixed_6b': module_c(128),
      'Mixed_6c': module_c(160),
      'Mixed_6d': module_c(160),
      'Mixed_6e': module_c(192),
      'Mixed_7a': (  # to 8x8
        (Conv('branch3x3_1', 192), Conv('branch3x3_2', 320, 3, 2, 0)),
        (
          Conv('branch7x7x3_1', 192),
          Conv('branch7x7x3_2', 192, (1, 7)),
          Conv('branch7x7x3_3', 192, (7, 1)),
          Conv('branch7x7x3_4', 192, 3, 2, 0),
        ),
        (DOWN,),
      ),
      'Mixed_7b': MODULE_E,
      'Mixed_7c': MODULE_E,
    },
    head_after='Mixed_6e',
  )
