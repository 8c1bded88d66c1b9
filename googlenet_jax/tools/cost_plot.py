"""A picture of what networks cost, and of their accuracy against it."""

import itertools
import math
from collections.abc import Mapping

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import LogLocator, MaxNLocator
from matplotlib.transforms import Bbox

from googlenet_jax import plots

BANDS = {'100 and more': 100, '50 to 99': 50, '25 to 49': 25, '12 to 24': 12, 'below 12': 0}
COSTS = ('parameters (M)', 'multiply-adds (M)', 'kept for the backward pass (MB)')


@plots.plain
def draw(
  stages: Mapping[str, Mapping[str, tuple[int, int, int]]],
  errors: Mapping[str, tuple[float, str]],
) -> bytes:
  """Where networks have their parameters, multiply-adds and memory; accuracy against cost.

  Args:
    stages: (parameters, multiply-adds, bytes kept for the backward pass) by network and stage; a
      stage is named by the size of its maps.
    errors: published top-5 error in percent and the kind of test that gave it, by network.
  """
  known = {name: errors[name] for name in stages if name in errors}
  heights = [2.2 + 0.35 * len(stages)] + ([5.5] if len(known) > 1 else [])
  figure = Figure(figsize=(13, sum(heights)), layout='constrained')
  parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
  _bars(parts[0], stages)
  if len(known) > 1:
    totals = {name: [sum(x) for x in zip(*stages[name].values(), strict=True)] for name in known}
    _dots(figure, parts[1].subplots(1, 2, width_ratios=(5, 1)), totals, known)
  return plots.png(figure)


def _bars(figure, stages) -> None:
  """Bars of each cost by network, their parts by the size of the maps, with the sum at the end."""
  names = list(stages)
  palette = matplotlib.colormaps['viridis'](np.linspace(0.95, 0.15, len(BANDS)))
  colors = dict(zip(BANDS, palette, strict=True)) | {'classifier': 'C3'}

  def band(size):
    pixels = size.split('x')[0]
    if not pixels.isdigit():
      return size
    return next(name for name, least in BANDS.items() if int(pixels) >= least)

  places = figure.subplots(1, len(COSTS))
  for i, (axes, title) in enumerate(zip(places, COSTS, strict=True)):
    left = np.zeros(len(names))
    for name_of, color in colors.items():
      width = np.array(
        [sum(x[i] for size, x in stages[name].items() if band(size) == name_of) for name in names]
      )
      axes.barh(names, width / 1e6, left=left, color=color, label=name_of, edgecolor='w', lw=0.3)
      left += width / 1e6
    for row, total in enumerate(left):  # a small network's bar cannot be seen
      text = f'{total:,.0f}' if total >= 100 else f'{total:.3g}'
      axes.annotate(
        text, (total, row), xytext=(3, 0), textcoords='offset points', va='center', fontsize=8
      )
    axes.set_title(title)
    axes.margins(x=0.16, y=0.02)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.invert_yaxis()
    if i:
      axes.set_yticks([])
  figure.legend(
    *places[0].get_legend_handles_labels(),
    title='layers by the side of their maps, pixels',
    loc='outside lower center',
    ncols=12,
    fontsize=8,
  )


def _dots(figure, places, totals, errors) -> None:
  """Published error by multiply-adds; a dot's area is the parameters, its colour the test."""
  axes, side = places
  largest = max(total[0] for total in totals.values())

  def area(parameters):  # points squared
    return max(700 * parameters / largest, 12)

  tests = list(dict.fromkeys(test for _, test in errors.values()))
  points = {name: (totals[name][1] / 1e9, error) for name, (error, _) in errors.items()}
  for name, point in points.items():
    color = f'C{tests.index(errors[name][1])}'
    axes.scatter(*point, s=area(totals[name][0]), color=color, alpha=0.6, lw=0)
  axes.set(xscale='log', xlabel='multiply-adds (G)', title='published top-5 error (%)')
  axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
  axes.xaxis.set_major_formatter('{x:g}')  # its own is mathematics
  axes.xaxis.set_minor_formatter('')
  axes.margins(0.12)
  axes.grid(alpha=0.3)
  kinds = [side.scatter([], [], color=f'C{i}', label=test) for i, test in enumerate(tests)]
  sizes = [
    side.scatter([], [], s=area(n), color='gray', label=f'{n / 1e6:.0f} M', alpha=0.6, lw=0)
    for n in (largest / 25, largest / 5, largest)
  ]
  side.axis('off')
  style = {'fontsize': 8, 'handletextpad': 1.2, 'borderpad': 1}
  side.add_artist(
    side.legend(handles=kinds, title='colour: test', loc='upper left', labelspacing=1, **style)
  )
  side.legend(handles=sizes, title='area: parameters', loc='lower left', labelspacing=2.2, **style)
  figure.draw_without_rendering()  # gives everything its place
  _place_labels(figure, axes, points, {name: area(totals[name][0]) for name in points})


def _place_labels(figure, axes, points, areas) -> None:
  """Names points where no name and no other point is: beside them, or further off with a line.

  Args:
    figure: figure that has been laid out.
    axes: place of the points.
    points: (x, y) by name.
    areas: areas of the dots, points squared.
  """
  renderer, scale = FigureCanvasAgg(figure).get_renderer(), figure.dpi / 72
  places = {name: axes.transData.transform(point) for name, point in points.items()}
  radii = {name: scale * math.sqrt(areas[name] / math.pi) for name in points}
  taken = [
    Bbox.from_bounds(x - radii[name], y - radii[name], 2 * radii[name], 2 * radii[name])
    for name, (x, y) in places.items()
  ]
  angles = np.radians((0, 180, 90, 270, 30, 330, 150, 210, 60, 300, 120, 240))
  for name, point in points.items():
    for gap, angle in itertools.product((2, 10, 20, 32, 46, 62), angles):
      distance = radii[name] / scale + gap
      x, y = distance * math.cos(angle), distance * math.sin(angle)
      sides = 'left' if x > 1 else 'right' if x < -1 else 'center'
      above = 'bottom' if y > 1 else 'top' if y < -1 else 'center'
      label = axes.annotate(
        name,
        point,
        fontsize=8,
        xytext=(x, y),
        textcoords='offset points',
        ha=sides,
        va=above,
        arrowprops={'arrowstyle': '-', 'lw': 0.5, 'color': 'gray'} if gap > 2 else None,
      )
      label.update_positions(renderer)
      box = Text.get_window_extent(label, renderer)  # the label's own would have the line in it
      inside = axes.bbox.contains(box.x0, box.y0) and axes.bbox.contains(box.x1, box.y1)
      if inside and not any(box.overlaps(other) for other in taken):
        taken.append(box)
        break
      label.remove()
    else:  # no room: over another one, rather than not at all
      axes.annotate(name, point, fontsize=8)
