"""Weights files as named arrays: safetensors, ONNX, torch's `.pth`.

Files are data: of a `.pth` only tensors are read, by torch's own restricted unpickler.
"""

import importlib.metadata
import importlib.util
import pathlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from googlenet_jax import files
from googlenet_jax.errors import InputError
from googlenet_jax.weights import graph

TORCH = (2, 10)  # since when `weights_only` is to be trusted
WRAPPERS = ('state_dict', 'model', 'model_state_dict')  # names of the weights in a checkpoint
SAVE = 'save model.state_dict()'
PARALLEL = 'module.'  # before every name that torch's DataParallel gives


class Tensors(NamedTuple):
  """What a weights file holds.

  Attributes:
    arrays: arrays by the names that the file gives them.
    metadata: texts by name, of a safetensors file.
    nodes: nodes of an ONNX graph, in their order.
  """

  arrays: dict[str, np.ndarray]
  metadata: Mapping[str, str] = MappingProxyType({})
  nodes: tuple[graph.Node, ...] = ()


def read(path: pathlib.Path) -> Tensors:
  """Reads a weights file by the end of its name; floating point arrays come as float32.

  Raises:
    InputError: no such file, or of no known kind.
    Exception: any kind, as the libraries raise it, for a broken file.
  """
  if not path.is_file():
    raise InputError('no such file')
  reader = next((READERS[end] for end in READERS if path.name.lower().endswith(end)), None)
  if reader is None:
    raise InputError(f'its name must end in one of {", ".join(READERS)}')
  found = reader(path)
  floats = {name: x for name, x in found.arrays.items() if x.dtype.kind in 'fV'}  # V: bfloat16
  with np.errstate(over='ignore'):  # infinity tells enough
    cast = {name: np.asarray(x, np.float32) for name, x in floats.items()}
  return found._replace(arrays={**found.arrays, **cast})


def write(path: pathlib.Path, arrays: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
  """Writes a safetensors file, whole or not at all."""
  from safetensors.numpy import save

  files.write(path, save({n: np.ascontiguousarray(x) for n, x in arrays.items()}, metadata))


def _safetensors(path):
  import safetensors

  with safetensors.safe_open(path, 'numpy') as file:
    arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return Tensors(arrays, file.metadata() or {})


def _onnx(path):
  import onnx

  read = onnx.load(path, load_external_data=False).graph
  outside = [t.name for t in read.initializer if t.data_location == onnx.TensorProto.EXTERNAL]
  if outside:
    raise InputError(f'{outside[0]!r} lies in another file, which is not read')
  sparse = [t.values.name for t in read.sparse_initializer]
  if sparse:
    raise InputError(f'{sparse[0]!r} is sparse: store it as a dense array')
  taken = {name for node in read.node for name in node.input}
  arrays = {
    t.name: onnx.numpy_helper.to_array(t)
    for t in read.initializer
    if t.name in taken or not read.node  # Caffe2 left some there that no node takes
  }
  return Tensors(arrays, nodes=graph.nodes(read))


def _torch(path):
  if importlib.util.find_spec('torch') is None:
    raise InputError('reading it needs PyTorch: pip install torch')
  version = importlib.metadata.version('torch')
  if tuple(map(int, version.split('.')[:2])) < TORCH:
    needed = '.'.join(map(str, TORCH))
    raise InputError(f'torch {version} is not safe to read it: use {needed} on')
  import io
  import pickle
  import warnings

  import torch

  data = io.BytesIO(path.read_bytes())  # a file makes room for as much as a pickle claims to hold
  try:
    with warnings.catch_warnings():  # pickles warn, and are then refused
      warnings.simplefilter('ignore')
      state = torch.load(data, map_location='cpu', weights_only=True)
  except pickle.UnpicklingError as error:  # torch advises to read it all the same
    raise InputError(f'it holds more than tensors, and only those are read: {SAVE}') from error
  if isinstance(state, dict):
    state = next((state[x] for x in WRAPPERS if isinstance(state.get(x), dict)), state)
  if not isinstance(state, dict):
    kind = type(state).__name__
    raise InputError(f'it holds a {kind} and no state dict: {SAVE}')
  for name, x in state.items():
    if not isinstance(name, str) or not isinstance(x, torch.Tensor):
      raise InputError(
        f'it is no state dict: it holds {name!r}: {type(x).__name__}, and not '
        f'tensors by name alone: {SAVE}'
      )
    if x.is_complex():
      raise InputError(f'{name!r} is complex, and no network here is')
  if sum(x.numel() * x.element_size() for x in state.values()) > path.stat().st_size:
    raise InputError('it claims more values than it holds')
  if all(name.startswith(PARALLEL) for name in state):
    state = {name.removeprefix(PARALLEL): x for name, x in state.items()}
  return Tensors({name: x.detach().float().numpy() for name, x in state.items()})


# By the end of a file's name, in small letters.
READERS = {
  '.safetensors': _safetensors,
  '.onnx': _onnx,
  '.pth': _torch,
  '.pt': _torch,
  '.pth.tar': _torch,
  '.bin': _torch,
}
