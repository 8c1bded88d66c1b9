"""Layers of a network, read off its traced forward pass.

Convolutions, products with parameters, pools and local response normalisations become rows, named
after the modules that do them. The trace is that of initialisation, which makes every layer's
parameters apart: layers that run as one have a row each.
"""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

import flax.linen as nn
import jax
from jax.extend import core
from jax.interpreters import partial_eval

Pair = tuple[float, float]


class Row(NamedTuple):
  """A layer.

  Attributes:
    name: path of the module, or the scope of a pool: 'inception_3a/reduce_5x5'; a pool without a
      scope is a 'max_pool' of its module.
    kind: 'conv 3x3/2', 'transposed conv 2x2/2', 'max pool 3x3/2', 'avg pool 7x7', 'linear', 'lrn',
      or 'other' for a module that has parameters and is none of these.
    shape: shape of the output, without the batch: (H, W, C) or (C,).
    parameters: number of parameters.
    macs: multiply-adds of convolutions and linear layers, an image; those of a transposed
      convolution without the zeros between its inputs.
    pool_ops: outputs of a pool times its window, an image.
    output_bytes: bytes of the output, an image.
    kept_bytes: bytes that the backward pass needs, an image: the output, twice where there are
      batch statistics (what is normalised, and the result).
    receptive_field: (height, width) of the input that an output pixel sees, pixels.
    stride: (height, width) in the input between output pixels, pixels; below 1 after a transposed
      convolution.
  """

  name: str
  kind: str
  shape: tuple[int, ...]
  parameters: int
  macs: int
  pool_ops: int
  output_bytes: int
  kept_bytes: int
  receptive_field: Pair
  stride: Pair


def rows(
  forward: Callable,
  image_shape: tuple[int, int, int],
  counts: dict[str, int],
  normalised: set[str],
) -> tuple[tuple[Row, ...], int]:
  """The layers of a network, and the most bytes that are alive at once, an image.

  Args:
    forward: initialisation with outputs, `(key, images [1, H, W, C]) -> outputs`.
    image_shape: shape (H, W, C) of the images.
    counts: numbers of parameters by the path of the module that has them.
    normalised: paths of the modules with batch statistics.
  """
  shapes = jax.eval_shape(lambda: jax.random.key(0)), jax.ShapeDtypeStruct((1, *image_shape), 'f4')
  with nn.intercept_methods(_named):
    whole = jax.make_jaxpr(forward)(*shapes).jaxpr
  # Initialisation makes parameters that the outputs do not depend on: auxiliary heads'.
  jaxpr, _ = partial_eval.dce_jaxpr(whole, [True] * len(whole.outvars), instantiate=True)
  trace = _Trace()
  image = trace.new(4 * math.prod(image_shape), (_Axis(), _Axis()))
  trace.walk(jaxpr, [PARAMETER, image], ((), ()))
  return tuple(_with_parameters(trace, counts, normalised)), trace.peak()


def _named(method, args, kwargs, context):
  """Marks what a module computes with its path, whatever method or transformation runs it."""
  with jax.named_scope(f'@{":".join(context.module.path)}'):
    return method(*args, **kwargs)


class _Axis(NamedTuple):
  """What the pixels along one axis of a map see of the image.

  Attributes:
    stride: distance of two pixels in the image.
    reach: (spacing, extent) of what a pixel sees, in pixels of the image: the extent is that of the
      windows up to a transposed convolution, whose inputs have the spacing; the image comes first.
  """

  stride: Fraction = Fraction(1)
  reach: tuple[tuple[Fraction, Fraction], ...] = ((Fraction(1), Fraction(0)),)

  @property
  def field(self) -> int:
    """The receptive field: the most pixels that the windows can hold, lattice after lattice."""
    extent = Fraction(0)
    for spacing, own in reversed(self.reach):
      extent = (own + extent) // spacing * spacing
    return int(extent) + 1

  def slid(self, window: int, step: int = 1) -> '_Axis':
    """After a window and its step, pixels."""
    spacing, extent = self.reach[-1]
    last = spacing, extent + (window - 1) * self.stride
    return _Axis(self.stride * step, (*self.reach[:-1], last))

  def dilated(self, factor: int) -> '_Axis':
    """With zeros between the pixels, `factor - 1` of them."""
    if factor == 1:
      return self
    return _Axis(self.stride / factor, (*self.reach, (self.stride, Fraction(0))))


Axes = tuple[_Axis, _Axis]


class _Map(NamedTuple):
  """What is known of an array that depends on the images."""

  buffers: frozenset[int]  # buffers that hold the array
  axes: Axes  # height and width

  @property
  def numbers(self) -> tuple[Pair, Pair]:
    """Receptive field and stride."""
    strides = (float(x.stride) if x.stride % 1 else int(x.stride) for x in self.axes)
    return tuple(x.field for x in self.axes), tuple(strides)


class _Layer(NamedTuple):
  """What an equation does: no kind where it is no layer, no window where it is no pool."""

  kind: str
  axes: Axes
  macs: int = 0
  window: tuple[int, ...] | None = None


PARAMETER = 'parameter'  # in place of a map: an array that depends on the parameters' key alone


class _Trace:
  """Rows of a computation, and when its buffers live."""

  def __init__(self):
    self.rows, self.seen = [], {}  # modules: when and what each made last
    self._bytes, self._born, self._last, self._now = [], [], [], 0

  def new(self, size, axes) -> _Map:
    self._bytes.append(size)
    self._born.append(self._now)
    self._last.append(self._now)
    return _Map(frozenset([len(self._bytes) - 1]), axes)

  def peak(self) -> int:
    lives = list(zip(self._born, self._last, self._bytes, strict=True))
    return max(sum(b for born, last, b in lives if born <= t <= last) for t in set(self._born))

  def walk(self, jaxpr, arguments, scope):
    """Follows the equations of a jaxpr; returns what is known of its results."""
    known = dict(zip(jaxpr.invars, arguments, strict=True))
    known |= dict.fromkeys(jaxpr.constvars)
    for equation in jaxpr.eqns:
      self._now += 1
      inputs = [None if isinstance(v, core.Literal) else known[v] for v in equation.invars]
      names = _modules(scope, equation)
      inner, skipped = _inner(equation)
      if inner is not None:
        before = len(self.rows)
        results = self.walk(inner, inputs[skipped:], names)
        times = equation.params.get('length', 1)  # steps of a scan
        self.rows[before:] = [
          row._replace(macs=times * row.macs, pool_ops=times * row.pool_ops)
          for row in self.rows[before:]
        ]
      else:
        results = self._apply(equation, inputs, names)
      known |= dict(zip(equation.outvars, results, strict=True))
    return [None if isinstance(v, core.Literal) else known[v] for v in jaxpr.outvars]

  def _apply(self, equation, inputs, names):
    maps = [x for x in inputs if isinstance(x, _Map)]
    for buffer in {b for x in maps for b in x.buffers}:
      self._last[buffer] = self._now
    if not maps:
      derived = PARAMETER if PARAMETER in inputs else None
      return [derived] * len(equation.outvars)
    out = equation.outvars[0].aval
    kind, axes, macs, window = _layer(equation, maps, PARAMETER in inputs)
    path, scopes = names
    if kind:
      size = out.size * out.dtype.itemsize
      result = self.new(size, axes)
      ops = out.size * math.prod(window) if window else 0
      if not (scopes or macs):
        scopes = (_word(kind),)
      name = '/'.join((*path, *scopes))
      self.rows.append(Row(name, kind, out.shape[1:], 0, macs, ops, size, size, *result.numbers))
    elif equation.primitive.name == 'concatenate':
      result = _Map(frozenset().union(*(x.buffers for x in maps)), axes)
    else:  # in place of the newest of the arrays that are as large
      sizes = [v.aval.size for v, x in zip(equation.invars, inputs, strict=True) if x in maps]
      large = [x for x, n in zip(maps, sizes, strict=True) if n == max(sizes)]
      newest = max(large, key=lambda x: max(x.buffers))
      result = _Map(newest.buffers, axes)
    self.seen['/'.join((*path, *scopes))] = len(self.rows), self._now, out.shape[1:], result
    return [result] * len(equation.outvars)


def _layer(equation, maps, with_parameters):
  """What an equation makes of the maps among its inputs."""
  axes = tuple(
    max((x.axes[i] for x in maps), key=lambda axis: axis.field)._replace(
      stride=max(x.axes[i].stride for x in maps)
    )
    for i in range(2)
  )
  name, params = equation.primitive.name, equation.params
  first, out = equation.invars[0].aval, equation.outvars[0].aval
  extreme = 'max' if 'max' in name else 'avg'
  if name == 'conv_general_dilated':
    return _convolution(equation, axes)
  if name == 'dot_general' and with_parameters:
    contracted = params['dimension_numbers'][0][0]
    return _Layer('linear', axes, out.size * math.prod(first.shape[i] for i in contracted))
  if name.startswith('reduce_window') and first.ndim == 4:
    window, step = params['window_dimensions'][1:3], params['window_strides'][1:3]
    if window == (1, 1):
      return _Layer('lrn', axes)
    return _Layer(f'{extreme} pool {_sides(window, step)}', _slid(axes, window, step), 0, window)
  whole = first.shape[1:3] if first.ndim == 4 else (1, 1)
  if name in ('reduce_sum', 'reduce_max') and tuple(params['axes']) == (1, 2) and first.ndim == 4:
    return _Layer(f'{extreme} pool {_sides(whole, (1, 1))}', _slid(axes, whole), 0, whole)
  if name == 'reshape' and first.ndim == 4 and out.ndim == 2:
    return _Layer('', _slid(axes, whole))
  if name == 'slice' and params['strides'] and first.ndim == 4:
    return _Layer('', _slid(axes, (1, 1), params['strides'][1:3]))
  return _Layer('', axes)


def _convolution(equation, axes):
  params, out = equation.params, equation.outvars[0].aval
  numbers = params['dimension_numbers']
  image, kernel = (x.aval.shape for x in equation.invars[:2])
  step, window, dilation, zeros = (  # those of one dimension; the other is 1
    (*x, 1)[:2]
    for x in (
      params['window_strides'],
      [kernel[i] for i in numbers.rhs_spec[2:]],
      params['rhs_dilation'],
      params['lhs_dilation'],
    )
  )
  macs = out.size * math.prod(kernel) // kernel[numbers.rhs_spec[0]]
  for i, o, factor in zip(numbers.lhs_spec[2:], numbers.out_spec[2:], zeros, strict=False):
    if factor > 1:  # transposed: every pixel of the input, times the window
      macs = macs // out.shape[o] * image[i]
  spread = [(n - 1) * d + 1 for n, d in zip(window, dilation, strict=True)]
  axes = tuple(axis.dilated(factor) for axis, factor in zip(axes, zeros, strict=True))
  kind = f'conv {_sides(window, step)}'
  if max(zeros) > 1:
    kind = f'transposed conv {_sides(window, zeros)}'
  return _Layer(kind, _slid(axes, spread, step), macs)


def _slid(axes, window, step=(1, 1)):
  return tuple(axis.slid(*x) for axis, *x in zip(axes, window, step, strict=True))


def _sides(window, step):
  step = '' if set(step) == {1} else f'/{step[0]}'
  return f'{window[0]}x{window[1]}{step}'


def _inner(equation):
  """The jaxpr that an equation runs, and how many of its inputs are not that one's."""
  params = equation.params
  if equation.primitive.name == 'cond':  # one branch a platform; the last is any other
    return params['branches'][-1].jaxpr, 1
  for name in ('jaxpr', 'call_jaxpr', 'fun_jaxpr'):
    inner = params.get(name)
    if inner is not None:
      return getattr(inner, 'jaxpr', inner), 0
  return None, 0


def _modules(scope, equation):
  """Path of the module that an equation lies in, and the scopes there."""
  _, marked, within = str(equation.source_info.name_stack).rpartition('@')
  if not marked:
    return scope
  path, *scopes = within.split('/')
  plain = (x for x in scopes if x and not set(x) & set('().'))
  return tuple(x for x in path.split(':') if x), tuple(plain)


def _word(kind):
  """'max_pool' of 'max pool 3x3/2'."""
  return '_'.join(x for x in kind.split() if x.isalpha())


def _with_parameters(trace, counts, normalised):
  """The rows with the parameters of their modules, and rows for modules that have none."""
  rows, used, names = list(trace.rows), set(), {}
  layers = {row.name for row in rows if row.macs}
  for i, row in enumerate(rows):
    below = [
      module
      for module in counts
      if row.macs and module not in used
      if module == row.name or (module not in layers and module.startswith(f'{row.name}/'))
    ]
    used |= set(below)
    twice = any(f'{module}/'.startswith(f'{row.name}/') for module in normalised)
    name = row.name or _word(row.kind)  # the network itself has no name
    names[name] = names.get(name, 0) + 1
    name = name if names[name] == 1 else f'{name}_{names[name]}'
    rows[i] = row._replace(
      name=name,
      parameters=sum(counts[module] for module in below),
      kept_bytes=row.output_bytes * (2 if row.macs and twice else 1),
    )
  left = [(*trace.seen[m], m) for m in counts if m not in used and m in trace.seen]
  for at, _, shape, result, module in sorted(left, key=lambda x: x[:2], reverse=True):
    kept = 4 * math.prod(shape) if module in normalised else 0
    rows.insert(at, Row(module, 'other', shape, counts[module], 0, 0, 0, kept, *result.numbers))
  return rows
