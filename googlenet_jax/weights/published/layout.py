"""What a layout of published weights tells: how a file names each array, and how it lies there."""

import re
from collections.abc import Callable, Collection
from typing import NamedTuple

import numpy as np

from googlenet_jax.weights.files import Tensors
from googlenet_jax.weights.graph import Wiring

# PyTorch's and Caffe's names of what a layer holds.
WEIGHT = {'kernel': 'weight', 'bias': 'bias'}
BATCH_NORM = {'scale': 'weight', 'bias': 'bias', 'mean': 'running_mean', 'var': 'running_var'}
CAFFE_WEIGHT = {'kernel': 'w', 'bias': 'b'}
# Of pools in ONNX: 'ceil' pads one pixel, where one is missing.
PADS = {'floor': (0, 0, 0, 0), 'ceil': (0, 0, 1, 1)}
# Arrays that no network needs: PyTorch's counts of batches, shapes in the ONNX zoo's files.
IGNORED = re.compile(r'.*(\.num_batches_tracked|OC2_DUMMY_\d+)')


class Layout(NamedTuple):
  """Weights of one origin.

  Attributes:
    model: name of the network.
    recognise: function `(names of a file's arrays) ->` whether the file is of this origin.
    preprocessing: name of the steps from a photo to the network's images, a key of
      `variants.PREPROCESSINGS`.
    name: function `(path of an array of ours) -> name in the file`; KeyError where it has none.
    convert: function `(path, array in the file) -> array of ours`, but for the order of the axes.
    fields: function `(file) ->` fields of the network that the file tells.
    prepare: function `(arrays of the file) ->` the same with those merged that are one of ours.
    graph: function `(file) ->` the nodes that its ONNX graph has to have; None where no graph of
      this origin is known.
    classifier: name of ours for the layer to the classes.
  """

  model: str
  recognise: Callable[[Collection[str]], bool]
  preprocessing: str
  name: Callable[[tuple[str, ...]], str]
  convert: Callable[[tuple[str, ...], np.ndarray], np.ndarray] = lambda path, array: array
  fields: Callable[[Tensors], dict] = lambda file: {}
  prepare: Callable[[dict], dict] = lambda arrays: arrays
  graph: Callable[[Tensors], Wiring] | None = None
  classifier: str = 'linear'

  def rename(self, arrays: dict[str, np.ndarray], wanted: Collection[tuple[str, ...]]) -> dict:
    """A file's arrays by our paths, their axes in our order.

    Args:
      arrays: arrays by the file's names.
      wanted: paths of the network's arrays.

    Returns:
      Arrays by path; one of no known name that is not `IGNORED` is at `('file', name)`.
    """
    arrays, result, used = self.prepare(arrays), {}, set()
    for path in wanted:
      try:
        name = self.name(path)
      except KeyError:  # a layer that this origin has no name for
        continue
      if name in arrays:
        used.add(name)
        array = self.convert(path, arrays[name])
        if path[-1] == 'kernel':
          axes = {4: (2, 3, 1, 0), 2: (1, 0)}.get(array.ndim, range(array.ndim))
          # OIHW -> HWIO, [out, in] -> [in, out]
          array = np.ascontiguousarray(array.transpose(axes))
        result[path] = array
    left = [name for name in arrays if name not in used and not IGNORED.fullmatch(name)]
    return result | {('file', name): arrays[name] for name in left}


def rgb(path: tuple[str, ...], array: np.ndarray, first: str = 'conv1') -> np.ndarray:
  """An array of a network of Caffe's, which takes BGR where all of ours take RGB."""
  return array[:, ::-1] if path[-2:] == (first, 'kernel') and array.ndim == 4 else array
