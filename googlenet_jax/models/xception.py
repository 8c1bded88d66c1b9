"""Xception: Chollet, "Deep Learning with Depthwise Separable Convolutions", arXiv 1610.02357."""

from googlenet_jax.models.bricks import Conv, Pool, Residual, Separable
from googlenet_jax.models.designed import Design, Designed


def block(*features: int, down: bool = True, relu: str = 'before') -> Residual:
  """Separable convolutions with a shortcut (Figure 5).

  Args:
    features: channels after each.
    down: whether a pool halves the map; the shortcut is a convolution then.
    relu: place of the ReLU of the first.
  """
  convs = tuple(
    Separable(f'sepconv{i}', n, 'before' if i > 1 else relu) for i, n in enumerate(features, 1)
  )
  if not down:
    return Residual((convs,), relu=False)
  shortcut = Conv('skip', features[-1], 1, 2, relu=False)
  return Residual(((*convs, Pool('max', 3, 2, 1)),), shortcut=shortcut, relu=False)


class Xception(Designed):
  """Xception for 299x299 images; the fields are those of `Designed`. It has no auxiliary head."""

  dropout: float = 0.5  # section 4.3

  design = Design(
    stems={
      'imagenet': (Conv('conv1', 32, 3, 2, 0), Conv('conv2', 64, 3, 1, 0)),  # to 147x147
      'cifar': (Conv('conv1', 32, 3), Conv('conv2', 64, 3)),  # the blocks end at 32 / 16 pixels
    },
    modules={
      'block1': block(128, 128, relu='none'),
      'block2': block(256, 256),
      'block3': block(728, 728),  # to 19x19
      **{f'block{i}': block(728, 728, 728, down=False) for i in range(4, 12)},
      'block12': block(728, 1024),  # to 10x10
    },
    last=(Separable('conv3', 1536, 'after'), Separable('conv4', 2048, 'after')),
    epsilon=1e-5,  # epsilon of the weights in PyTorch; Keras has 1e-3
  )
