"""Published weights by name, and files of the Hugging Face hub."""

import importlib.util
import os
import pathlib

from googlenet_jax.errors import InputError
from googlenet_jax.fetch import Published, fetch

# The ONNX model zoo's file, which now lies with Hugging Face, and torchvision's, whose name tells
# the start of its digest.
FILES: dict[str, Published] = {
  'bvlc': Published(
    'https://huggingface.co/onnxmodelzoo/googlenet-3/resolve/main/googlenet-3.onnx',
    28_010_125,
    'a5567d71a8a3976ccaaaa7d5c5eb3755a4af049201f3243e79a0c5fcf3cbf5a7',
  ),
  'torchvision': Published(
    'https://download.pytorch.org/models/googlenet-1378be20.pth', 0, '1378be20'
  ),
}


HUB = 'hf://'  # hf://OWNER/NAME/FILE, or NAME@REVISION for another than the newest


def local(path: str) -> str:
  """The path, or where the file is kept that it names; fetched where it is not there.

  Raises:
    InputError: it cannot be fetched.
  """
  if path.startswith(HUB):
    return _of_hub(path)
  if path not in FILES or pathlib.Path(path).exists():
    return path
  cache = pathlib.Path(os.environ.get('XDG_CACHE_HOME') or '~/.cache').expanduser()
  folder = cache / 'googlenet_jax' / 'weights'
  return str(fetch(FILES[path], folder, f'put {FILES[path].name} in {folder}, or give a file'))


def _of_hub(path: str) -> str:
  """A file of the hub, fetched and kept by its own package with its settings, such as HF_TOKEN."""
  owner, name, file, *_ = (*path.removeprefix(HUB).split('/', 2), '', '')
  if not (owner and name and file):
    raise InputError(f'write {HUB}OWNER/NAME/FILE')
  if not importlib.util.find_spec('huggingface_hub'):
    raise InputError(f'{HUB} needs a package: pip install huggingface_hub')
  import huggingface_hub  # an extra

  name, _, revision = name.partition('@')
  return huggingface_hub.hf_hub_download(f'{owner}/{name}', file, revision=revision or None)
