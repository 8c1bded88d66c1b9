"""Datasets by name.

A dataset is a function `(split, **fields) -> Split | Records`: arrays in memory, or records that
are decoded as they are used (`sources`). Any other name is that of a TFDS classification set.
"""

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from etils import epath

from googlenet_jax import registry
from googlenet_jax.data import cifar, digits, folder, npz, prepare, tfds_sets
from googlenet_jax.data.sources import Records, Split, checked
from googlenet_jax.errors import InputError


def _folder(split: str, *, data_dir: str, splits: tuple[str, ...], class_list: str = '') -> Records:
  return folder.records(data_dir, split, splits, class_list)


DATASETS: dict[str, Callable[..., Split | Records]] = {
  'digits': digits.load,
  'folder': _folder,
  'npz': npz.load,
  **cifar.DATASETS,
}


def find(name: str) -> Callable[..., Split | Records]:
  """A dataset by name: of the table, 'module:attribute', or of TFDS."""
  if name in DATASETS or ':' in name:
    return registry.find(name, DATASETS, 'dataset.name')

  return functools.partial(tfds_sets.tfds_set, name)


def load(
  name: str, split: str, fields: Mapping[str, Any] = MappingProxyType({}), **offered
) -> Split | Records:
  """A split of a dataset.

  Args:
    name: key of `DATASETS`, name of a TFDS set, or 'module:attribute'.
    split: split in the dataset's notation, 'train[:45000]'.
    fields: fields of the dataset.
    offered: fields that are put in where the dataset has them: `data_dir`; `in_memory`; `splits`,
      those of train, validation and test; `class_list`, a file that orders the classes.

  Raises:
    InputError: no such dataset, field or split, or one that is unusable.
  """
  what = f'dataset {name!r}: {split!r}'
  made = registry.call(find(name), 'dataset.fields', fields, split, offered=offered)
  if isinstance(made, Split):
    return checked(made, what)
  if not isinstance(made, Records):
    raise InputError(f'{what}: it gives {type(made).__name__}, not Split or Records')
  if made.count < 1 or len(made.class_names) < 2:
    raise InputError(
      f'{what}: it gives {made.count} records of {len(made.class_names)} classes: give at least '
      'one record and two classes'
    )
  return made


def prepared(name: str, data_dir: str) -> epath.Path:
  """The folder of a TFDS set as ArrayRecord, downloaded or converted where it must be.

  Raises:
    InputError: it is no set of TFDS, or `prepare.ensure` fails.
  """
  if ':' in name or name in DATASETS.keys() - cifar.DATASETS.keys():
    raise InputError(f'config.dataset.name={name!r} needs no preparing: only TFDS sets do')
  return prepare.ensure(name, data_dir)
