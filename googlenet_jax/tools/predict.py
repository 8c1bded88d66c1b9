"""The classes of photos: a table for a person, JSON and CSV for a program."""

import json
import logging
import os
import pathlib
import re
import time
from collections.abc import Sequence

import numpy as np

from googlenet_jax import files, parallel
from googlenet_jax.data import decode
from googlenet_jax.data.crops import named_unreadable
from googlenet_jax.data.sources import Records
from googlenet_jax.errors import InputError
from googlenet_jax.tools import tables
from googlenet_jax.tools.probabilities import class_names, probabilities
from googlenet_jax.weights import Network

LOG = logging.getLogger('googlenet_jax')

TOP = 5
MOST_COMMAS = 30  # in one path of a list: each may be the end of it


def predict(
  networks: Sequence[Network],
  images: list[str],
  output: str = '',
  *,
  top: int | None = TOP,
  crops: int = 1,
  batch_size: int = 32,
) -> list[dict]:
  """Prints the best classes of each photo.

  Args:
    networks: networks with their weights, of the same classes; their probabilities are averaged.
    images: files, and folders whose images are taken, in the order of their names.
    output: file that gets the same, in a form of `WRITERS`; '' for none.
    top: number of classes of a photo; None for all.
    crops: number of crops of a photo: 1, 10 or 144 (`boxes.test_boxes`).
    batch_size: number of photos at once, over all devices.

  Returns:
    `[{"image", "top": [{"class", "label", "probability"}]}]`, without the photos that cannot be
    read.

  Raises:
    InputError: no photos, networks of different classes, or an output that cannot be written; or,
      when all others are done, some photos cannot be read.
  """
  target, names = _target(output), class_names(networks)
  paths = find(images)
  records = of_files(paths)
  found, unreadable, first = [], [], 0.0
  for batch in probabilities(networks, records, batch_size=batch_size, crops=crops):
    first = first or time.monotonic()
    unreadable += batch.rows[~batch.valid].tolist()
    mean = batch.shares.mean(0)
    for row, shares in zip(batch.rows[batch.valid], mean[batch.valid], strict=True):
      found.append({'image': str(paths[row]), 'top': _best(shares, names, top)})
      _show(found[-1])
  if len(paths) > 2 * batch_size:  # the first batch compiles
    speed = (len(paths) - batch_size) / (time.monotonic() - first)
    LOG.info('%d photos, %.1f a second', len(paths), speed)
  if found and target and parallel.is_main():
    files.write(target, WRITERS[target.suffix.lower()](found))
  if unreadable:
    raise InputError(
      f'{len(unreadable)} of {len(paths)} photos cannot be read: leave out, or replace, '
      + named_unreadable(records, unreadable[0])
      + (', ... (all are named above)' if unreadable[1:] else '')
    )
  return found


def _target(output: str) -> pathlib.Path | None:
  """The file to write, None for none; InputError where it cannot be."""
  if not output:
    return None
  target = pathlib.Path(output)
  if target.is_dir() or not target.parent.is_dir():
    raise InputError(f'--output={output}: give a file, in a folder that is there')
  if target.suffix.lower() not in WRITERS:
    raise InputError(f'--output={output} must end in one of {", ".join(WRITERS)}')
  return target


def _best(shares: np.ndarray, names: tuple[str, ...], top: int | None) -> list[dict]:
  """The likeliest classes, the first of equals first; probabilities to six digits."""
  return [
    {'class': names[label], 'label': int(label), 'probability': float(f'{shares[label]:.6g}')}
    for label in np.argsort(-shares, kind='stable')[:top]
  ]


def _json(found: list[dict]) -> str:
  return json.dumps(found, indent=1) + '\n'


def _csv(found: list[dict]) -> bytes:
  columns = 'image', 'rank', 'class', 'label', 'probability'
  rows = [
    (line['image'], rank, *best.values())
    for line in found
    for rank, best in enumerate(line['top'], 1)
  ]
  return os.fsencode(tables.WRITERS['.csv'](tables.Table('', columns, rows)))  # names are any bytes


# By the end of a file's name.
WRITERS = {'.json': _json, '.csv': _csv}


def listed(text: str) -> list[str]:
  """The paths of a list with commas between them; a path that is there may hold commas itself."""
  there = lambda path: os.path.exists(os.path.expanduser(path))  # noqa: E731
  if there(text):
    return [text]
  parts, found = text.split(','), []
  while parts:
    joined = (','.join(parts[:n]) for n in range(1, min(len(parts), MOST_COMMAS + 1) + 1))
    path = next(filter(there, joined), parts[0])
    found.append(path if there(path) else path.strip())
    parts = parts[path.count(',') + 1 :]
  return found


def find(images: list[str]) -> list[pathlib.Path]:
  """The files among the arguments, and the photos in the folders among them.

  Photos in formats that are not read, broken links and folders that cannot be read are among
  them: they are told when they are read.

  Raises:
    InputError: a folder holds no image, or there are no arguments.
  """
  found = []
  for name in filter(None, images):
    path = pathlib.Path(name).expanduser()
    if not path.is_dir():  # one that is not there is told when it is read
      found.append(path)
      continue
    inside, others = _inside(path)
    if not inside:
      raise InputError(f'--images={name}: no image in it')
    if others:
      LOG.info('%s: %d files that are no images left out: %s ...', name, len(others), others[0])
    found += inside
  if not found:
    raise InputError('--images is empty: give files or folders, --images=a.jpg,b.png,folder')
  return found


def of_files(paths: Sequence[pathlib.Path]) -> Records:
  """Photos as records without a class."""
  return Records(
    count=len(paths),
    read=lambda i: (paths[i].read_bytes(), 0),
    name=lambda i: one_line(str(paths[i])),
    class_names=('',),
  )


def _inside(folder: pathlib.Path) -> tuple[list[pathlib.Path], list[pathlib.Path]]:
  """The photos below a folder, links to folders followed, and the other files, in order."""
  photos, others, seen = [], [], set()
  walk = os.walk(folder, followlinks=True, onerror=lambda error: photos.append(error.filename))
  for root, folders, names in walk:
    seen.add(os.path.realpath(root))
    folders[:] = [x for x in folders if os.path.realpath(os.path.join(root, x)) not in seen]
    for name in (x for x in names if not x.startswith('.')):
      path = os.path.join(root, name)
      is_photo = name.lower().endswith(decode.EXTENSIONS + decode.UNREAD)
      broken = not os.path.exists(path)
      (photos if broken or (is_photo and os.path.isfile(path)) else others).append(path)
  return sorted(map(pathlib.Path, photos)), sorted(map(pathlib.Path, others))


def one_line(name: str) -> str:
  """A name with what would end a line, steer a terminal, or is no UTF-8 escaped."""
  return re.sub(r'[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]', lambda x: repr(x[0])[1:-1], name)


def _show(line: dict) -> None:
  if not parallel.is_main():
    return
  print(one_line(line['image']))
  for top in line['top']:
    print(f'  {top["probability"]:7.2%}  {one_line(top["class"])}')
