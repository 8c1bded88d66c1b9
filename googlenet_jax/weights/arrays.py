"""A network's arrays by path: which it has, and how others differ from them."""

import flax.linen as nn
from flax.traverse_util import flatten_dict

from googlenet_jax import train_state

Path = tuple[str, ...]  # ('params', 'inception_3a', 'conv_1x1', 'kernel')


def expected(model: nn.Module, image_shape: tuple[int, int, int]) -> dict:
  """Shapes and types of a network's arrays, by path."""
  return flatten_dict(train_state.abstract_variables(model, image_shape))


def traced(model: nn.Module, image_shape: tuple[int, int, int]) -> tuple[dict, dict]:
  """`expected`, and the network's modules by path; one trace, which takes a second."""
  modules = {}

  def record(method, args, kwargs, context):
    modules[context.module.path] = context.module
    return method(*args, **kwargs)

  with nn.intercept_methods(record):
    return expected(model, image_shape), modules


def differences(wanted: dict, arrays: dict) -> str:
  """What is missing, extra and of another shape, by name; '' for nothing."""
  shapes = [
    f'{"/".join(path)} is {arrays[path].dtype}{list(arrays[path].shape)}, not '
    f'{wanted[path].dtype}{list(wanted[path].shape)}'
    for path in sorted(wanted.keys() & arrays.keys())
    if (arrays[path].shape, arrays[path].dtype) != (wanted[path].shape, wanted[path].dtype)
  ]
  parts = []
  for what, names in (
    ('missing', ['/'.join(path) for path in sorted(wanted.keys() - arrays.keys())]),
    ('extra', ['/'.join(path) for path in sorted(arrays.keys() - wanted.keys())]),
    ('misshapen', shapes),
  ):
    if names:
      parts.append(f'{len(names)} {what} ({", ".join(names[:4])}{", ..." if names[4:] else ""})')
  return '; '.join(parts)
