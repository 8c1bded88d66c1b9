"""Finds a prepared TFDS set, and prepares one in a child process.

Preparing needs TensorFlow and a network; reading what is prepared needs neither.
"""

import http.client
import importlib.util
import json
import logging
import pathlib
import subprocess
import sys
import threading
import urllib.error
import urllib.request

from googlenet_jax.errors import InputError

LOG = logging.getLogger('googlenet_jax')

TENSORFLOW = 'tensorflow-cpu>=2.20,<2.22'  # 2.21 installs beside the rest

# Where the sets that fit in memory come from: asked once before anything is started,
# because TFDS itself retries for minutes without a network.
HOSTS = {
  'cifar10': 'https://www.cs.toronto.edu',
  'cifar100': 'https://www.cs.toronto.edu',
  'svhn_cropped': 'http://ufldl.stanford.edu',
}
DEFAULT_HOST = 'https://storage.googleapis.com'  # TFDS's own bucket

CHILD = """
import sys, tensorflow_datasets as tfds
name, folder = sys.argv[1:]
tfds.builder(name, data_dir=folder, file_format='array_record').download_and_prepare()
"""


def find(name: str, folder: pathlib.Path) -> pathlib.Path | None:
  """The directory of the newest prepared version of a TFDS set, or None.

  Raises:
    InputError: it is there, but in a format that has no random access.
  """
  base = folder / name.replace(':', '/')
  infos = [base / 'dataset_info.json', *base.glob('*/dataset_info.json')]
  found = [info.parent for info in infos if info.is_file()]
  if not found:
    return None

  def version(path):
    return tuple(int(n) if n.isdigit() else -1 for n in path.name.split('.'))

  newest = max(found, key=version)
  info = json.loads((newest / 'dataset_info.json').read_text())
  forms = [info.get('fileFormat', 'tfrecord'), *info.get('alternativeFileFormats', [])]
  if 'array_record' not in forms:
    raise InputError(
      f'dataset {name!r} in {newest} is stored as {forms[0]}, which has no random access: add '
      f'ArrayRecord files to it with "tfds convert_format --dataset_version_dir={newest} '
      f"--out_file_format=array_record\" (after: pip install '{TENSORFLOW}' apache-beam "
      'mlcroissant)'
    )
  return newest


def prepare(name: str, folder: pathlib.Path) -> pathlib.Path:
  """Downloads and prepares a TFDS set as ArrayRecord, in a child process.

  Returns:
    The directory of the prepared set.

  Raises:
    InputError: no TensorFlow, no network (found out within 10 seconds), or it failed.
  """
  ways_out = (
    f'dataset {name!r} is not prepared in {folder}: give --config.dataset.data_dir=DIR of a '
    'folder that holds it as ArrayRecord'
  )
  if importlib.util.find_spec('tensorflow') is None:
    raise InputError(f"{ways_out}, or let it be prepared here after: pip install '{TENSORFLOW}'")
  host = HOSTS.get(name.split('/')[0].split(':')[0], DEFAULT_HOST)
  if not _reachable(host):
    raise InputError(f'{ways_out}, or run once where there is a network ({host} does not answer)')
  LOG.info('preparing %s in %s', name, folder)
  child = subprocess.run([sys.executable, '-c', CHILD, name, str(folder)], check=False)
  prepared = find(name, folder)
  if child.returncode or prepared is None:
    raise InputError(f'{ways_out}; preparing it failed with status {child.returncode}, see above')
  return prepared


def _reachable(url: str, seconds: float = 4.0) -> bool:
  """Whether a server answers at all, any status; the name lookup counts in the time."""
  answered = threading.Event()

  def ask():
    try:
      urllib.request.urlopen(urllib.request.Request(url, method='HEAD'), timeout=seconds).close()
      answered.set()
    except urllib.error.HTTPError:
      answered.set()
    except (OSError, http.client.HTTPException):
      pass

  thread = threading.Thread(target=ask, daemon=True)  # a hanging lookup must not hold the exit
  thread.start()
  thread.join(seconds)
  return answered.is_set()
