"""The data of a config: its splits, as pipelines."""

import itertools
import logging
import math
from collections.abc import Mapping

import jax
import numpy as np
from ml_collections import ConfigDict

from googlenet_jax import contracts, parallel
from googlenet_jax.data import augmentations, datasets, pipeline, sources
from googlenet_jax.errors import InputError

ARRAYS = 'arrays'  # name of the caller's own data, which a config cannot load
LOG = logging.getLogger('googlenet_jax')

Splits = Mapping[str, sources.Split | sources.Records]  # by 'train', 'validation' and 'test'


def load(
  config: ConfigDict, split: str, *, evaluating: bool = False, arrays: Splits | None = None
) -> pipeline.Pipeline:
  """The pipeline of 'train', 'validation' or 'test'; 'train' is for training.

  Args:
    evaluating: give the training split as it is, in order and not augmented.
    arrays: splits in place of those that the config names.
  """
  fields = config.dataset
  train = split == 'train' and not evaluating
  options = {
    'train': train,
    'mean': fields.mean,
    'std': fields.std,
    'image_size': fields.image_size,
    'channels': fields.channels,
    'augment': augmentations.create(**config.augment.to_dict()),
  }
  data = arrays[split] if arrays else source(config, split)
  in_memory = isinstance(data, sources.Split)
  if in_memory != fields.in_memory:
    holds = 'arrays' if in_memory else 'records that are decoded one by one'
    raise InputError(
      f'config.dataset.name={fields.name!r} gives {holds}: --config.dataset.in_memory={in_memory}'
    )
  if in_memory:
    max_bad = max_bad_records(config, len(data.labels))
    found = pipeline.in_memory(data, max_bad=max_bad, **options)
  else:
    if train:
      _check_for_training(config, data)
    found = pipeline.streamed(
      data,
      resize_shorter=resize_shorter(config, fields.image_size),
      seed=config.seed,
      max_bad=max_bad_records(config, data.count),
      threads=fields.threads,
      workers=fields.workers,
      prefetch=fields.prefetch,
      **options,
    )
  if train:
    extra = dict(zip(config.augment.extra, options['augment'].extra, strict=True))
    contracts.augmentations(extra, found.image_shape)
  return found


def load_splits(config: ConfigDict, arrays: Splits | None = None) -> dict[str, pipeline.Pipeline]:
  """The pipelines of all splits that are named: what is wrong with one is told at the start."""
  others = [name for name in ('validation', 'test') if config.dataset[name]]
  return {name: load(config, name, arrays=arrays) for name in ('train', *others)}


def max_bad_records(config: ConfigDict, count: int) -> int:
  """Records of so many that may be unreadable: the share of the config, rounded up."""
  share = math.ceil(config.dataset.max_bad_share * count - 1e-9)  # 0.29 * 100 is above 29
  return min(share, count - 1)


def overlaps(config: ConfigDict, splits: Mapping[str, pipeline.Pipeline]) -> list[str]:
  """What the splits of a training have in common, for a person; it is warned of.

  Args:
    config: checked.
    splits: pipelines of 'train', 'validation' and 'test', as many as there are.

  Raises:
    InputError: the test split shares examples with another one, and the config does not allow it.
  """
  fields, found = config.dataset, []
  for one, other in itertools.combinations(splits, 2):
    if shared := sources.shared(splits[one].spans, splits[other].spans):
      text = (
        f'config.dataset.{one}={fields[one]!r} and config.dataset.{other}={fields[other]!r} share '
        f'{shared}'
      )
      if other == 'test' and not fields.allow_overlap:
        raise InputError(f'{text}: choose others, or --config.dataset.allow_overlap=True')
      if parallel.is_main():
        LOG.warning('WARNING: %s', text)
      found.append(text)
  return found


def source(
  config: ConfigDict, split: str, *, classes: str | None = None, in_memory: bool | None = None
) -> sources.Split | sources.Records:
  """The images of 'train', 'validation' or 'test'.

  Args:
    config: checked.
    split: name of the split's field.
    classes: file that orders a folder's classes; None for the config's.
    in_memory: whether a TFDS set is decoded into memory; None for the config's.

  Raises:
    InputError: the split has no name, or is unusable.
  """
  fields = config.dataset
  if not fields[split]:
    raise InputError(f'config.dataset.{split} is empty: name a split')
  if fields.name == ARRAYS:
    raise InputError('the run was trained on arrays of a caller: give gj.evaluate its data')
  return datasets.load(
    fields.name,
    fields[split],
    fields.fields.to_dict(),
    data_dir=fields.data_dir,
    in_memory=fields.in_memory if in_memory is None else in_memory,
    splits=(fields.train, fields.validation, fields.test),
    class_list=fields.classes if classes is None else classes,
  )


def records(config: ConfigDict, split: str, classes: str) -> sources.Records:
  """The encoded images of a split; InputError where the dataset has none. See `source`."""
  found = source(config, split, classes=classes, in_memory=False)
  if isinstance(found, sources.Split):
    raise InputError(
      f'config.dataset.name={config.dataset.name!r} has no image files: use a folder or a TFDS set'
    )
  return found


def _check_for_training(config, data):
  if data.counts is not None and not data.counts.all():
    empty = [data.class_names[i].split(',')[0] for i in np.flatnonzero(data.counts == 0)]
    LOG.warning(
      'WARNING: %d of %d classes have no training image in %r: %s%s',
      len(empty),
      len(data.class_names),
      config.dataset.train,
      ', '.join(empty[:5]),
      ', ...' if empty[5:] else '',
    )
  mixing = config.augment.mixup or config.augment.cutmix
  if mixing and config.train.batch_size // jax.device_count() % 2:
    raise InputError(
      f'config.train.batch_size={config.train.batch_size} gives {jax.device_count()} devices an '
      'odd number of images each: mixup and cutmix mix streamed images in pairs'
    )


def resize_shorter(config: ConfigDict, size: int) -> int:
  """What the shorter side of a photo is resized to before a centre crop of `size` pixels."""
  return size if config.dataset.in_memory else config.eval.resize or round(size * 8 / 7)
