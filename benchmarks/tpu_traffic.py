"""Memory traffic of a program that XLA compiled for a TPU, read off its text.

XLA's own count does not tell the chip's memory (HBM) from the one beside its arithmetic units
(VMEM, memory space 1 in the text), into which it fetches arrays ahead of their use: what is fetched
counts three times there, once for HBM and twice for VMEM.
"""

import collections
import math
import re
from collections.abc import Iterator
from typing import NamedTuple

ARRAY = re.compile(r'\b(pred|[a-z]+\d+)\[([\d,]*)\](\{[^}]*\})?')  # bf16[128,7,7,48]{0,3,2,1:S(1)}
OPERATION = re.compile(r'\s+(?:ROOT )?%?([\w.\-]+) = (.*?) ([a-z][a-z\-0-9]*)\((.*)')
# What moves nothing, or is counted by what follows it.
FREE = (
  'parameter',
  'get-tuple-element',
  'tuple',
  'bitcast',
  'constant',
  'copy-done',
  'slice-start',
)


class Traffic(NamedTuple):
  """Bytes read and written.

  Attributes:
    counted: those of all memories, as XLA counts them.
    hbm: those of the chip's memory alone.
  """

  counted: int
  hbm: int


class _Operation(NamedTuple):
  name: str
  kind: str
  arrays: tuple[tuple[int, bool], ...]  # bytes of each array it makes, whether that lies in HBM
  operands: tuple[str, ...]
  text: str  # from its operands on

  @property
  def size(self) -> int:
    return sum(size for size, _ in self.arrays)


def traffic(program: str) -> Traffic:
  """What the entry of a program moves; what loops and conditionals hold is not looked into."""
  computations, entry = _parse(program)
  by_name = {x.name: x for x in computations[entry]}
  moved = [access for x in computations[entry] for access in _accesses(x, by_name, computations)]
  return Traffic(sum(n for n, _ in moved), sum(n for n, in_hbm in moved if in_hbm))


def given(program: str, operation: str) -> int:
  """Bytes of the results of an operation, a regular expression, anywhere in a program."""
  shapes = re.findall(rf' = (\S.*?) {operation}', program)
  return sum(size for shape in shapes for size, _ in _arrays(shape))


def _parse(program):
  """The operations of each computation, by its name, and the name of the entry."""
  computations, entry, name = {}, '', ''
  for line in program.splitlines():
    if head := re.match(r'(ENTRY )?%?([\w.\-]+) \(.*\{$', line):
      name = head[2]
      computations[name] = []
      entry = name if head[1] else entry
    elif name and (found := OPERATION.match(line)):
      own, shape, kind, text = found.groups()
      operands = tuple(re.findall(r'%([\w.\-]+)', text[: _closing(text)]))
      computations[name].append(_Operation(own, kind, _arrays(shape), operands, text))
  return computations, entry


def _closing(text):
  """Where the bracket ends that `text` begins within."""
  depth = 1
  for i, character in enumerate(text):
    depth += (character == '(') - (character == ')')
    if not depth:
      return i
  return len(text)


def _arrays(shape):
  arrays = []
  for kind, sides, layout in ARRAY.findall(shape):
    bits = 8 if kind == 'pred' else int(re.sub(r'\D', '', kind))
    size = math.prod(int(x) for x in sides.split(',') if x) * bits // 8
    arrays.append((size, 'S(1)' not in layout))
  return tuple(arrays)


def _accesses(operation, by_name, computations) -> Iterator[tuple[int, bool]]:
  """Bytes of each array that an operation reads or writes, and whether it lies in HBM."""
  inputs = [by_name[name] for name in operation.operands if name in by_name]
  if operation.kind in FREE:
    return
  if 'custom_call_target="ConcatBitcast"' in operation.text:  # pieces that lie side by side
    yield from ((2 * size, False) for size, _ in operation.arrays)
  elif operation.kind == 'copy-start':  # its result: the copy, what is copied, and a context
    yield from operation.arrays[:2]
  elif operation.kind == 'slice-done':
    begun = by_name[operation.operands[0]]
    yield operation.size, begun.arrays[0][1]
    yield from operation.arrays
  else:
    read = [x.size for x in inputs]
    if called := re.search(r'calls=%?([\w.\-]+)', operation.text):
      read = _read(computations[called[1]], len(inputs))
    for size, x in zip(read, inputs, strict=True):
      yield size, all(in_hbm for _, in_hbm in x.arrays)
    yield from operation.arrays


def _read(operations, count):
  """Bytes that a fusion reads of each of its parameters: of some no more than slices."""
  users = collections.defaultdict(list)
  for x in operations:
    for name in x.operands:
      users[name].append(x)

  def used(x):
    total = 0
    for user in users[x.name]:
      if user.kind in ('slice', 'dynamic-slice'):
        total += user.size
      elif user.kind == 'bitcast':
        total += used(user)
      else:
        return x.size
    return min(total, x.size)

  sizes = {int(x.text.split(')')[0]): used(x) for x in operations if x.kind == 'parameter'}
  return [sizes[i] for i in range(count)]
