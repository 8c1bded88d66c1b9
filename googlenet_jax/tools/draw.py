"""A diagram of an Inception network, from its own tables, as SVG: `--mode=draw`."""

import pathlib
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple
from xml.sax.saxutils import escape

from ml_collections import ConfigDict

from googlenet_jax import files
from googlenet_jax.errors import InputError
from googlenet_jax.models import bricks
from googlenet_jax.models.googlenet import STEMS, GoogLeNet
from googlenet_jax.models.inception import Widths
from googlenet_jax.tools import cost, summarize
from googlenet_jax.weights import Description


class Box(NamedTuple):
  """A layer: what it does, and its kind, a key of `COLORS`."""

  text: str
  kind: str


class Part(NamedTuple):
  """Layers between two arrows.

  Attributes:
    title: name of a module; '' for a single layer.
    branches: boxes of each branch, in order.
    note: what comes out, or what is done with it.
    stage: side of its output; another one begins a line of the drawing.
  """

  title: str
  branches: tuple[tuple[Box, ...], ...]
  note: str
  stage: str


COLORS = {  # fill
  'conv 1x1': '#dbe9f6',
  'conv': '#9cc3e6',
  'factorised': '#c5b8e3',
  'separable': '#b5dcb0',
  'pool': '#f6cfa8',
  'linear': '#f2b5b5',
  'other': '#e8e8e8',
}
BOX, HEIGHT, GAP, LINE = (104, 24), 26, 22, 1560  # pixels: a layer, a branch, an arrow, a line


def draw(
  config: ConfigDict,
  image_shape: Sequence[str] | None,
  output: str,
  described: Mapping[str, Description] = MappingProxyType({}),
) -> dict[str, str]:
  """Writes the diagram of one network; the arguments are those of `summarize.summarize`.

  Raises:
    InputError: several networks, one without inception modules, or an unusable file name.
  """
  if not output.endswith('.svg'):
    raise InputError(f'--output={output}: --mode=draw needs the name of a file that ends in .svg')
  networks = summarize.networks(config, (), described, 0)
  if len(networks) > 1:
    raise InputError('--mode=draw takes one of --weights')
  ((name, (model, own)),) = networks.items()
  files.write(pathlib.Path(output), svg(name, model, summarize.shape(image_shape) or own))
  return {'written': output}


def svg(name: str, model, image_shape: tuple[int, int, int]) -> str:
  """The diagram.

  Args:
    name: title.
    model: `GoogLeNet` or a `designed.Designed`.
    image_shape: (H, W, C).

  Raises:
    InputError: another network, or images that it cannot take.
  """
  rows = {row.name: row for row in cost.cost(model, image_shape).rows}
  if isinstance(model, GoogLeNet):
    parts = _googlenet(model, rows)
  elif hasattr(model, 'design'):
    parts = _designed(model, rows)
  else:
    raise InputError(f'--mode=draw: {name} has no inception modules: use --mode=summarize')
  size = 'x'.join(map(str, image_shape))
  return _draw(f'{name}, images of {size}', list(_counted(parts)))


def _side(row):
  return 'x'.join(map(str, row.shape[:2])) if len(row.shape) == 3 else 'classifier'


def _box(row):
  """The box of a layer, by its row of the costs."""
  kind, _, window = row.kind.partition(' ')
  if 'pool' in row.kind:
    return Box(row.kind, 'pool')
  if kind != 'conv':
    channels = f', {row.shape[-1]}' if kind == 'linear' else ''
    return Box(f'{row.kind}{channels}', kind if kind in COLORS else 'other')
  height, _, width = window.partition('/')[0].partition('x')
  kind = 'conv 1x1' if (height, width) == ('1', '1') else 'conv'
  return Box(f'{window}, {row.shape[-1]}', kind if height == width else 'factorised')


def _layer(row):
  return Part('', ((_box(row),),), '', _side(row))


def _output(ends, rows):
  """'28x28x256': what the ends of branches are, concatenated."""
  shapes = [rows[end].shape for end in ends]
  return 'x'.join(map(str, (*shapes[0][:2], sum(shape[-1] for shape in shapes)))), _side(
    rows[ends[0]]
  )


def _googlenet(model, rows):
  """Parts of a GoogLeNet."""
  for layer, *_ in STEMS[model.stem]:
    if layer in rows:
      yield _layer(rows[layer])
  last, stage = '', '3'
  heads = [name for name in model.widths() if name in model.aux_heads]
  for name, widths in model.widths().items():
    if name[0] != stage:
      yield _layer(rows[f'pool{stage}'])
      stage = name[0]
    path = f'inception_{name}'
    branches = [[f'{path}/{x}' for x in branch] for branch in _branches(model, widths)]
    ends = [branch[-1] for branch in branches]
    note, side = _output(ends, rows)
    boxes = tuple(tuple(_box(rows[x]) for x in branch) for branch in branches)
    head = f', auxiliary head {heads.index(name) + 1}' if name in heads else ''
    yield Part(f'{name}{head}', boxes, note, side)
    last = path
  yield from _rest(rows, last)


def _branches(model, widths: Widths) -> Iterable[tuple[str, ...]]:
  """Names of the layers of a module's branches."""
  reduced = model.module == 'reduced'
  if widths.conv_1x1:
    yield ('conv_1x1',)
  for size in ('3x3', '5x5'):
    if getattr(widths, f'conv_{size}'):
      first = ('conv_5x5_first',) if size == '5x5' and model.stacked else ()
      yield (*((f'reduce_{size}',) if reduced else ()), *first, f'conv_{size}')
  if widths.pool_proj:
    yield ('pool', *(('pool_proj',) if reduced else ()))


def _designed(model, rows):
  """Parts of a network that a table describes."""
  pools = iter([row for name, row in rows.items() if '/' not in name and 'pool' in row.kind])
  last = ''
  for row in (*model.design.stems[model.stem], *model.design.modules.items(), *model.design.last):
    if isinstance(row, bricks.Pool):
      yield _layer(next(pools))
    elif isinstance(row, bricks.Conv):
      yield _layer(rows[row.name])
      last = row.name
    elif isinstance(row, bricks.Separable):
      last = f'{row.name}/pointwise'
      yield Part('', ((_separable(rows[last]),),), '', _side(rows[last]))
    else:
      last, module = row
      head = ', auxiliary head' if last in model.aux_heads else ''
      yield _module(last, f'{last}{head}', module, rows)
  yield from _rest(rows, last)


def _separable(row):
  return Box(f'separable, {row.shape[-1]}', 'separable')


def _module(path, title, module, rows):
  residual = module if isinstance(module, bricks.Residual) else None
  below = [row for name, row in rows.items() if name.startswith(f'{path}/')]
  inside = iter([row for row in below if 'pool' in row.kind])
  branches, ends = [], []
  for branch in residual.branches if residual else module:
    boxes = []
    for row in branch:
      if isinstance(row, bricks.Split):
        found = [rows[f'{path}/{conv.name}'] for conv in row.convs]
        windows = ' | '.join(_box(x).text.partition(',')[0] for x in found)
        boxes.append(Box(f'{windows}, {sum(x.shape[-1] for x in found)}', 'factorised'))
      elif isinstance(row, bricks.Pool):
        found = [next(inside)]
        boxes.append(_box(found[0]))
      elif isinstance(row, bricks.Separable):
        found = [rows[f'{path}/{row.name}/pointwise']]
        boxes.append(_separable(found[0]))
      else:
        found = [rows[f'{path}/{row.name}']]
        boxes.append(_box(found[0]))
    ends += [x.name for x in found]
    branches.append(tuple(boxes))
  if not residual:
    return Part(title, tuple(branches), *_output(ends, rows))
  if residual.shortcut:
    branches.append((_box(rows[f'{path}/{residual.shortcut.name}']),))
  note, side = _output(ends[:1], rows)
  if residual.up:
    note = f'{_box(rows[f"{path}/{residual.up}"]).text}, times {residual.scale:g}, plus the input'
  else:
    note = f'{note}, plus the last branch' if residual.shortcut else f'{note}, plus the input'
  return Part(title, tuple(branches), note, side)


def _rest(rows, last):
  """The layers after the last module, heads left out."""
  names = list(rows)
  after = max(i for i, name in enumerate(names) if name == last or name.startswith(f'{last}/'))
  for name in names[after + 1 :]:
    yield _layer(rows[name])._replace(stage='classifier')


def _counted(parts):
  """Modules that are alike as one, with their number; a head ends such a row."""
  groups = []
  for part in parts:
    last = groups[-1][-1] if groups else None
    if last and part.title and part[1:] == last[1:] and ',' not in last.title:
      groups[-1].append(part)
    else:
      groups.append([part])
  for first, *more in groups:
    if more:
      last, comma, head = more[-1].title.partition(',')
      first = first._replace(title=f'{first.title} to {last}, {1 + len(more)} times{comma}{head}')
    yield first


def _size(part):
  """Width and height of a part, pixels."""
  width, height = BOX
  longest = max(map(len, part.branches))
  if not part.title:
    return width, height
  text = 6.2 * max(len(part.title), len(part.note))
  return max(longest * (width + 6) + 10, text + 12), len(part.branches) * HEIGHT + 42


def _draw(title, parts):
  lines, line, at = [], [], 20.0
  for part in parts:
    wide, _ = _size(part)
    if line and ((part.stage != line[-1].stage and len(line) > 2) or at + wide > LINE):
      lines.append(line)
      line, at = [], 20.0
    line.append(part)
    at += wide + GAP
  lines.append(line)
  elements, y, width, first = [], 52.0, 0.0, True
  for line in lines:
    tallest, x = max(_size(part)[1] for part in line), 20.0
    for part in line:
      wide, high = _size(part)
      if not first:
        elements.append(_arrow(x - GAP + 3 if x > 20 else 2, x - 3, y + tallest / 2))
      first = False
      elements += _part(part, x, y + (tallest - high) / 2, wide, high)
      x += wide + GAP
    width, y = max(width, x), y + tallest + 24
  head = (
    f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {y:.0f}" '
    f'width="{width:.0f}" height="{y:.0f}" font-family="Helvetica, Arial, sans-serif" '
    'font-size="11">'
  )
  marker = (
    '<defs><marker id="tip" markerWidth="7" markerHeight="6" refX="6" refY="3" orient="auto">'
    '<path d="M0,0 L7,3 L0,6 z" fill="#555"/></marker></defs>'
  )
  back = '<rect width="100%" height="100%" fill="#fff"/>'
  name = f'<text x="20" y="28" font-size="17" font-weight="bold">{escape(title)}</text>'
  return '\n'.join([head, marker, back, name, *elements, '</svg>', ''])


def _arrow(start, end, y):
  return (
    f'<line x1="{start:.0f}" y1="{y:.0f}" x2="{end:.0f}" y2="{y:.0f}" stroke="#555" '
    'marker-end="url(#tip)"/>'
  )


def _part(part, x, y, wide, high):
  if not part.title:
    return _drawn(part.branches[0][0], x, y)
  elements = [
    f'<rect x="{x:.0f}" y="{y:.0f}" width="{wide:.0f}" height="{high:.0f}" rx="6" fill="#fafafa" '
    'stroke="#999"/>',
    f'<text x="{x + 6:.0f}" y="{y + 14:.0f}" font-weight="bold">{escape(part.title)}</text>',
    f'<text x="{x + 6:.0f}" y="{y + high - 7:.0f}" fill="#444">{escape(part.note)}</text>',
  ]
  for i, branch in enumerate(part.branches):
    for j, box in enumerate(branch):
      elements += _drawn(box, x + 8 + j * (BOX[0] + 6), y + 20 + i * HEIGHT)
  return elements


def _drawn(box, x, y):
  width, height = BOX
  middle, base = x + width / 2, y + 16
  return [
    f'<rect x="{x:.0f}" y="{y:.0f}" width="{width}" height="{height}" rx="3" '
    f'fill="{COLORS[box.kind]}" stroke="#777"/>',
    f'<text x="{middle:.0f}" y="{base:.0f}" text-anchor="middle">{escape(box.text)}</text>',
  ]
