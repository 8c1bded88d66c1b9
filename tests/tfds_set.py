"""A small TFDS set, prepared as TFDS itself does it."""

import io
import pathlib

import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from PIL import Image


def tfds_set(
  path: pathlib.Path,
  labels: tuple[int, ...] = (0, 1, 2, 1),
  channels: int = 3,
  feature: str = 'label',
  dtype: type = np.uint8,
  broken: tuple[int, ...] = (),
) -> pathlib.Path:
  """A prepared set 'made' of three classes; pixels of record `i` are `80 + i`, some are no PNGs."""
  folder = path / 'made' / '1.0.0'
  folder.mkdir(parents=True)
  features = tfds.features.FeaturesDict(
    {
      'image': tfds.features.Image(shape=(8, 8, channels), dtype=dtype),
      feature: tfds.features.ClassLabel(num_classes=3),
    }
  )
  serializer = tfds.core.example_serializer.ExampleSerializer(features.get_serialized_info())
  writer = ArrayRecordWriter(str(folder / 'made-train.array_record-00000-of-00001'))
  for i, label in enumerate(labels):
    image = io.BytesIO()
    Image.fromarray(np.full((8, 8, channels), 80 + i, np.uint8).squeeze()).save(image, 'PNG')
    data = b'no PNG' if i in broken else image.getvalue()
    writer.write(serializer.serialize_example({'image': data, feature: label}))
  writer.close()
  template = tfds.core.ShardedFileTemplate(
    data_dir=folder, dataset_name='made', split='train', filetype_suffix='array_record'
  )
  split = tfds.core.SplitInfo(
    name='train', shard_lengths=[len(labels)], num_bytes=0, filename_template=template
  )
  tfds.folder_dataset.write_metadata(
    data_dir=folder, features=features, split_infos=[split], check_data=False
  )
  return folder
