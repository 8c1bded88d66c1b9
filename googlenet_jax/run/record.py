"""Records of evaluations: which networks, on which data, prepared how. None replaces another's."""

import base64
import hashlib
import itertools
import json
import logging
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from etils import epath
from ml_collections import ConfigDict

from googlenet_jax import files, schema
from googlenet_jax.run import origin
from googlenet_jax.weights import Description

LOG = logging.getLogger('googlenet_jax')


def about(
  config: ConfigDict, split: str, digest: Callable[[], str], networks: Sequence[dict]
) -> dict[str, Any]:
  """What tells an evaluation from others.

  Args:
    config: checked.
    split: 'train', 'validation' or 'test'.
    digest: digest of the split's examples (`Pipeline.digest`).
    networks: accounts of the networks (`network`).
  """
  fields = config.dataset
  place = fields.data_dir
  if place and '://' not in place:
    place = str(epath.Path(place).expanduser().resolve())
  return {
    'dataset': {
      'name': fields.name,
      'data_dir': place,
      'split': split,
      'examples_of': fields[split],
      'digest': digest(),
    },
    'crops': config.eval.crops,
    'networks': list(networks),
  }


def network(description: Description, **source) -> dict[str, Any]:
  """What a network is, without its classes' names, and where it comes from."""
  told = json.loads(description.to_json())
  return source | {name: told[name] for name in ('model', 'fields', 'preprocessing')}


def digest(variables: dict) -> str:
  """BLAKE2 of a network's arrays, in the order of their names."""
  found = hashlib.blake2b(digest_size=16)
  for path, array in jax.tree.flatten_with_path(variables)[0]:
    found.update(jax.tree_util.keystr(path).encode())
    found.update(np.ascontiguousarray(array).tobytes())
  return found.hexdigest()


def bits(flags: np.ndarray) -> str:
  """A flag an example as text: base64 of their bits, the first one highest."""
  return base64.b64encode(np.packbits(flags).tobytes()).decode()


def flags(text: str, count: int) -> np.ndarray:
  """The flags `[count]` bool that `bits` wrote."""
  packed = np.frombuffer(base64.b64decode(text), np.uint8)
  return np.unpackbits(packed, count=count).astype(bool)


def overrides(config: ConfigDict, earlier: ConfigDict) -> dict[str, Any]:
  """The fields that differ from those of an earlier config, with their values."""
  before = schema.flat(earlier.to_dict())
  return {x: y for x, y in schema.flat(config.to_dict()).items() if before.get(x, y) != y}


def place(folder: epath.Path, stem: str, told: dict[str, Any]) -> epath.Path:
  """The file of an evaluation: `STEM.json`, or `STEM_2.json`, ... where that is of another one."""
  for number in itertools.count(1):
    path = folder / f'{stem}{f"_{number}" if number > 1 else ""}.json'
    if not path.exists() or _told(path) == json.loads(json.dumps(told)):
      return path


def _told(path: epath.Path) -> dict[str, Any] | None:
  """What an earlier record is about; None where it does not say so."""
  try:
    return json.loads(path.read_text())['about']
  except (ValueError, KeyError, TypeError):
    return None


def write(path: epath.Path, told: dict[str, Any], changed: dict[str, Any], scores: dict) -> None:
  """Writes the scores with what they are about, the overrides and the versions of the packages."""
  details = {'about': told, 'overrides': changed, 'versions': origin.versions()}
  files.write(path, json.dumps(scores | details) + '\n')
  LOG.info('record: %s', path)
