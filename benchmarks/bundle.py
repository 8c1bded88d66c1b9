"""What a machine without a network lacks, in parts: wheels, and CIFAR-10's pixels.

    pip download -r requirements.txt -d wheels --only-binary=:all: --python-version=3.12
    python -m benchmarks.bundle --pack=parts --wheels=wheels --data_dir=DIR  # here
    python -m benchmarks.bundle --join=parts,more --out=DIR                  # there

`bundle.json` holds the digests of the parts and of the files that they make: the wheels, and
`cifar10.zip` (`benchmarks/tiles.py` reads it). Parts may travel one by one, into several folders.
"""

import hashlib
import json
import pathlib

from absl import app, flags

from benchmarks import tiles
from googlenet_jax.data import tfds_sets
from googlenet_jax.errors import InputError

PACK = flags.DEFINE_string('pack', '', 'folder that parts are written to')
WHEELS = flags.DEFINE_string('wheels', '', 'folder of wheels to pack')
DATA_DIR = flags.DEFINE_string('data_dir', '', 'folder of TFDS sets, with cifar10, to pack')
PART_MB = flags.DEFINE_integer('part_mb', 60, 'greatest size of a part', lower_bound=1)
JOIN = flags.DEFINE_list('join', [], 'folders of parts to join')
OUT = flags.DEFINE_string('out', 'bundle', 'folder that joined files are written to')

SPLITS = ('train', 'test')
INDEX = 'bundle.json'


def pack(files: list[pathlib.Path], out: pathlib.Path, part_bytes: int) -> None:
  """Cuts files into parts of at most `part_bytes`, and writes their digests beside them."""
  out.mkdir(parents=True, exist_ok=True)
  index = []
  for file in files:
    data, parts = file.read_bytes(), []
    for number, first in enumerate(range(0, len(data), part_bytes)):
      part = data[first : first + part_bytes]
      name = f'{file.name}.{number:03}'
      (out / name).write_bytes(part)
      parts.append({'name': name, 'sha256': hashlib.sha256(part).hexdigest()})
    digest = hashlib.sha256(data).hexdigest()
    index.append({'name': file.name, 'sha256': digest, 'parts': parts})
  (out / INDEX).write_text(json.dumps(index, indent=1) + '\n')


def join(folders: list[pathlib.Path], out: pathlib.Path) -> list[str]:
  """Makes the files again from parts in any of the folders; their names.

  Raises:
    InputError: a part is missing, or is not what it was.
  """
  found = {path.name: path for folder in folders for path in sorted(folder.iterdir())}
  if INDEX not in found:
    raise InputError(f'--join={",".join(map(str, folders))}: no {INDEX} is there')
  out.mkdir(parents=True, exist_ok=True)
  names = []
  for entry in json.loads(found[INDEX].read_text()):
    data = b''.join(_checked(found, part) for part in entry['parts'])
    if hashlib.sha256(data).hexdigest() != entry['sha256']:
      raise InputError(f'{entry["name"]}: its parts are whole, and it is not: pack it again')
    (out / entry['name']).write_bytes(data)
    names.append(entry['name'])
  return names


def _checked(found: dict[str, pathlib.Path], part: dict) -> bytes:
  name = part['name']
  if name not in found:
    raise InputError(f'{name}: this part is missing: give its folder to --join')
  data = found[name].read_bytes()
  if hashlib.sha256(data).hexdigest() != part['sha256']:
    raise InputError(f'{found[name]} is not what was packed: bring it again')
  return data


def main(_):
  """Packs or joins."""
  if JOIN.value:
    for name in join([pathlib.Path(x) for x in JOIN.value], pathlib.Path(OUT.value)):
      print(name)
    return
  if not PACK.value or not (WHEELS.value or DATA_DIR.value):
    raise app.UsageError('give --pack=DIR with --wheels or --data_dir, or --join=DIR')
  out = pathlib.Path(PACK.value)
  out.mkdir(parents=True, exist_ok=True)
  files = sorted(pathlib.Path(WHEELS.value).glob('*.whl')) if WHEELS.value else []
  whole = out / tiles.DATA
  if DATA_DIR.value:
    tiles.save_set(whole, {x: tfds_sets.load('cifar10', x, DATA_DIR.value) for x in SPLITS})
    files.append(whole)
  pack(files, out, PART_MB.value * 2**20)
  whole.unlink(missing_ok=True)
  total = sum(path.stat().st_size for path in out.iterdir())
  print(f'{len(files)} files in {out}, {total / 1e6:.1f} MB')


if __name__ == '__main__':
  app.run(main)
