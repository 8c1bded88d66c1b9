"""Pictures of a comparison as SVG that takes its colour from the page around it."""

import io
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from googlenet_jax.evidence.outcomes import FIRST_STEPS, OUTCOMES
from googlenet_jax.evidence.report import MAIN, Arm, Comparison

INK = '#010203'  # becomes the page's own colour of text
COLORS = ('#3b7dd8', '#d9822b', '#3aa35b', '#c8487a', '#8a63c9', '#2aa5a5', '#a08a1f', '#8c6d5a')
VERDICTS = {  # colours of the findings
  'supported': '#3aa35b',
  'equivalent': '#3b7dd8',
  'refuted': '#d1453b',
  'unresolved': '#8a8f98',
  'not yet run': '#8a8f98',
  'too few runs': '#8a8f98',
}
STYLE = {
  'svg.fonttype': 'none',
  'svg.hashsalt': 'googlenet_jax',  # the same bytes each time
  'font.size': 9,
  'axes.spines.top': False,
  'axes.spines.right': False,
  **{
    f'{x}color': INK for x in ('text.', 'axes.edge', 'axes.label', 'xtick.', 'ytick.', 'axes.title')
  },
}


def differences(comparison: Comparison, outcome: str) -> str:
  """The claims on an outcome: difference, interval, a dot a run, and the margin that is none."""
  found = [x for x in comparison.findings if x.claim.outcome == outcome and x.difference]
  figure, axes = _axes(8, 0.9 + 0.62 * len(found))
  for place, (claim, difference, _, verdict) in enumerate(reversed(found)):
    color = VERDICTS[verdict]
    axes.barh(
      place, 2 * claim.margin, left=-claim.margin, height=0.7, color=COLORS[0], alpha=0.12, lw=0
    )
    axes.plot((difference.low, difference.high), (place, place), color=color, lw=2.5)
    axes.plot(difference.value, place, 'D', color=color, ms=6)
    first, second = (comparison.arms[x].values(outcome) for x in (claim.a, claim.b))
    dots = np.subtract(first, np.mean(second))
    axes.plot(dots, np.full(len(dots), place + 0.22), 'o', color=INK, ms=3, alpha=0.6, mew=0)
    axes.annotate(
      verdict, (1.01, place), xycoords=('axes fraction', 'data'), va='center', color=color
    )
  axes.axvline(0, color=INK, lw=0.8)
  names = [f'{x.claim.a}\nless {x.claim.b}' for x in reversed(found)]
  axes.set_yticks(range(len(found)), names)
  axes.set_ylim(-0.6, len(found) - 0.4)
  about = OUTCOMES[outcome]
  axes.set_xlabel(f'difference in {about.title} ({"points" if about.unit == "%" else about.unit})')
  return _svg(figure)


def against_cost(comparison: Comparison) -> str:
  """The outcome of every run against the multiply-adds of its network."""
  figure, axes = _axes(8, 3.6)
  for arm, color in _colored(comparison):
    values = arm.values(MAIN)
    if not values:
      continue
    cost = arm.results[0].content['multiply_adds'] / 1e6
    axes.plot(np.full(len(values), cost), values, 'o', color=color, ms=4, alpha=0.5, mew=0)
    axes.plot(cost, np.mean(values), 'D', color=color, ms=7, label=arm.name)
  axes.set_xscale('log')
  axes.xaxis.set_major_formatter(matplotlib.ticker.FormatStrFormatter('%g'))
  axes.xaxis.set_minor_formatter(matplotlib.ticker.FormatStrFormatter('%g'))
  axes.set_xlabel('multiply-adds of an image (M)')
  axes.set_ylabel('test top-1 (%)')
  _legend(axes)
  return _svg(figure)


def curves(comparison: Comparison, epoch_minutes: Mapping[str, float] | None = None) -> str:
  """Training loss: the mean of an arm's runs, and the band from the least to the most.

  Args:
    comparison: the comparison.
    epoch_minutes: minutes of an epoch by arm, for curves over time; over epochs without.
  """
  figure, axes = _axes(8, 3.6)
  for arm, color in _colored(comparison):
    runs = [np.array(x.content['curve']) for x in arm.results if x.content['curve']]
    if not runs:
      continue
    length = min(map(len, runs))
    along, losses = runs[0][:length, 1], np.stack([run[:length, 2] for run in runs])
    if epoch_minutes:
      along = along * epoch_minutes[arm.name]
    axes.fill_between(along, losses.min(0), losses.max(0), color=color, alpha=0.2, lw=0)
    axes.plot(along, losses.mean(0), color=color, lw=1.5, label=arm.name)
  axes.set_xlabel('minutes of training' if epoch_minutes else 'epoch')
  axes.set_ylabel('training loss (nats)')
  _legend(axes)
  return _svg(figure)


def gradients(comparison: Comparison) -> str:
  """The gradient's norm over the parameters' by layer, in the first steps.

  '' where none is known, or no arm has all the layers of the others: they have no order then.
  """
  arms = [x for x in _colored(comparison) if any(y.content['norms'] for y in x[0].results)]
  if not arms:
    return ''
  found = [x.content['norms'] for arm, _ in arms for x in arm.results]
  # In the order of the network with most layers.
  layers = list(dict.fromkeys(y for norms in sorted(found, key=len, reverse=True) for y in norms))
  if len(layers) > max(map(len, found)):
    return ''
  layers.sort(key=_is_head)  # the heads last: they lie beside the way to the classifier
  figure, axes = _axes(8, 3.6)
  for arm, color in arms:
    norms = [x.content['norms'] for x in arm.results if x.content['norms']]
    for heads, style in ((False, 'o-'), (True, 'o')):
      here = [x for x in layers if x in norms[0] and _is_head(x) == heads]
      means = [np.exp(np.mean([np.log(x[layer]) for x in norms])) for layer in here]
      label = None if heads else arm.name
      axes.plot([layers.index(x) for x in here], means, style, color=color, ms=4, label=label)
  axes.set_yscale('log')
  axes.set_xticks(range(len(layers)), [x.removeprefix('inception_') for x in layers], rotation=45)
  axes.set_ylabel(f'gradient over parameters,\nfirst {FIRST_STEPS} steps')
  _legend(axes)
  return _svg(figure)


def _is_head(layer: str) -> bool:
  return layer.startswith('aux')


def alone(svg: str) -> str:
  """A picture as a file of its own, in ink that light and dark pages show."""
  return svg.replace('<svg ', '<svg color="#7d8590" ', 1)


def _colored(comparison: Comparison) -> Sequence[tuple[Arm, str]]:
  return [(arm, COLORS[i % len(COLORS)]) for i, arm in enumerate(comparison.arms.values())]


def _axes(width: float, height: float):
  with matplotlib.rc_context(STYLE):
    figure = Figure(figsize=(width, height), layout='constrained')
    return figure, figure.subplots()


def _legend(axes) -> None:
  if axes.get_legend_handles_labels()[0]:
    axes.legend(frameon=False, loc='center left', bbox_to_anchor=(1, 0.5), labelcolor=INK)


def _svg(figure: Figure) -> str:
  buffer = io.StringIO()
  with matplotlib.rc_context(STYLE):
    figure.savefig(buffer, format='svg', transparent=True, metadata={'Date': None, 'Creator': None})
  text = buffer.getvalue()
  return text[text.index('<svg') :].replace(INK, 'currentColor')
