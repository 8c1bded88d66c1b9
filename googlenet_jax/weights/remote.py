"""Published weights by name, fetched once."""

import os
import pathlib

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


def local(path: str) -> str:
  """The path, or where the file is kept that it names; fetched where it is not there.

  Raises:
    InputError: it cannot be fetched.
  """
  if path not in FILES or pathlib.Path(path).exists():
    return path
  cache = pathlib.Path(os.environ.get('XDG_CACHE_HOME') or '~/.cache').expanduser()
  folder = cache / 'googlenet_jax' / 'weights'
  return str(fetch(FILES[path], folder, f'put {FILES[path].name} in {folder}, or give a file'))
