"""Finds a prepared TFDS set, and prepares or converts one in a child process.

Preparing needs TensorFlow and most often a network; reading what is prepared needs neither.
"""

import http.client
import importlib.util
import json
import logging
import os
import shutil
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from typing import NamedTuple

from etils import epath

from googlenet_jax import files, parallel
from googlenet_jax.errors import InputError

LOG = logging.getLogger('googlenet_jax')

TENSORFLOW = 'tensorflow-cpu>=2.20,<2.22'  # 2.21 installs beside the rest
CONVERTER = ('tensorflow', 'apache_beam', 'mlcroissant')  # what `tfds convert_format` imports


class Known(NamedTuple):
  """What TFDS does not tell before it has asked the network.

  Attributes:
    host: asked once before anything is started, because TFDS itself retries for minutes
      without a network; '' where archives are put there by hand.
    space: disk for downloads and prepared files, GB (TFDS's catalog); 0 leaves the check to
      TFDS, which makes it once it knows.
    archives: files that have to be in `downloads/manual`.
    source: page that offers them.
  """

  host: str
  space: float
  archives: tuple[str, ...] = ()
  source: str = ''


BUCKET = 'https://storage.googleapis.com'  # TFDS's own
SETS = {
  'cifar10': Known('https://www.cs.toronto.edu', 0.4),
  'cifar100': Known('https://www.cs.toronto.edu', 0.4),
  'svhn_cropped': Known('http://ufldl.stanford.edu', 3.2),
  'mnist': Known(BUCKET, 0.1),
  'fashion_mnist': Known('http://fashion-mnist.s3-website.eu-central-1.amazonaws.com', 0.1),
  'imagenette': Known('https://s3.amazonaws.com', 3.2),
  'imagenet2012': Known(
    '',
    168.0,
    ('ILSVRC2012_img_train.tar', 'ILSVRC2012_img_val.tar'),
    'https://image-net.org/download-images, after registration',
  ),
}

PATIENCE = 4.0  # seconds for a server to answer

PREPARE = """
import sys, tensorflow_datasets as tfds
name, folder = sys.argv[1:]
tfds.builder(name, data_dir=folder, file_format='array_record').download_and_prepare()
"""
CONVERT = """
import sys
from tensorflow_datasets.scripts.cli import main
sys.argv[0] = 'tfds'
main.launch_cli()
"""


def folder_of_sets(data_dir: str) -> epath.Path:
  """The folder that holds TFDS sets; '' is TFDS's own default."""
  default = os.environ.get('TFDS_DATA_DIR', '~/tensorflow_datasets')
  return epath.Path(data_dir or default).expanduser()


def find(name: str, folder: epath.Path) -> epath.Path | None:
  """The directory of the newest prepared version of a TFDS set, in any format, or None.

  Raises:
    InputError: the folder cannot be read.
  """
  base = folder / name
  with files.readable(f'--config.dataset.data_dir={folder}'):
    infos = [base / 'dataset_info.json', *base.glob('*/dataset_info.json')]
    found = [info.parent for info in infos if info.exists()]
    if not found:  # a set of several variants, of which one is there: `name/variant/version`
      found = [info.parent for info in base.glob('*/*/dataset_info.json')]
      found = found if len({path.parent for path in found}) == 1 else []

  def version(path):
    return tuple(int(n) if n.isdigit() else -1 for n in path.name.split('.'))

  return max(found, key=version, default=None)


def formats(prepared: epath.Path) -> list[str]:
  """The formats that a prepared set is there in, that of its preparation first.

  Raises:
    InputError: the set is damaged.
  """
  path = prepared / 'dataset_info.json'
  try:
    info = json.loads(path.read_text())
  except ValueError as error:
    raise InputError(f'{path} is damaged ({error}): remove the set and prepare it again') from error
  return [info.get('fileFormat', 'tfrecord'), *info.get('alternativeFileFormats', [])]


def ensure(name: str, data_dir: str) -> epath.Path:
  """The directory of a set as ArrayRecord; prepares or converts it where it must.

  Raises:
    InputError: preparing is impossible here, or failed.
  """
  folder = folder_of_sets(data_dir)
  prepared = find(name, folder)
  if prepared and 'array_record' in formats(prepared):
    return prepared
  if parallel.several_processes():
    raise InputError(
      f'dataset {name!r} is not prepared in {folder}: --mode=prepare, in one process'
    )
  if prepared is None:
    _prepare(name, folder)
  else:
    _convert(name, prepared)
  prepared = find(name, folder)
  if prepared is None or 'array_record' not in formats(prepared):
    raise InputError(f'dataset {name!r} was not found in {folder} after preparing it')
  return prepared


def _prepare(name: str, folder: epath.Path) -> None:
  """Downloads a TFDS set and writes it as ArrayRecord, in a child that shows its progress."""
  ways_out = (
    f'dataset {name!r} is not prepared in {folder}: give --config.dataset.data_dir=DIR of a '
    'folder that holds it as ArrayRecord'
  )
  known = SETS.get(name.split('/')[0], Known(BUCKET, 0))
  manual = folder / 'downloads' / 'manual'
  missing = [archive for archive in known.archives if not (manual / archive).exists()]
  if missing:
    raise InputError(
      f'{ways_out}, or put {" and ".join(missing)} ({known.source}) in {manual} and run '
      '--mode=prepare'
    )
  if importlib.util.find_spec('tensorflow') is None:
    raise InputError(f"{ways_out}, or let it be prepared here after: pip install '{TENSORFLOW}'")
  _check_space(folder, known.space, f'preparing {name!r}')
  if known.host and not _reachable(known.host):
    raise InputError(
      f'{ways_out}, or run once where there is a network ({known.host} does not answer)'
    )
  LOG.info('preparing %s in %s', name, folder)
  status = _child(PREPARE, name, str(folder))
  if status:
    raise InputError(f'{ways_out}; preparing it failed with status {status}, see above')


def _convert(name: str, prepared: epath.Path) -> None:
  """Adds ArrayRecord files to a set that was prepared in another format."""
  problem = f'dataset {name!r} in {prepared} is stored as {formats(prepared)[0]}'
  missing = [module for module in CONVERTER if importlib.util.find_spec(module) is None]
  if missing:
    raise InputError(
      f'{problem}, which has no random access: it is converted by --mode=prepare after: pip '
      f"install '{TENSORFLOW}' apache-beam mlcroissant"
    )
  there = sum(path.stat().length for path in prepared.iterdir()) / 1e9
  _check_space(prepared, there, f'converting {name!r}')
  LOG.info('converting %s to ArrayRecord', prepared)
  status = _child(
    CONVERT, 'convert_format', f'--dataset_version_dir={prepared}', '--out_file_format=array_record'
  )
  if status:
    raise InputError(f'{problem}; converting it failed with status {status}, see above')


def _child(code: str, *arguments: str) -> int:
  """Runs Python code in a process of its own, which keeps TensorFlow out of this one."""
  environment = os.environ | {'TF_CPP_MIN_LOG_LEVEL': '2', 'CUDA_VISIBLE_DEVICES': ''}
  command = [sys.executable, '-c', code, *arguments]
  return subprocess.run(command, env=environment, check=False).returncode


def _check_space(folder: epath.Path, needed: float, what: str) -> None:
  """Raises InputError if the disk of a local folder has less than `needed` GB left."""
  if '://' in str(folder):
    return
  there = next(path for path in (folder, *folder.parents) if path.exists())
  free = shutil.disk_usage(there).free / 1e9
  if free < needed:
    raise InputError(f'{what} takes {needed:.1f} GB in {folder}, which has {free:.1f} GB left')


def _reachable(url: str) -> bool:
  """Whether a server answers within `PATIENCE`, any status; the name lookup counts in it."""
  answered = threading.Event()

  def ask():
    try:
      urllib.request.urlopen(urllib.request.Request(url, method='HEAD'), timeout=PATIENCE).close()
      answered.set()
    except urllib.error.HTTPError:
      answered.set()
    except (OSError, http.client.HTTPException):
      pass

  thread = threading.Thread(target=ask, daemon=True)  # a hanging lookup must not hold the exit
  thread.start()
  thread.join(PATIENCE)
  return answered.is_set()
