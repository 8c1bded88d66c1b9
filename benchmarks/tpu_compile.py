"""Compiles the training step for TPUs on a machine that has none, and reads what it would cost.

    pip install -r benchmarks/requirements.txt
    python -m benchmarks.tpu_compile --config=configs/imagenet_bn.py --topology=v5e:2x2

The step is the pmapped one of the training loop, with augmentation, optimizer and metrics, for
images that the host feeds as bytes. All is for one chip; the bound is the longer of arithmetic and
memory traffic at its peak rates. Some minutes a topology on two cores.
"""

import math
import os
import time

import jax
import numpy as np
from absl import app, flags
from jax.experimental import topologies
from ml_collections import config_flags

from benchmarks import machine, tpu_traffic
from googlenet_jax import checks, experiment, parallel
from googlenet_jax.data import augmentations, pipeline, sources

CONFIG = config_flags.DEFINE_config_file('config', 'configs/imagenet_bn.py', 'config to compile')
TOPOLOGY = flags.DEFINE_list('topology', ['v5e:2x2'], 'as jax names them; v5e:16x16 is 256 chips')
BATCH = flags.DEFINE_integer('batch', 128, 'images a chip')
SIZE = flags.DEFINE_integer('image_size', 224, "pixels, where the config leaves the images' own")
CLASSES = flags.DEFINE_integer('classes', 1000, 'number of classes')
JSON = flags.DEFINE_string('json', '', 'file for the figures')

# Peak rates of a chip: bfloat16 FLOP/s, bytes/s of its memory (Google's documentation of v5e).
PEAK = {'v5e': (197e12, 819e9)}


def lower(config, devices):
  """The training step of `config`, lowered for `devices`, and the bytes of its parameters."""
  size = config.dataset.image_size or SIZE.value
  names = tuple(str(i) for i in range(CLASSES.value))
  data = pipeline.streamed(
    sources.Records(1_281_167, None, str, names),  # shapes are all that is looked at
    train=True,
    mean=config.dataset.mean,
    std=config.dataset.std,
    image_size=size,
    resize_shorter=size,
    augment=augmentations.create(**config.augment.to_dict()),
  )
  run = experiment.Run(config, data)
  batch = (len(devices), 1, BATCH.value)
  host_batch = {
    'image': jax.ShapeDtypeStruct((*batch, size, size, 3), np.uint8),
    'label': jax.ShapeDtypeStruct(batch, np.int32),
    'valid': jax.ShapeDtypeStruct(batch, np.bool_),
  }
  count = jax.ShapeDtypeStruct((), np.int32)
  step = parallel.MappedStep(run.one_device, 3, devices)
  state = run.shapes()
  parameters = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state.params))
  return step.lower(state, host_batch, (), run.key, count), parameters


def main(_):
  """Prints a line a topology."""
  config, rows = CONFIG.value, {}
  checks.check(config)
  unknown = [name for name in TOPOLOGY.value if name.split(':')[0] not in PEAK]
  if unknown:
    raise app.UsageError(f'--topology={unknown[0]}: the peak rates are known of {", ".join(PEAK)}')
  for topology in TOPOLOGY.value:
    kind = topology.split(':')[0]
    devices = topologies.get_topology_desc(topology, 'tpu').devices
    config.train.batch_size = BATCH.value * len(devices)
    began = time.monotonic()
    lowered, parameters = lower(config, devices)
    compiled = lowered.compile()
    cost, memory = compiled.cost_analysis(), compiled.memory_analysis()
    program, counted = compiled.as_text(), cost['bytes accessed']
    read = tpu_traffic.traffic(program)
    if not math.isclose(read.counted, counted, rel_tol=0.02):
      raise ValueError(f'{read.counted:,} bytes read off the program, XLA counts {counted:,.0f}')
    flops, moved = cost['flops'] / BATCH.value, read.hbm / BATCH.value
    seconds = [amount / rate for amount, rate in zip((flops, moved), PEAK[kind], strict=True)]
    rows[topology] = {
      'chips': len(devices),
      'images_a_chip': BATCH.value,
      'gflop_an_image': flops / 1e9,
      'traffic_mb_an_image': moved / 1e6,
      'counted_by_xla_mb_an_image': counted / BATCH.value / 1e6,
      'all_reduced_mb': tpu_traffic.given(program, r'all-reduce(?:-start)?\(') / 1e6,
      'parameters_mb': parameters / 1e6,
      'temporaries_gb': memory.temp_size_in_bytes / 1e9,
      'bound_images_per_second_a_chip': 1 / max(seconds),
      'bound_by': ('arithmetic', 'memory traffic')[int(np.argmax(seconds))],
      'compile_seconds': time.monotonic() - began,
    }
    row = rows[topology]
    print(
      f'{topology}, {row["chips"]} chips: {row["gflop_an_image"]:.2f} GFLOP and '
      f'{row["traffic_mb_an_image"]:.0f} MB of memory traffic an image, '
      f'{row["temporaries_gb"]:.2f} GB of temporaries; {row["all_reduced_mb"]:.1f} MB all-reduced '
      f'for {row["parameters_mb"]:.1f} MB of parameters; at most '
      f'{row["bound_images_per_second_a_chip"]:,.0f} images/s a chip, by {row["bound_by"]}; '
      f'compiled in {row["compile_seconds"]:.0f} s',
      flush=True,
    )
  about = machine.describe('jaxlib', 'libtpu', 'flax')
  print(f'XLA estimates, nothing was run; {about}')
  machine.save(JSON.value, about, rows)


if __name__ == '__main__':
  jax.config.update('jax_platforms', 'cpu')
  # libtpu asks the machine for these where they are not set.
  os.environ.setdefault('TPU_ACCELERATOR_TYPE', 'v5litepod-4')
  os.environ.setdefault('TPU_WORKER_HOSTNAMES', 'localhost')
  os.environ.setdefault('TPU_SKIP_MDS_QUERY', '1')
  app.run(main)
