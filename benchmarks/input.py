"""Photos to augmented 224 crops: images a second here and with tf.data, on the same cores.

    pip install -r benchmarks/requirements.txt
    python -m benchmarks.input --photos=DIR [--json=FILE]  # DIR/<class>/*

Both read the same files in an order of their own, decode, crop 8-100% of the area, resize with
antialiasing, mirror half of them, normalise and batch 32; tf.data with `decode_and_crop_jpeg`,
`tf.image.resize` and parallel maps. The rounds are interleaved in one process; the first one of
each, which warms up, is left out. Takes about two minutes on two cores.
"""

import contextlib
import itertools
import os
import pathlib
import time

import jax
import numpy as np
from absl import app, flags

from benchmarks import machine
from googlenet_jax.data import augment, folder, pipeline

PHOTOS = flags.DEFINE_string('photos', None, 'folder of class folders of JPEG files', required=True)
ROUNDS = flags.DEFINE_integer('rounds', 10, 'rounds of each')
JSON = flags.DEFINE_string('json', '', 'file for the figures')

AHEAD, TIMED = 12, 25  # batches of a round: the first ones were read ahead of the clock
SIZE, BATCH = 224, 32
AREA, ASPECT = (0.08, 1.0), (3 / 4, 4 / 3)
MEAN, STD = (123.7, 116.3, 103.5), (58.4, 57.1, 57.4)


def ours(photos: str, workers: int = 0):
  """Batches of this project, ready on the device."""
  data = pipeline.streamed(
    folder.records(photos, 'all'),
    train=True,
    mean=MEAN,
    std=STD,
    image_size=SIZE,
    resize_shorter=256,
    workers=workers,
    augment=augment.Augment(AREA, ASPECT, flip=True),
  )

  @jax.jit
  def finish(host_batch, positions, key):
    host_batch = jax.tree.map(lambda x: x[0, 0], host_batch)  # one device's, one step's
    return data.make_batch((), host_batch, positions, key).image

  key = jax.random.key(0)
  with contextlib.closing(data):
    for i in itertools.count():
      positions = np.arange(i * BATCH, (i + 1) * BATCH, dtype=np.uint32)
      yield finish(data.feed(i, 1, BATCH), positions, key)


def tf_data(photos: str, antialias: bool):
  """Batches of tf.data."""
  import tensorflow as tf

  tf.config.set_visible_devices([], 'GPU')
  files = [str(path) for path in sorted(pathlib.Path(photos).glob('*/*'))]

  def crop(path):
    data = tf.io.read_file(path)
    shape = tf.image.extract_jpeg_shape(data)
    begin, size, _ = tf.image.sample_distorted_bounding_box(
      shape,
      tf.zeros((0, 0, 4)),
      min_object_covered=0.0,
      aspect_ratio_range=ASPECT,
      area_range=AREA,
      max_attempts=10,
      use_image_if_no_bounding_boxes=True,
    )
    window = tf.stack([begin[0], begin[1], size[0], size[1]])
    image = tf.image.decode_and_crop_jpeg(data, window, channels=3)
    image = tf.image.resize(image, (SIZE, SIZE), 'bilinear', antialias=antialias)
    return (tf.image.random_flip_left_right(image) - MEAN) / STD

  dataset = tf.data.Dataset.from_tensor_slices(files).shuffle(len(files)).repeat()
  dataset = dataset.map(crop, num_parallel_calls=tf.data.AUTOTUNE).batch(BATCH)
  yield from dataset.prefetch(tf.data.AUTOTUNE)


def main(_):
  """Prints the table."""
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
  forms = {
    'this project': lambda: ours(PHOTOS.value),
    'tf.data, antialias': lambda: tf_data(PHOTOS.value, antialias=True),
    'tf.data, no antialias': lambda: tf_data(PHOTOS.value, antialias=False),
  }
  speeds = {name: [] for name in forms}
  for turn in range(ROUNDS.value + 1):
    for name, make in forms.items():
      batches = make()
      for _ in range(AHEAD):
        jax.block_until_ready(next(batches))
      began = time.perf_counter()
      for _ in range(TIMED):
        jax.block_until_ready(next(batches))
      speed = TIMED * BATCH / (time.perf_counter() - began)
      batches.close()
      if turn:
        speeds[name].append(speed)
        print(f'round {turn} of {ROUNDS.value}, {name}: {speed:,.0f} images/s', flush=True)
  first = np.array(next(iter(speeds.values())))
  rows = {
    name: {
      'images_per_second': float(np.median(each)),
      'range': (min(each), max(each)),
      'this_project_over_it': float(np.median(first / each)),
    }
    for name, each in speeds.items()
  }
  about = machine.describe('pillow', 'grain', 'tensorflow-cpu')
  print(f'\n{about}; {ROUNDS.value} rounds of {TIMED} batches, median (range) and ratio')
  for name, row in rows.items():
    spread = f'{row["images_per_second"]:5.0f} ({row["range"][0]:.0f} to {row["range"][1]:.0f})'
    print(f'{name:<24} {spread} images/s; this project {row["this_project_over_it"]:.2f} times')
  machine.save(JSON.value, about, rows, rounds=ROUNDS.value)


if __name__ == '__main__':
  app.run(main)
