"""What every layer of a network costs, computed from the traced network.

The forward pass is traced without allocating anything; convolutions, products with parameters,
pools and local response normalisations become rows, named after the modules that do them. So any
module has a table, and one that runs several layers as one has a row for each (the trace is that
of initialisation, which makes every layer's parameters apart). What a `while` loop does is not
counted.
"""

import math
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict
from jax.extend import core
from jax.interpreters import partial_eval

from googlenet_jax import train_state

Pair = tuple[int, int]


class Row(NamedTuple):
  """A layer.

  Attributes:
    name: path of the module, or the scope of a pool: 'inception_3a/reduce_5x5'.
    kind: 'conv 3x3/2', 'max pool 3x3/2', 'avg pool 7x7', 'linear', 'lrn', or 'other' for a module
      that has parameters and is none of these.
    shape: shape of the output, without the batch: (H, W, C) or (C,).
    parameters: number of parameters.
    macs: multiply-adds of convolutions and linear layers, an image.
    pool_ops: outputs of a pool times its window, an image.
    output_bytes: bytes of the output, an image.
    kept_bytes: bytes that the backward pass needs, an image: the output, twice where there are
      batch statistics (what is normalised, and the result).
    receptive_field: (height, width) of the input that an output pixel sees, pixels.
    stride: (height, width) in the input between output pixels, pixels.
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


class Cost(NamedTuple):
  """A network's layers.

  Attributes:
    rows: layers of the forward pass in evaluation.
    training_rows: layers that act in training alone (auxiliary heads).
    input_bytes: bytes of the input, an image.
    peak_bytes: most bytes that are alive at once in evaluation, an image: every layer's output from
      when it is made until its last use; a concatenation is its parts, elementwise work in place.
  """

  rows: tuple[Row, ...]
  training_rows: tuple[Row, ...]
  input_bytes: int
  peak_bytes: int

  def total(self, field: str) -> int:
    """Sum of a field over the rows of evaluation."""
    return sum(getattr(row, field) for row in self.rows)

  @property
  def kept_bytes(self) -> int:
    """All that a training step keeps for its backward pass, without auxiliary heads, an image."""
    return self.input_bytes + self.total('kept_bytes')


def cost(model, image_shape: tuple[int, int, int]) -> Cost:
  """The layers of a network.

  Args:
    model: network `(images, *, train) -> Outputs`.
    image_shape: shape (H, W, C) of its images.
  """
  variables = train_state.abstract_variables(model, image_shape)
  counts, normalised = {}, set()
  for (kind, *module, _), x in flatten_dict(variables).items():
    if kind == 'params':
      counts['/'.join(module)] = counts.get('/'.join(module), 0) + math.prod(x.shape)
    else:
      normalised.add('/'.join(module))
  rows, peak = _traced(model, image_shape, False, counts, normalised)
  names = {row.name for row in rows}
  in_training, _ = _traced(model, image_shape, True, counts, normalised)
  extra = tuple(row for row in in_training if row.name not in names)
  left = sum(counts.values()) - sum(row.parameters for row in (*rows, *extra))
  if left:  # of modules that do nothing with the images
    rows += (Row('elsewhere', 'other', (), left, 0, 0, 0, 0, (0, 0), (0, 0)),)
  return Cost(rows, extra, 4 * math.prod(image_shape), peak)


def flops(model, image_shape: tuple[int, int, int]) -> float:
  """XLA's own count for the forward pass of an image, as lowered.

  It leaves out multiplications with padding and adds elementwise work; a multiply-add is two.
  """
  variables = train_state.abstract_variables(model, image_shape)
  images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
  forward = jax.jit(lambda variables, images: model.apply(variables, images, train=False).logits)
  return forward.lower(variables, images).cost_analysis()['flops']


def _traced(model, image_shape, train, counts, normalised):
  def forward(key, images):
    return model.init_with_output({'params': key, 'dropout': key}, images, train=train)[0]

  shapes = jax.eval_shape(lambda: jax.random.key(0)), jax.ShapeDtypeStruct((1, *image_shape), 'f4')
  with nn.intercept_methods(_named):
    whole = jax.make_jaxpr(forward)(*shapes).jaxpr
  # Initialisation makes parameters that the outputs do not depend on: auxiliary heads'.
  jaxpr, _ = partial_eval.dce_jaxpr(whole, [True] * len(whole.outvars), instantiate=True)
  trace = _Trace()
  image = trace.new(4 * math.prod(image_shape), (1, 1), (1, 1))
  trace.walk(jaxpr, [PARAMETER, image], ())
  return tuple(_with_parameters(trace, counts, normalised)), trace.peak()


def _named(method, args, kwargs, context):
  """Marks what a module computes with its path, whatever method or transformation runs it."""
  with jax.named_scope(f'@{":".join(context.module.path)}'):
    return method(*args, **kwargs)


class _Map(NamedTuple):
  """What is known of an array that depends on the images."""

  buffers: frozenset[int]  # that hold it
  field: Pair  # receptive field
  stride: Pair


PARAMETER = 'parameter'  # in place of a map: an array that depends on the parameters' key alone


class _Trace:
  """Rows of a computation, and when its buffers live."""

  def __init__(self):
    self.rows, self.seen = [], {}  # of the modules: the last map that each made
    self._bytes, self._born, self._last, self._now = [], [], [], 0

  def new(self, size, field, stride) -> _Map:
    self._bytes.append(size)
    self._born.append(self._now)
    self._last.append(self._now)
    return _Map(frozenset([len(self._bytes) - 1]), field, stride)

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
        times = equation.params.get('length', 1)  # of a scan
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
    kind, field, stride, macs, window = _layer(equation, inputs)
    if kind:
      size = out.size * out.dtype.itemsize
      result = self.new(size, field, stride)
      ops = 0 if window is None or kind == 'lrn' else out.size * math.prod(window)
      row = Row('/'.join(names), kind, out.shape[1:], 0, macs, ops, size, size, field, stride)
      self.rows.append(row)
    elif equation.primitive.name == 'concatenate':
      result = _Map(frozenset().union(*(x.buffers for x in maps)), field, stride)
    else:  # in place of the newest of the arrays that are as large
      sizes = [v.aval.size for v, x in zip(equation.invars, inputs, strict=True) if x in maps]
      large = [x for x, n in zip(maps, sizes, strict=True) if n == max(sizes)]
      newest = max(large, key=lambda x: max(x.buffers))
      result = _Map(newest.buffers, field, stride)
    self.seen['/'.join(names)] = len(self.rows), out.shape[1:], result
    return [result] * len(equation.outvars)


def _layer(equation, inputs):
  """(kind or '' for no layer, receptive field, stride, multiply-adds, window) of the result."""
  maps = [x for x in inputs if isinstance(x, _Map)]
  field = tuple(max(x.field[i] for x in maps) for i in range(2))
  stride = tuple(max(x.stride[i] for x in maps) for i in range(2))
  name, params = equation.primitive.name, equation.params
  first, out = equation.invars[0].aval, equation.outvars[0].aval

  def slid(window, step):
    return (
      tuple(field[i] + (window[i] - 1) * stride[i] for i in range(2)),
      tuple(stride[i] * step[i] for i in range(2)),
    )

  if name == 'conv_general_dilated':
    spec = params['dimension_numbers'].rhs_spec
    shape = equation.invars[1].aval.shape
    step, window, dilation = (  # of one dimension, the other is 1
      (*x, 1)[:2]
      for x in (params['window_strides'], [shape[i] for i in spec[2:]], params['rhs_dilation'])
    )
    spread = [(n - 1) * d + 1 for n, d in zip(window, dilation, strict=True)]
    macs = out.size * math.prod(shape) // shape[spec[0]]
    return f'conv {_sides(window, step)}', *slid(spread, step), macs, None
  if name == 'dot_general' and PARAMETER in inputs:
    contracted = params['dimension_numbers'][0][0]
    macs = out.size * math.prod(first.shape[i] for i in contracted)
    return 'linear', field, stride, macs, None
  if name.startswith('reduce_window') and first.ndim == 4:
    window, step = params['window_dimensions'], params['window_strides']
    if window[1:3] == (1, 1):
      return 'lrn', field, stride, 0, window[3:]
    kind = f'{"max" if "max" in name else "avg"} pool {_sides(window[1:3], step[1:3])}'
    return kind, *slid(window[1:3], step[1:3]), 0, window[1:3]
  whole = first.shape[1:3] if first.ndim == 4 else (1, 1)
  if name in ('reduce_sum', 'reduce_max') and tuple(params['axes']) == (1, 2) and first.ndim == 4:
    kind = f'{"max" if "max" in name else "avg"} pool {_sides(whole, (1, 1))}'
    return kind, *slid(whole, (1, 1)), 0, whole
  if name == 'reshape' and first.ndim == 4 and out.ndim == 2:
    return '', *slid(whole, (1, 1)), 0, None
  if name == 'slice' and params['strides'] and first.ndim == 4:
    return '', *slid((1, 1), params['strides'][1:3]), 0, None
  return '', field, stride, 0, None


def _sides(window, step):
  step = '' if set(step) == {1} else f'/{step[0]}'
  return f'{window[0]}x{window[1]}{step}'


def _inner(equation):
  """The jaxpr that an equation runs, and how many of its inputs are not that one's."""
  params = equation.params
  if equation.primitive.name == 'cond':  # of platforms: the last is any other
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
  plain = [x for x in scopes if x and not set(x) & set('().')]
  return (*(x for x in path.split(':') if x), *plain)


def _with_parameters(trace, counts, normalised):
  """The rows with the parameters of their modules, and rows for modules that have none."""
  rows, used, names = list(trace.rows), set(), {}
  layers = {row.name for row in rows if row.macs}
  for i, row in enumerate(rows):
    below = [
      module
      for module in counts
      if f'{module}/'.startswith(f'{row.name}/') and module not in used
      if module == row.name or module not in layers
    ]
    if not row.macs or not row.name:
      below = []
    used |= set(below)
    twice = any(f'{module}/'.startswith(f'{row.name}/') for module in normalised)
    names[row.name] = names.get(row.name, 0) + 1
    name = row.name if names[row.name] == 1 else f'{row.name}_{names[row.name]}'
    rows[i] = row._replace(
      name=name,
      parameters=sum(counts[module] for module in below),
      kept_bytes=row.output_bytes * (2 if row.macs and twice else 1),
    )
  left = [(*trace.seen[m], m) for m in counts if m not in used and m in trace.seen]
  for at, shape, result, module in sorted(left, key=lambda x: -x[0]):
    kept = 4 * math.prod(shape) if module in normalised else 0
    numbers = (counts[module], 0, 0, 0, kept, result.field, result.stride)
    rows.insert(at, Row(module, 'other', shape, *numbers))
  return rows
