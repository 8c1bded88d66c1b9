"""How many photos a second Python can hand on, with threads and with workers.

    python -m benchmarks.workers --photos=DIR [--json=FILE]  # DIR/<class>/*

Decoding and resizing, most of the work on a photo, go on without Python's lock, so they are
replaced by a wait that takes no core: what is left is what threads of one process do in turn, and a
few cores are measured as if there were many. The main process's own time says how many photos it
could hand on that workers read. About two minutes.
"""

import statistics
import time

import cv2
import numpy as np
import simplejpeg
from absl import app, flags

from benchmarks import machine
from googlenet_jax.data import augment, folder, stream
from googlenet_jax.data.crops import Crops

PHOTOS = flags.DEFINE_string('photos', None, 'folder of class folders of JPEG files', required=True)
JSON = flags.DEFINE_string('json', '', 'file for the figures')

CASES = ((1, 0), (4, 0), (8, 0), (16, 0), (32, 0), (8, 1), (8, 2), (8, 4))  # threads, workers
SIZE, BATCH, ROUNDS, STEPS = 224, 128, 5, 10
SECONDS = 0.0015  # for decoding and resizing a photo of 500x375
IMAGES = 1_281_167  # ImageNet's: the order of a few takes longer to compute
PHOTO, CROP = np.zeros((375, 500, 3), np.uint8), np.zeros((SIZE, SIZE, 3), np.uint8)


def decoded(data, **fields):
  """A photo, after the time of decoding it."""
  del data, fields
  time.sleep(SECONDS)
  return PHOTO


# Here, not in `main`: a worker imports this file too.
simplejpeg.decode_jpeg = decoded
cv2.resize = lambda image, size, **fields: CROP


def measure(threads: int, workers: int) -> dict:
  """Photos a second, and milliseconds of the main process for each."""
  few = folder.records(PHOTOS.value, 'all')
  records = few._replace(count=IMAGES, read=lambda index: few.read(index % few.count))
  crops = Crops(records, SIZE, 256, augment.Augment((0.08, 1.0), flip=True), 0)
  example = stream.training(crops, records, 0)
  feed = stream.Stream(example, crops.checked, threads, workers)
  step, speeds, own = 4 * (workers + 1), [], []
  for i in range(step):  # what was read ahead of the clock
    feed(i, 1, BATCH)
  for _ in range(ROUNDS):
    began, used = time.perf_counter(), time.process_time()
    for _ in range(STEPS):
      feed(step, 1, BATCH)
      step += 1
    speeds.append(STEPS * BATCH / (time.perf_counter() - began))
    own.append(1e3 * (time.process_time() - used) / STEPS / BATCH)
  feed.close()
  return {
    'images_per_second': statistics.median(speeds),
    'range': (min(speeds), max(speeds)),
    'own_ms_an_image': statistics.median(own),
  }


def main(_):
  """Prints a line a case."""
  rows = {}
  for threads, workers in CASES:
    name = f'{threads} threads, {workers} workers'
    row = rows[name] = measure(threads, workers)
    spread = '{:,.0f} ({:,.0f} to {:,.0f})'.format(row['images_per_second'], *row['range'])
    print(f'{name}: {spread} images/s; the main process {row["own_ms_an_image"]:.3f} ms an image')
  about = machine.describe('grain')
  print(f'{about}; median (range) of {ROUNDS} rounds')
  machine.save(JSON.value, about, rows, rounds=ROUNDS)


if __name__ == '__main__':
  app.run(main)
