"""The memory of a stream of photos: flat over the epochs, and bounded by what is read ahead."""

import pathlib
import time

import jax
import numpy as np

from googlenet_jax.data import augment, folder, pipeline


def resident_mb():
  """Memory of this process now, MB (Linux)."""
  pages = int(pathlib.Path('/proc/self/statm').read_text().split()[1])
  return pages * 4096 / 1e6


def epochs(photos, count, prefetch):
  """Memory after each epoch of training crops, MB."""
  data = pipeline.streamed(
    folder.records(str(photos), 'all'),
    train=True,
    mean=(0.0,),
    std=(1.0,),
    image_size=224,
    resize_shorter=256,
    prefetch=prefetch,
    augment=augment.Augment(area=(0.08, 1.0)),
  )
  steps = data.size // 20
  found = []
  for step in range(count * steps):
    jax.block_until_ready(data.feed(step, 1, 20))
    if (step + 1) % steps == 0:
      time.sleep(3)  # all that may be read ahead is
      found.append(resident_mb())
  data.close()
  return np.array(found)


def test_memory_is_flat_over_epochs(val_photos):
  found = epochs(val_photos, 6, prefetch=2)
  print('MB after each epoch:', found.round())
  assert found[3:].max() - found[1] < 20  # a set of 200 decoded photos would be 120


def test_memory_grows_by_what_is_read_ahead_and_no_more(val_photos):
  little, much = epochs(val_photos, 2, prefetch=1), epochs(val_photos, 2, prefetch=40)
  ahead = 39 * 20 * 224 * 224 * 3 / 1e6  # MB
  print('MB read ahead:', round(ahead), 'more memory:', round(much[-1] - little[-1]))
  assert much[-1] - little[-1] < 2 * ahead  # with what the allocator keeps
