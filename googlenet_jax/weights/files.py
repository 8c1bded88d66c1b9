"""Weights files as named arrays: safetensors, ONNX, torch's `.pth`. Files are data: no pickle."""

import importlib.metadata
import importlib.util
import pathlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from googlenet_jax.errors import InputError

TORCH = (2, 10)  # since when `weights_only` is to be trusted


class Tensors(NamedTuple):
  """What a weights file holds.

  Attributes:
    arrays: by the names that the file gives them.
    metadata: of a safetensors file.
    pools: of an ONNX graph, its MaxPool nodes' attributes in their order.
  """

  arrays: dict[str, np.ndarray]
  metadata: Mapping[str, str] = MappingProxyType({})
  pools: tuple[dict, ...] = ()


def read(path: pathlib.Path) -> Tensors:
  """Reads a weights file by its extension.

  Raises:
    InputError: no such file, of no known kind, broken, or with values that are not finite.
  """
  readers = {'.safetensors': _safetensors, '.onnx': _onnx, '.pth': _torch, '.pt': _torch}
  if path.suffix not in readers:
    raise InputError(f'--weights={path}: its name must end in one of {", ".join(readers)}')
  if not path.is_file():
    raise InputError(f'--weights={path}: no such file')
  found = readers[path.suffix](path)
  for name, array in found.arrays.items():
    if array.dtype.kind == 'f' and not np.isfinite(array).all():
      raise InputError(f'--weights={path}: {name!r} holds values that are not finite')
  return found


def write(path: pathlib.Path, arrays: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
  """Writes a safetensors file, whole or not at all."""
  from safetensors.numpy import save_file

  part = path.with_name(path.name + '.part')
  arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
  save_file(arrays, part, metadata)
  part.replace(path)


def _safetensors(path):
  import safetensors

  try:
    with safetensors.safe_open(path, 'numpy') as file:
      arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
      return Tensors(arrays, file.metadata() or {})
  except (safetensors.SafetensorError, OSError, TypeError) as error:
    raise InputError(f'--weights={path} is no usable safetensors file: {error}') from error


def _onnx(path):
  import google.protobuf.message
  import onnx

  try:
    graph = onnx.load(path, load_external_data=False).graph
    outside = [t.name for t in graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL]
    if outside:
      raise InputError(f'--weights={path}: {outside[0]!r} lies in another file, which is not read')
    arrays = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
  except (google.protobuf.message.DecodeError, ValueError, TypeError, OSError) as error:
    raise InputError(f'--weights={path} is no usable ONNX file: {error}') from error
  pools = tuple(
    {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    for node in graph.node
    if node.op_type == 'MaxPool'
  )
  return Tensors(arrays, pools=pools)


def _torch(path):
  if importlib.util.find_spec('torch') is None:
    raise InputError(f'--weights={path}: reading it needs PyTorch: pip install torch')
  version = importlib.metadata.version('torch')
  if tuple(map(int, version.split('.')[:2])) < TORCH:
    needed = '.'.join(map(str, TORCH))
    raise InputError(f'--weights={path}: torch {version} is not safe to read it: use {needed} on')
  import pickle

  import torch

  try:
    state = torch.load(path, map_location='cpu', weights_only=True)
    if not isinstance(state, dict):
      raise AttributeError(f'it holds a {type(state).__name__}')
    return Tensors({name: tensor.numpy() for name, tensor in state.items()})
  except (
    pickle.UnpicklingError,
    RuntimeError,
    OSError,
    EOFError,
    AttributeError,
    TypeError,
  ) as error:
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    raise InputError(f'--weights={path} is no state dict of tensors: {first}') from error
