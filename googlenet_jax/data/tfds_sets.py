"""Classification sets of TensorFlow Datasets, read from ArrayRecord without TensorFlow."""

import concurrent.futures
import logging

import numpy as np
from etils import epath

from googlenet_jax.data import prepare
from googlenet_jax.data.sources import Records, Span, Split, digest_of
from googlenet_jax.errors import InputError

LOG = logging.getLogger('googlenet_jax')


def tfds_set(
  name: str, split: str, *, data_dir: str = '', in_memory: bool = True
) -> Split | Records:
  """A classification set, decoded into memory or as records; see `load`."""
  return (load if in_memory else records)(name, split, data_dir)


def load(name: str, split: str, data_dir: str = '') -> Split:
  """The images of a classification set, decoded into memory.

  Args:
    name: name of the set, 'cifar10'.
    split: split in TFDS's notation, 'train[:45000]'.
    data_dir: folder that holds TFDS sets; '' for TFDS's own default.

  Raises:
    InputError: absent, unprepared or unusable set, images of several sizes, or an empty split.
  """
  builder, features = _open(name, split, data_dir)
  if None in features['image'].shape:
    raise InputError(
      f'dataset {name!r} has images of shape {features["image"].shape}: only those of one size '
      'can be held in memory; stream them with --config.dataset.in_memory=False'
    )
  source = builder.as_data_source(split)
  count = len(source)
  LOG.info('decoding %s %s: %d images', name, split, count)
  images = np.zeros((count, *features['image'].shape), np.uint8)
  labels, valid = np.zeros(count, np.int32), np.ones(count, bool)
  for i in range(count):
    try:
      record = source[i]
      images[i], labels[i] = record['image'], record['label']
    except Exception as error:  # decoders raise anything on broken data
      valid[i], why = False, error
      LOG.warning('%s %s: record %d left out: %s', name, split, i, error)
  if not valid.any():
    raise InputError(
      f'dataset {name!r}: none of the {count} records of {split!r} can be read: {why}'
    )
  readable = np.flatnonzero(valid)
  for i in np.flatnonzero(~valid):  # black images would count in batch statistics
    other = readable[np.searchsorted(readable, i) % len(readable)]
    images[i], labels[i] = images[other], labels[other]
  names = tuple(features['label'].names)
  return Split(images, labels, valid, names, _spans(builder, split))


def records(name: str, split: str, data_dir: str = '') -> Records:
  """The encoded images of a classification set; see `load` for the arguments."""
  import tensorflow_datasets as tfds

  builder, features = _open(name, split, data_dir)
  source = builder.as_data_source(split, decoders={'image': tfds.decode.SkipDecoding()})

  def read(i):
    record = source[i]
    return record['image'], record['label']

  def digest():
    parts = builder.info.splits[split].file_instructions
    paths = [epath.Path(part.filename) for part in parts]
    files = [(path.name, part.skip, part.take) for path, part in zip(paths, parts, strict=True)]
    with concurrent.futures.ThreadPoolExecutor(32) as pool:  # in a bucket each takes 50 ms
      sizes = list(pool.map(lambda path: path.stat().length, paths))
    return digest_of(str(builder.info.version), files, sizes)

  return Records(
    count=len(source),
    read=read,
    name=lambda i: f'{name} {split}, record {i}',
    class_names=tuple(features['label'].names),
    digest=digest,
    channels=1 if features['image'].shape[-1] == 1 else 3,
    spans=_spans(builder, split),
  )


def _spans(builder, split: str) -> tuple[Span, ...]:
  import tensorflow_datasets as tfds

  infos = builder.info.splits
  instructions = tfds.core.ReadInstruction.from_spec(split).to_absolute(infos)
  return tuple(
    Span(x.splitname, x.from_ or 0, infos[x.splitname].num_examples if x.to is None else x.to)
    for x in instructions
  )


def _open(name: str, split: str, data_dir: str):
  """A TFDS set's builder and features; prepares the set where it must.

  Raises:
    InputError: it cannot be prepared, is damaged, is no classification set of uint8 images, or has
      no such split.
  """
  prepared = prepare.ensure(name, data_dir)

  import tensorflow_datasets as tfds  # reads ArrayRecord without TensorFlow

  logging.getLogger('absl').addFilter(lambda record: 'OpenCV' not in record.getMessage())
  try:
    builder = tfds.builder_from_directory(prepared)
  except Exception as error:  # a damaged set: TFDS raises anything then
    raise InputError(
      _damaged(name, prepared, str(error).strip().splitlines()[0].rstrip('.'))
    ) from error
  features = builder.info.features
  missing = {'image', 'label'} - set(features)
  if missing or not hasattr(features['label'], 'names'):
    raise InputError(
      f'dataset {name!r} in {prepared} is no classification set: it needs the features '
      f'"image" and "label", it has {", ".join(features)}'
    )
  if features['image'].np_dtype != np.uint8:
    raise InputError(
      f'dataset {name!r} in {prepared} has images of {features["image"].np_dtype}: only uint8 is '
      'read; prepare it with images of 8 bits'
    )
  try:
    files = builder.info.splits[split].file_instructions
  except (ValueError, AssertionError, KeyError, NotImplementedError) as error:
    raise InputError(
      f'dataset {name!r} in {prepared} has no split {split!r} (it has '
      f'{", ".join(f"{k} of {v.num_examples}" for k, v in builder.info.splits.items())}): '
      f'{str(error).splitlines()[0]}'
    ) from error
  if not files:
    raise InputError(f'dataset {name!r} in {prepared}: split {split!r} holds no example')
  there = {path.name for path in prepared.iterdir()}
  lacking = [
    name for name in (epath.Path(file.filename).name for file in files) if name not in there
  ]
  if lacking:
    raise InputError(_damaged(name, prepared, f'it lacks {lacking[0]}'))
  return builder, features


def _damaged(name, prepared, why):
  return f'dataset {name!r} in {prepared} is damaged: {why}: remove it and prepare it again'
