"""Every test runs on four virtual devices, with the program's own XLA flags; what is compiled is
compiled once a session, or kept in JAX_COMPILATION_CACHE_DIR where that is set.
"""

import gc
import os
import pathlib
import tempfile

import jax
import numpy as np
import pytest
from PIL import Image

from configs import default
from googlenet_jax import startup

SHARED = pathlib.Path(__file__).resolve().parents[2] / 'shared' / 'data'

os.environ['XLA_FLAGS'] = startup.xla_flags()
startup.keep_memory()
startup.collect_seldom()
jax.config.update('jax_platforms', 'cpu')
jax.config.update('jax_num_cpu_devices', 4)
# The programs that tests start: on a CPU too, with as many devices as a test says, and no proxy
# between them and servers of the tests.
os.environ['JAX_PLATFORMS'] = 'cpu'
os.environ.pop('JAX_NUM_CPU_DEVICES', None)
os.environ['no_proxy'] = os.environ['NO_PROXY'] = '127.0.0.1,localhost'
# One program may read what another is still writing into the cache of compiled programs: jax warns
# and compiles it again.
os.environ['PYTHONWARNINGS'] = 'ignore:Error reading persistent compilation cache entry'


def pytest_configure(config):
  """Workers and the programs that they start compile the same things: once."""
  if not hasattr(config, 'workerinput'):  # the session itself, not a worker of it
    if 'JAX_COMPILATION_CACHE_DIR' not in os.environ:
      config.compiled = tempfile.TemporaryDirectory(
        prefix='googlenet_jax_tests_', ignore_cleanup_errors=True
      )
      os.environ['JAX_COMPILATION_CACHE_DIR'] = config.compiled.name
    # All of it: a program is made of hundreds that take less than the second of jax's default.
    os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0'
  jax.config.update('jax_compilation_cache_dir', os.environ['JAX_COMPILATION_CACHE_DIR'])
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)


def pytest_collection_finish():
  """What is imported stays: the garbage collector need not look at it each time."""
  gc.collect()
  gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish():
  """Collects the garbage of a worker before xdist counts it as finished.

  pytest then collects five times more. What jax has compiled takes so long that xdist's limit of
  5 s passed and a KeyboardInterrupt ended the worker: what is left is frozen, and passed over.
  """
  gc.collect()
  gc.freeze()


def pytest_unconfigure(config):
  """Removes what was compiled."""
  if hasattr(config, 'compiled'):
    config.compiled.cleanup()


@pytest.fixture
def cifar10_dir():
  """Folder that holds the real CIFAR-10 as ArrayRecord; skips where there is none."""
  folder = SHARED / 'tfds'
  if not (folder / 'cifar10').is_dir():
    pytest.skip(f'no prepared CIFAR-10 in {folder}')
  return str(folder)


@pytest.fixture
def val_photos():
  """Folder of 200 real photos, `<WordNet id>/*.JPEG`; skips where there is none."""
  folder = SHARED / 'photos' / 'val'
  if not folder.is_dir():
    pytest.skip(f'no photos in {folder}')
  return folder


@pytest.fixture
def bvlc(val_photos):
  """Path of the published weights; skips where they are absent."""
  path = val_photos.parents[1] / 'weights' / 'bvlc_googlenet.onnx'
  if not path.is_file():
    pytest.skip(f'no weights in {path}')
  return path


@pytest.fixture(scope='session')
def two_classes(tmp_path_factory):
  """Folder of 40 made photos, reddish 'dusk' and bluish 'noon', of several sizes and formats."""
  folder = tmp_path_factory.mktemp('photos')
  rng = np.random.default_rng(0)
  for name, color in (('dusk', (200, 90, 60)), ('noon', (60, 120, 210))):
    (folder / name).mkdir()
    for i in range(20):
      height, width = rng.integers(40, 120, 2)
      coarse = rng.normal(color, 40, (6, 8, 3)).clip(0, 255).astype(np.uint8)
      image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
      image.save(folder / name / f'{i:02}.jpg', 'PNG' if i % 10 == 3 else 'JPEG')
  return folder


def tiny_config():
  """A config that trains in seconds: 64 digits, one module of two branches, one auxiliary head."""
  c = default.get_config()
  c.model.width = 0.1
  c.model.fields = {'modules': {'3a': (8, 0, 0, 8, 8, 0)}}  # most of a test is tracing: few layers
  c.model.norm = 'batch'
  c.model.stem = 'compact'
  c.model.aux_heads = ('3a',)
  c.train.sync_batch_norm = True
  c.dataset.train = 'train[:64]'
  c.dataset.validation = 'train[1200:1237]'
  c.dataset.test = 'test[:50]'
  c.augment.pad = 1
  c.train.duration = '4 epochs'
  c.train.batch_size = 24
  c.optimizer.lr = 0.05
  c.average.name = 'ema'
  c.average.decay = 0.9
  c.eval.batch_size = 16
  c.log.every = '3 steps'
  c.log.pictures = False  # a second each
  return c


@pytest.fixture
def tiny():
  """The config that trains in seconds."""
  return tiny_config()
