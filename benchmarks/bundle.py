"""What a machine without a network lacks, in parts: wheels, and CIFAR-10's pixels.

    pip wheel -r requirements.txt "jax[cuda13]" -w wheels  # with its version of Python
    python -m benchmarks.bundle pack parts --wheels=wheels --data_dir=DIR  # here
    python -m benchmarks.bundle join parts more --out=DIR                  # there

`bundle.json` holds the digests of the parts and of the files that they make: the wheels, and
`cifar10.zip` (`benchmarks/tiles.py` reads it). Parts may travel one by one, into several folders.
Joining needs nothing but Python, as that machine has no packages yet.
"""

import argparse
import hashlib
import json
import pathlib
import sys

from googlenet_jax.errors import InputError

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
  indexes = [folder / INDEX for folder in folders if (folder / INDEX).exists()]
  if not indexes:
    raise InputError(f'{", ".join(map(str, folders))}: no {INDEX} is there')
  found = {path.name: path for folder in folders for path in sorted(folder.iterdir())}
  out.mkdir(parents=True, exist_ok=True)
  names = []
  for entry in (entry for index in indexes for entry in json.loads(index.read_text())):
    data = b''.join(_checked(found, part) for part in entry['parts'])
    if hashlib.sha256(data).hexdigest() != entry['sha256']:
      raise InputError(f'{entry["name"]}: its parts are whole, and it is not: pack it again')
    (out / entry['name']).write_bytes(data)
    names.append(entry['name'])
  return names


def _checked(found: dict[str, pathlib.Path], part: dict) -> bytes:
  name = part['name']
  if name not in found:
    raise InputError(f'{name}: this part is missing: give its folder too')
  data = found[name].read_bytes()
  if hashlib.sha256(data).hexdigest() != part['sha256']:
    raise InputError(f'{found[name]} is not what was packed: bring it again')
  return data


def _pack(given: argparse.Namespace) -> None:
  from benchmarks import tiles  # not needed, and not there, where parts are joined
  from googlenet_jax.data import tfds_sets

  out = given.folder[0]
  out.mkdir(parents=True, exist_ok=True)
  files = sorted(given.wheels.glob('*.whl')) if given.wheels else []
  whole = out / tiles.DATA
  if given.data_dir:
    tiles.save_set(whole, {x: tfds_sets.load('cifar10', x, given.data_dir) for x in SPLITS})
    files.append(whole)
  pack(files, out, given.part_mb * 2**20)
  whole.unlink(missing_ok=True)
  total = sum(path.stat().st_size for path in out.iterdir())
  print(f'{len(files)} files in {out}, {total / 1e6:.1f} MB')


def main() -> None:
  """Packs or joins."""
  parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
  parser.add_argument('action', choices=('pack', 'join'))
  parser.add_argument('folder', nargs='+', type=pathlib.Path, help='folders of parts; one to pack')
  parser.add_argument('--wheels', type=pathlib.Path, help='folder of wheels to pack')
  parser.add_argument('--data_dir', help='folder of TFDS sets, with cifar10, to pack')
  parser.add_argument('--part_mb', type=int, default=60, help='greatest size of a part')
  parser.add_argument('--out', type=pathlib.Path, default='bundle', help='folder of joined files')
  given = parser.parse_args()
  try:
    if given.action == 'join':
      print('\n'.join(join(given.folder, given.out)))
    elif len(given.folder) > 1 or not (given.wheels or given.data_dir) or given.part_mb < 1:
      parser.error('to pack, give one folder, --part_mb above 0, and --wheels or --data_dir')
    else:
      _pack(given)
  except InputError as error:
    print(f'error: {error}', file=sys.stderr)
    sys.exit(2)


if __name__ == '__main__':
  main()
