"""Inception v4: Szegedy et al., "Inception-v4, Inception-ResNet ...", arXiv 1602.07261.

As published with weights by TensorFlow, whose names the modules have.
"""

from googlenet_jax.models.bricks import Branches, Conv, Layer, Nested, Pool, Split
from googlenet_jax.models.designed import SMALL_STEMS, Design, Designed

AVERAGE = Pool('avg')
DOWN = Pool('max', 3, 2, 'floor')

# 35x35 (Figure 4).
MODULE_A: Branches = (
  (Conv('branch0', 96),),
  (Conv('branch1_0', 64), Conv('branch1_1', 96, 3)),
  (Conv('branch2_0', 64), Conv('branch2_1', 96, 3), Conv('branch2_2', 96, 3)),
  (AVERAGE, Conv('branch3_1', 96)),
)

# 17x17, 7x7 factorised (Figure 5).
MODULE_B: Branches = (
  (Conv('branch0', 384),),
  (Conv('branch1_0', 192), Conv('branch1_1', 224, (1, 7)), Conv('branch1_2', 256, (7, 1))),
  (
    Conv('branch2_0', 192),
    Conv('branch2_1', 192, (7, 1)),
    Conv('branch2_2', 224, (1, 7)),
    Conv('branch2_3', 224, (7, 1)),
    Conv('branch2_4', 256, (1, 7)),
  ),
  (AVERAGE, Conv('branch3_1', 128)),
)


def _both(branch: str) -> Split:
  return Split((Conv(f'{branch}a', 256, (1, 3)), Conv(f'{branch}b', 256, (3, 1))))


# 8x8 (Figure 6).
MODULE_C: Branches = (
  (Conv('branch0', 256),),
  (Conv('branch1_0', 384), _both('branch1_1')),
  (
    Conv('branch2_0', 384),
    Conv('branch2_1', 448, (3, 1)),
    Conv('branch2_2', 512, (1, 3)),
    _both('branch2_3'),
  ),
  (AVERAGE, Conv('branch3_1', 256)),
)


def reduction_a(k: int, l: int, m: int, n: int) -> Branches:  # noqa: E741  (the paper's)
  """35x35 to 17x17 (Figure 7, Table 1)."""
  return (
    (Conv('branch0', n, 3, 2, 0),),
    (Conv('branch1_0', k), Conv('branch1_1', l, 3), Conv('branch1_2', m, 3, 2, 0)),
    (DOWN,),
  )


# 17x17 to 8x8 (Figure 8).
REDUCTION_B: Branches = (
  (Conv('branch0_0', 192), Conv('branch0_1', 192, 3, 2, 0)),
  (
    Conv('branch1_0', 256),
    Conv('branch1_1', 256, (1, 7)),
    Conv('branch1_2', 320, (7, 1)),
    Conv('branch1_3', 320, 3, 2, 0),
  ),
  (DOWN,),
)

# 299x299 to 35x35 (Figure 3).
STEM: tuple[Layer, ...] = (
  Conv('Conv2d_1a_3x3', 32, 3, 2, 0),
  Conv('Conv2d_2a_3x3', 32, 3, 1, 0),
  Conv('Conv2d_2b_3x3', 64, 3),
  Nested('Mixed_3a', ((DOWN,), (Conv('conv', 96, 3, 2, 0),))),
  Nested(
    'Mixed_4a',
    (
      (Conv('branch0_0', 64), Conv('branch0_1', 96, 3, 1, 0)),
      (
        Conv('branch1_0', 64),
        Conv('branch1_1', 64, (1, 7)),
        Conv('branch1_2', 64, (7, 1)),
        Conv('branch1_3', 96, 3, 1, 0),
      ),
    ),
  ),
  Nested('Mixed_5a', ((Conv('conv', 192, 3, 2, 0),), (DOWN,))),
)


class InceptionV4(Designed):
  """Inception v4 for 299x299 images; the fields are those of `Designed`.

  The paper draws no auxiliary head; TF-slim trains with one after `Mixed_6h`.
  """

  aux_heads: tuple[str, ...] = ('Mixed_6h',)
  dropout: float = 0.2  # Figure 9 keeps 0.8

  design = Design(
    stems={'imagenet': STEM, **SMALL_STEMS},
    modules={
      **{f'Mixed_5{letter}': MODULE_A for letter in 'bcde'},
      'Mixed_6a': reduction_a(192, 224, 256, 384),
      **{f'Mixed_6{letter}': MODULE_B for letter in 'bcdefgh'},
      'Mixed_7a': REDUCTION_B,
      **{f'Mixed_7{letter}': MODULE_C for letter in 'bcd'},
    },
    head_after='Mixed_6h',
  )
