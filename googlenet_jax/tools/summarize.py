"""What layers cost, as tables and pictures: `--mode=summarize`."""

import pathlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import jax.numpy as jnp
from ml_collections import ConfigDict

from googlenet_jax import files, models
from googlenet_jax.errors import InputError
from googlenet_jax.models.googlenet import GoogLeNet
from googlenet_jax.tools import cost, tables
from googlenet_jax.tools.tables import WRITERS, Table
from googlenet_jax.weights import Description

# Parameters (thousands) and operations (millions) as the paper prints them (Table 1).
TABLE_1 = {
  'conv1': (2.7, 34),
  'conv2': (112, 360),
  'inception_3a': (159, 128),
  'inception_3b': (380, 304),
  'inception_4a': (364, 73),
  'inception_4b': (437, 88),
  'inception_4c': (463, 100),
  'inception_4d': (580, 119),
  'inception_4e': (840, 170),
  'inception_5a': (1072, 54),
  'inception_5b': (1388, 71),
  'linear': (1000, 1),
}


class Published(NamedTuple):
  """Top-5 error of one network on ImageNet's validation set, percent; how and where published."""

  error: float
  test: str
  source: str


PUBLISHED = {
  'alexnet': Published(20.93, '1 crop', "torchvision's weights"),
  'alexnet_grouped': Published(18.2, '10 crops', 'Krizhevsky et al. 2012, Table 2'),
  'zfnet': Published(16.5, '10 crops', 'arXiv 1311.2901, Table 2'),
  'zfnet_wide': Published(16.0, '10 crops', 'arXiv 1311.2901, Table 2'),
  'vgg11': Published(10.4, 'whole image, 1 scale', 'arXiv 1409.1556, Table 3'),
  'vgg13': Published(9.9, 'whole image, 1 scale', 'arXiv 1409.1556, Table 3'),
  'vgg16': Published(8.1, 'whole image, 1 scale', 'arXiv 1409.1556, Table 3'),
  'vgg19': Published(8.0, 'whole image, 1 scale', 'arXiv 1409.1556, Table 3'),
  'googlenet': Published(10.07, '1 crop', 'arXiv 1409.4842, Table 3'),
  'resnet34': Published(7.46, '10 crops', 'arXiv 1512.03385, Table 3'),
  'resnet50': Published(6.71, '10 crops', 'arXiv 1512.03385, Table 3'),
  'resnet101': Published(6.05, '10 crops', 'arXiv 1512.03385, Table 3'),
  'resnet152': Published(5.71, '10 crops', 'arXiv 1512.03385, Table 3'),
  'inception_v2': Published(7.82, '1 crop', 'arXiv 1502.03167, Figure 4'),
  'inception_v3': Published(5.6, '1 crop', 'arXiv 1512.00567, Table 3'),
  'inception_v4': Published(5.0, '1 crop', 'arXiv 1602.07261, Table 2'),
  'inception_resnet_v2': Published(4.9, '1 crop', 'arXiv 1602.07261, Table 2'),
  'xception': Published(5.5, '1 crop', 'arXiv 1610.02357, Table 1'),
}


class Shown(NamedTuple):
  """A network of a table, the (H, W, C) of its images, and what it costs with them."""

  model: Any
  image_shape: tuple[int, int, int]
  cost: cost.Cost


LAYERS = (
  'layer',
  'kind',
  'output',
  'parameters',
  'MACs',
  'MACs, %',
  'pool ops',
  'output, KB',
  'kept, KB',
  'receptive field',
  'stride',
)


def layers(name: str, network: Shown) -> Table:
  """One row a layer, subtotals a stage (layers of one map size), totals."""
  found, total = network.cost, network.cost.total('macs') or 1

  def line(name, kind, shape, rows, field='', stride=''):
    macs = sum(row.macs for row in rows)
    return (
      name,
      kind,
      shape,
      sum(row.parameters for row in rows),
      macs,
      100 * macs / total,
      sum(row.pool_ops for row in rows),
      sum(row.output_bytes for row in rows) / 1024,
      sum(row.kept_bytes for row in rows) / 1024,
      field,
      stride,
    )

  rows, stage = [], []
  for i, row in enumerate(found.rows):
    stage.append(row)
    shape = 'x'.join(map(str, row.shape))
    rows.append(
      line(row.name, row.kind, shape, [row], _side(row.receptive_field), _side(row.stride))
    )
    following = found.rows[i + 1 : i + 2]
    if not following or _map_size(following[0]) != _map_size(row):
      rows.append(line(f'= stage {_map_size(row)}', '', '', stage))
      stage = []
  rows.append(line('= total', '', '', found.rows))
  if found.training_rows:
    rows += [line(r.name, r.kind, 'x'.join(map(str, r.shape)), [r]) for r in found.training_rows]
    rows.append(line('= training only', '', '', found.training_rows))
  xla = cost.flops(network.model, network.image_shape)
  dtype = getattr(network.model, 'dtype', jnp.float32)
  classes = getattr(network.model, 'num_classes', '')
  classes = f', {classes} classes' if classes else ''
  notes = (
    f'images of {"x".join(map(str, network.image_shape))}{classes}; KB are 1024 bytes, an image; '
    f'computed in {jnp.dtype(dtype).name}',
    f'training keeps {found.kept_bytes / 1024:,.0f} KB for the backward pass (the input, every '
    'output, what batch norm normalises); inference has at most '
    f'{found.peak_bytes / 1024:,.0f} KB alive at once',
    f'XLA counts {xla / 1e6:,.1f} MFLOP in the forward pass, against 2 x {total / 1e6:,.1f} M '
    'multiply-adds here: it leaves out multiplications with padding and adds elementwise work',
  )
  return Table(name, LAYERS, rows, notes)


def compare(networks: dict[str, Shown]) -> Table:
  """Networks side by side, by name."""
  rows = []
  for name, network in networks.items():
    found = network.cost
    published = PUBLISHED.get(name)
    fields = [row.receptive_field for row in found.rows if 'conv' in row.kind]
    rows.append(
      (
        name,
        'x'.join(map(str, network.image_shape)),
        found.total('parameters') + sum(row.parameters for row in found.training_rows),
        found.total('parameters'),
        found.total('macs') / 1e6,
        cost.flops(network.model, network.image_shape) / 2e6,
        found.kept_bytes / 1024,
        found.peak_bytes / 1024,
        _side(tuple(map(max, zip(*fields, strict=True)))) if fields else '',
        published and published.error,
        f'{published.source}, {published.test}' if published else '',
      )
    )
  columns = (
    'network',
    'input',
    'parameters',
    'without aux',
    'MMACs',
    'MFLOP/2 (XLA)',
    'kept, KB',
    'peak, KB',
    'receptive field',
    'top-5 error, %',
    'of',
  )
  return Table('networks', columns, rows)


def table_1(found: cost.Cost) -> Table:
  """GoogLeNet's modules beside what the paper prints; K may be 1000 or 1024 there."""
  rows = []
  for module, (thousands, millions) in TABLE_1.items():
    mine = [r for r in found.rows if r.name.split('/')[0] in (module, f'{module}_reduce')]
    parameters, macs = sum(r.parameters for r in mine), sum(r.macs for r in mine)
    weights = parameters - sum(r.shape[-1] for r in mine if r.parameters)  # no biases
    agree = [
      any(
        abs(exact / unit - printed) < (1 if printed == int(printed) else 0.1) for exact, unit in x
      )
      for printed, x in (
        (thousands, [(n, k) for n in (parameters, weights) for k in (1000, 1024)]),
        (millions, [(macs, 1e6)]),
      )
    ]
    marks = ['' if x else 'differs' for x in agree]
    rows.append((module, parameters, thousands, marks[0], macs, millions, marks[1]))
  columns = ('module', 'parameters', 'printed, K', '', 'MACs', 'printed, M', '')
  note = 'differs: with and without biases, a K of 1000 or of 1024, rounded up or down'
  return Table("the paper's Table 1", columns, rows, (note,))


def summarize(
  config: ConfigDict,
  names: list[str] | None = None,
  image_shape: list[str] | None = None,
  num_classes: int = 0,
  output: str = '',
  plot: str = '',
  described: Mapping[str, Description] = MappingProxyType({}),
) -> str:
  """The tables of one network, or of several side by side, as text.

  Args:
    config: checked config; its network is shown where no others are given.
    names: networks to show, with their own fields.
    image_shape: H, W and C; None for the config's, those of the descriptions, or those that the
      networks were published for.
    num_classes: number of classes; 0 for the networks' own.
    output: file that the first table is written to as well, '' for none.
    plot: PNG file that shows where parameters, multiply-adds and memory are, '' for none.
    described: networks of weights files and runs to show, by where they are from.

  Raises:
    InputError: no such network, a shape that it cannot take, or an unusable file name.
  """
  if output and pathlib.Path(output).suffix not in WRITERS:
    raise InputError(f'--output={output}: its name must end in one of {", ".join(WRITERS)}')
  if plot and pathlib.Path(plot).suffix != '.png':
    raise InputError(f'--plot={plot}: its name must end in .png')
  given, found = shape(image_shape), {}
  for name, (model, own) in networks(config, names or [], described, num_classes).items():
    found[name] = Shown(model, given or own, cost.cost(model, given or own))
  if len(found) > 1:
    shown = [compare(found)]
  else:
    (name, network), *_ = found.items()
    shown = [layers(name, network)]
    if _is_of_table_1(network):
      shown.append(table_1(network.cost))
  if output:
    files.write(pathlib.Path(output), WRITERS[pathlib.Path(output).suffix](shown[0]))
  if plot:
    from googlenet_jax.tools import cost_plot  # Matplotlib: half a second that a table needs not

    stages = {name: _stages(network.cost) for name, network in found.items()}
    files.write(
      pathlib.Path(plot), cost_plot.draw(stages, {name: x[:2] for name, x in PUBLISHED.items()})
    )
  return '\n\n'.join(map(tables.text, shown))


def shape(given: Sequence[str] | None) -> tuple[int, int, int] | None:
  """The shape that --image_shape gives; None for none. Raises InputError for what is none."""
  if not given:
    return None
  if not (len(given) == 3 and all(x.isdecimal() for x in given)):
    raise InputError(f'--image_shape={",".join(given)}: write H,W,C, like 224,224,3')
  return tuple(map(int, given))


def networks(config, names, described, num_classes) -> dict[str, tuple[Any, tuple]]:
  """The networks that are asked for, by name, and the shapes of their images."""
  classes, found = num_classes or None, {}
  for where, about in described.items():
    count = classes or len(about.class_names)
    found[where] = models.create(about.model, about.fields, num_classes=count), about.image_shape
  for name in names:
    found[name] = models.create(name, num_classes=classes), models.find(name).image_shape
  if not found:
    model = models.create(**config.model.to_dict() | ({'num_classes': classes} if classes else {}))
    found[config.model.name] = model, _shape(config)
  return found


def _shape(config):
  """Shape of a config's images; small where the data say nothing and the stem keeps resolution."""
  height, width, channels = models.find(config.model.name).image_shape
  if config.dataset.image_size:
    height = width = config.dataset.image_size
  elif config.model.stem in ('cifar', 'compact'):
    height, width = models.CIFAR[:2]
  return height, width, channels


def _is_of_table_1(network):
  model = network.model
  return (
    isinstance(model, GoogLeNet)
    and network.image_shape == (224, 224, 3)
    and (model.stem, model.width, model.module) == ('imagenet', 1, 'reduced')
    and model.modules is None
  )


def _stages(found: cost.Cost) -> dict[str, tuple[int, int, int]]:
  """(parameters, multiply-adds, kept bytes) by stage."""
  stages = {}
  for row in found.rows:
    old = stages.get(_map_size(row), (0, 0, 0))
    new = row.parameters, row.macs, row.kept_bytes
    stages[_map_size(row)] = tuple(a + b for a, b in zip(old, new, strict=True))
  return stages


def _map_size(row) -> str:
  return _side(row.shape[:2]) if len(row.shape) == 3 else 'classifier'


def _side(pair) -> str:
  return str(pair[0]) if pair[0] == pair[1] else f'{pair[0]}x{pair[1]}'
