"""Datasets by name.

A dataset is a function `(split, **fields) -> Split | Records`: arrays in memory, or records that
are decoded as they are used (`sources`). Any other name is that of a TFDS classification set.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from googlenet_jax import registry
from googlenet_jax.data import cifar, digits, folder, npz, tfds_sets
from googlenet_jax.data.sources import Records, Split, checked
from googlenet_jax.errors import InputError


def _folder(split: str, *, data_dir: str, splits: tuple[str, ...], classes: str = '') -> Records:
  return folder.records(data_dir, split, splits, classes)


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

  def tfds(split: str, *, data_dir: str = '', in_memory: bool = True) -> Split | Records:
    return (tfds_sets.load if in_memory else tfds_sets.records)(name, split, data_dir)

  return tfds


def load(
  name: str, split: str, fields: Mapping[str, Any] = MappingProxyType({}), **offered
) -> Split | Records:
  """A split of a dataset.

  Args:
    name: key of `DATASETS`, name of a TFDS set, or 'module:attribute'.
    split: split in the dataset's notation, 'train[:45000]'.
    fields: fields of the dataset.
    offered: fields that are put in where the dataset has them: `data_dir`; `in_memory`; `splits`,
      those of train, validation and test; `classes`, a file that orders the classes.

  Raises:
    InputError: no such dataset, field or split, or one that is unusable.
  """
  what = f'dataset {name!r}: {split!r}'
  made = registry.call(
    registry.bind(find(name), 'dataset.fields', fields, offered), 'dataset.fields', split
  )
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
