"""Where a step's batch comes from.

A pipeline has three parts, so that data held on the device and data streamed from disk
look the same to a step: what lives on the devices, what the host feeds a step, and a
pure function of both that runs inside the compiled step. The position in the data is
the number of the step, nothing else.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from googlenet_jax.data import augment as aug
from googlenet_jax.data import pixels, stream
from googlenet_jax.data.crops import Crops, too_many_bad
from googlenet_jax.data.shuffle import shuffled
from googlenet_jax.data.sources import Records, Span, Split
from googlenet_jax.errors import InputError


class Batch(NamedTuple):
  """What a network is trained or evaluated on.

  Attributes:
    image: `[B, H, W, C]` float32, normalised.
    label: `[B, classes]` float32, a distribution over the classes.
    mask: `[B]` float32: 1, or 0 for a place that holds no example.
  """

  image: jax.Array
  label: jax.Array
  mask: jax.Array


class Pipeline(NamedTuple):
  """A source of batches.

  Attributes:
    size: examples in one epoch.
    class_names: names in label order.
    image_shape: (H, W, C) of a batch's images.
    device_data: arrays to be replicated on every device; `()` when streaming.
    feed: `(step, count, batch_size) -> arrays [local devices, count, ...]` that the host hands
      to `count` steps from this one on; `()` when the data is on the device. Fastest in the order
      of the steps.
    make_batch: `(device_data, host_batch, positions [B] uint32, key) -> Batch`, pure;
      `host_batch` is one device's part of one step. Positions are counted from the first example
      of training, over all devices and epochs.
    digest: `() -> str`, which tells whether the same examples are there later.
    max_bad: records that may be unreadable.
    unreadable: `() ->` those that this process knows of.
    spans: stretches of a larger set that the examples are; none where that is not known.
    close: `() -> None`: stops reading ahead, until the next `feed`.
  """

  size: int
  class_names: tuple[str, ...]
  image_shape: tuple[int, int, int]
  device_data: Any
  feed: Callable[[int, int, int], Any]
  make_batch: Callable[[Any, Any, jax.Array, jax.Array], Batch]
  digest: Callable[[], str]
  max_bad: int = 0
  unreadable: Callable[[], list[int]] = list
  spans: tuple[Span, ...] = ()
  close: Callable[[], None] = lambda: None


def in_memory(
  split: Split,
  *,
  train: bool,
  mean: tuple[float, ...],
  std: tuple[float, ...],
  image_size: int = 0,
  channels: int = 0,
  max_bad: int = 0,
  augment: aug.Augment = aug.NONE,
) -> Pipeline:
  """A pipeline over a split that is kept on the device as uint8, the centre square of each image.

  In training, position `p` holds example `permutation(epoch p // N)[p % N]`, and what is
  random about it is keyed by `p`: neither the number of devices nor of processes changes
  what is seen. In evaluation, position `p` holds example `p`, and none from `N` on.

  Args:
    split: the examples.
    train: shuffle, augment and repeat without end.
    mean, std: statistics of a channel, in [0, 255]; one value serves all channels.
    image_size: side in pixels that images are resized to (bilinear); 0 keeps their shorter side.
    channels: 3 repeats a gray channel; 0 keeps theirs.
    max_bad: records that may be unreadable.
    augment: augmentation of training images.

  Raises:
    InputError: the statistics, `channels` or colour distortions do not fit the images, or too many
      records are unreadable.
  """
  squares = _centre_squares(split.images)
  count, side, _, depth = squares.shape
  classes = len(split.class_names)
  shape = (image_size or side, image_size or side, channels or depth)
  if depth not in (1, shape[2]):
    raise InputError(f'dataset.channels={channels}: the images have {depth} channels, not 1')
  _check_channels(depth, mean, std, augment)
  augment = augment if train else aug.NONE
  bad = np.flatnonzero(~np.asarray(split.valid)).tolist()
  if len(bad) > max_bad:
    raise too_many_bad(len(bad), count, max_bad, f'record {bad[-1]}')

  def take(device_data, index, keys=None, mirrored=None):
    images = device_data['images'][index]
    if mirrored is not None:
      images = jnp.where(mirrored[:, None, None, None], images[:, :, ::-1], images)
    images = aug.apply(images, keys, shape, mean, std, augment)
    return images, jax.nn.one_hot(device_data['labels'][index], classes)

  def evaluation(device_data, host_batch, positions, key):
    index = jnp.minimum(positions, count - 1)
    mask = device_data['valid'][index] & (positions < count)
    return Batch(*take(device_data, index), mask.astype(jnp.float32))

  def training(device_data, host_batch, positions, key):
    key_order, key_example, key_partner, key_flip = (jax.random.fold_in(key, i) for i in range(4))

    def drawn(index, keys):
      flips = aug.mirrored(key_flip, index, positions // count) if augment.alternate else None
      return take(device_data, index, keys, flips)

    index = shuffled(key_order, positions, count)
    images, labels = drawn(index, aug.by_example(key_example, positions))
    mask = device_data['valid'][index]
    if augment.mixup or augment.cutmix:
      # A partner from the whole set, not from the batch, which is another on other devices.
      keys = aug.by_example(key_partner, positions)
      partner = jax.vmap(lambda key: jax.random.randint(key, (), 0, count))(keys)
      images, labels = aug.mix(images, labels, *drawn(partner, keys), keys, augment)
    return Batch(images, labels, mask.astype(jnp.float32))

  return Pipeline(
    size=count,
    class_names=split.class_names,
    image_shape=shape,
    device_data={'images': squares, 'labels': split.labels, 'valid': np.asarray(split.valid)},
    feed=lambda step, count, batch_size: (),
    make_batch=training if train else evaluation,
    digest=split.digest,
    max_bad=max_bad,
    unreadable=lambda: bad,
    spans=split.spans,
  )


def streamed(
  records: Records,
  *,
  train: bool,
  mean: tuple[float, ...],
  std: tuple[float, ...],
  image_size: int,
  resize_shorter: int,
  channels: int = 0,
  seed: int = 0,
  max_bad: int = 0,
  threads: int = 0,
  workers: int = 0,
  prefetch: int = 2,
  augment: aug.Augment = aug.NONE,
) -> Pipeline:
  """A pipeline over encoded images that are decoded and cropped by the host as they are used.

  What a position holds is defined as for `in_memory`, but the order of an epoch is Grain's, and
  mixup and CutMix take as an example's partner that of the position beside it.

  Args:
    records: the encoded images.
    train: shuffle, augment and repeat without end.
    mean, std: statistics of a channel, in [0, 255]; one value serves all three.
    image_size: side of the images of a batch, pixels.
    resize_shorter: shorter side in evaluation, before the centre crop, pixels.
    channels: 3 repeats a gray channel, 1 makes the images gray; 0 keeps those of the records.
    seed: seed of the order and the crops.
    max_bad: records that may be unreadable before the run ends.
    threads, workers, prefetch: see `stream.Stream`.
    augment: augmentation of training images.

  Raises:
    InputError: the statistics or colour distortions do not fit the channels.
  """
  channels = channels or records.channels
  _check_channels(channels, mean, std, augment)
  shape = (image_size, image_size, channels)
  augment = augment if train else aug.NONE
  crops = Crops(records, image_size, resize_shorter, augment, max_bad)
  example = crops.evaluation
  if train:
    example = stream.training(crops, records, seed, augment.alternate)
  source = stream.Stream(example, crops.checked, threads, workers, prefetch)

  def make_batch(device_data, host_batch, positions, key):
    del device_data
    keys = aug.by_example(key, positions) if train else None
    images = normalised(host_batch['image'], shape, mean, std, keys, augment)
    labels = jax.nn.one_hot(host_batch['label'], len(records.class_names))
    if augment.mixup or augment.cutmix:
      images, labels = aug.mix(images, labels, _beside(images), _beside(labels), keys, augment)
    return Batch(images, labels, host_batch['valid'].astype(jnp.float32))

  return Pipeline(
    size=records.count,
    class_names=records.class_names,
    image_shape=shape,
    device_data=(),
    feed=source,
    make_batch=make_batch,
    digest=records.digest,
    max_bad=max_bad,
    unreadable=crops.unreadable,
    spans=records.spans,
    close=source.close,
  )


def normalised(
  images: jax.Array,
  shape: tuple[int, int, int],
  mean: tuple[float, ...],
  std: tuple[float, ...],
  keys: jax.Array | None = None,
  augment: aug.Augment = aug.NONE,
) -> jax.Array:
  """What the host feeds, crops `[B, H, W, 3]`, as a network takes them; see `augment.apply`.

  Test crops `[B, crops / 2, H, W, 3]` become `[B, crops, *shape]`: each mirrored too.
  """
  if shape[2] == 1:
    images = pixels.gray(images)
  if images.ndim == 5:
    images = jnp.concatenate([images, images[..., ::-1, :]], 1)
  return aug.apply(images, keys, shape, mean, std, augment)


def _centre_squares(images: np.ndarray) -> np.ndarray:
  """What `Crops` takes of a photo: of `[N, H, W, C]` the `[N, S, S, C]` in the middle."""
  height, width = images.shape[1:3]
  side = min(height, width)
  top, left = (height - side) // 2, (width - side) // 2
  return images[:, top : top + side, left : left + side]


def _beside(x):
  """Of each example the other of its pair; an even number of positions are on each device.

  A gather (`x[arange ^ 1]`) costs a TPU 60 MB of memory traffic an image (docs/speed.md).
  """
  return x.reshape(-1, 2, *x.shape[1:])[:, ::-1].reshape(x.shape)


def _check_channels(depth, mean, std, augment):
  if (augment.hue or augment.lighting) and depth != 3:
    raise InputError(f'augment.hue and augment.lighting need RGB: the images have {depth} channels')
  if {len(mean), len(std)} - {1, depth}:
    each = f' or {depth}, one for each of the channels' if depth > 1 else ': the images are gray'
    raise InputError(f'dataset.mean={mean} and dataset.std={std}: give 1 value{each}')
