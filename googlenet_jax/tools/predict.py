"""Class probabilities of photos: a table for a person, JSON for a program."""

import contextlib
import json
import logging
import pathlib
import time
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from googlenet_jax import files, parallel
from googlenet_jax.data import decode, pipeline, stream
from googlenet_jax.data.sources import Records
from googlenet_jax.errors import InputError
from googlenet_jax.progress import passing
from googlenet_jax.weights import Network

LOG = logging.getLogger('googlenet_jax')

TOP = 5
PART = 36  # images at once: two cores do 35 a second so, and 28 of 144 at once


def predict(network: Network, images: list[str], output: str = '', batch_size: int = 32) -> list:
  """Prints the five best classes of each photo.

  Args:
    network: network with its weights.
    images: files, and folders whose images are taken, in the order of their names.
    output: JSON file that gets the same, `[{"image", "top": [{"class", "label", "probability"}]}]`;
      '' for none.
    batch_size: number of photos at once, over all devices.

  Returns:
    What the JSON file holds, without the photos that cannot be read.

  Raises:
    InputError: no photos, or an output that cannot be written; or, when all others are done,
      some photos cannot be read.
  """
  paths = find(images)
  target = pathlib.Path(output) if output else None
  if target and (target.is_dir() or not target.parent.is_dir()):
    raise InputError(f'--output={output}: give a file, in a folder that is there')
  records = Records(
    count=len(paths),
    read=lambda i: (paths[i].read_bytes(), 0),
    name=lambda i: str(paths[i]),
    class_names=('',),
  )
  names, found, unreadable = network.description.class_names, [], []
  first = 0.0
  for rows, each, valid, _ in probabilities(network, records, batch_size=batch_size):
    first = first or time.monotonic()
    unreadable += rows[~valid].tolist()
    for row, shares in zip(rows[valid], each[valid], strict=True):
      best = np.argsort(-shares, kind='stable')[:TOP]
      top = [
        {'class': names[label], 'label': int(label), 'probability': round(float(shares[label]), 6)}
        for label in best
      ]
      found.append({'image': str(paths[row]), 'top': top})
      _show(found[-1])
  if len(paths) > 2 * batch_size:  # the first batch compiles
    speed = (len(paths) - batch_size) / (time.monotonic() - first)
    LOG.info('%d photos, %.1f a second', len(paths), speed)
  if found and target and parallel.is_main():
    files.write(target, json.dumps(found, indent=1) + '\n')
  if unreadable:
    raise InputError(
      f'{len(unreadable)} of {len(paths)} photos cannot be read: leave out, or replace, '
      + stream.why_unreadable(records, unreadable[0])
      + (', ... (all are named above)' if unreadable[1:] else '')
    )
  return found


def find(images: list[str]) -> list[pathlib.Path]:
  """The files among the arguments, and the images in the folders among them.

  Raises:
    InputError: a folder holds no image, or there are no arguments.
  """
  found = []
  for name in filter(None, images):
    path = pathlib.Path(name).expanduser()
    if not path.is_dir():  # one that is not there is told when it is read
      found.append(path)
      continue
    inside = [p for p in sorted(path.rglob('*')) if p.name.lower().endswith(decode.EXTENSIONS)]
    inside = [p for p in inside if p.is_file() and not p.name.startswith('.')]
    if not inside:
      raise InputError(f'--images={name}: no image in it')
    found += inside
  if not found:
    raise InputError('--images is empty: give files or folders, --images=a.jpg,b.png,folder')
  return found


def probabilities(
  network: Network, records: Records, *, batch_size: int, crops: int = 1, threads: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
  """Softmax of the network for every record, the mean over its crops.

  Args:
    network: network with its weights.
    records: encoded images; those that cannot be read are named in the log.
    batch_size: number of records at once, over all devices; fewer where each has many crops.
    crops: number of crops of a photo: 1, 10 or 144 (`boxes.test_boxes`).
    threads: number of threads that decode; 0 is one a core.

  Yields:
    The records' rows `[n]`, probabilities `[n, classes]` float32, whether they were read `[n]`
    bool, and labels `[n]`.
  """
  preprocessing = network.description.preprocessing
  data = pipeline.streamed(
    records,
    train=False,
    image_size=preprocessing.size,
    test_crops=crops,
    max_bad=records.count,
    threads=threads,
    **{
      name: getattr(preprocessing, name) for name in ('mean', 'std', 'resize_shorter', 'channels')
    },
  )
  devices = jax.device_count()
  batch_size = -(-min(max(batch_size // crops, 1), records.count) // devices) * devices

  def step(unused, host_batch, variables):
    host_batch = jax.tree.map(lambda x: x[0], host_batch)
    batch = data.make_batch((), host_batch, jnp.zeros(len(host_batch['valid']), jnp.uint32), None)
    images = batch.image.reshape(-1, *data.image_shape)
    parts = [images[i : i + PART] for i in range(0, len(images), PART)]
    logits = jnp.concatenate(
      [network.model.apply(variables, part, train=False).logits for part in parts]
    )
    shares = jax.nn.softmax(logits).reshape(len(host_batch['valid']), crops, -1).mean(1)
    gathered = lax.all_gather((shares, host_batch['valid'], host_batch['label']), parallel.AXIS)
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), gathered)

  compiled = parallel.compile_step(step, arguments=1)
  variables = parallel.replicate(network.variables)
  carry = (
    np.zeros((batch_size, len(network.description.class_names)), np.float32),
    np.zeros(batch_size, bool),
    np.zeros(batch_size, np.int32),
  )
  with contextlib.closing(data):
    for i in passing(-(-records.count // batch_size), 'classifying', parallel.is_main()):
      found = parallel.fetch(compiled(carry, data.feed(i, 1, batch_size), variables))
      rows = np.arange(i * batch_size, min((i + 1) * batch_size, records.count))
      yield rows, *(x[: len(rows)] for x in found)


def _show(line: dict) -> None:
  if not parallel.is_main():
    return
  print(line['image'])
  for top in line['top']:
    print(f'  {top["probability"]:7.2%}  {top["class"]}')
