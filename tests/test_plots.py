"""Pictures of a run: any name of a class can be in them."""

import io
import itertools
import subprocess
import sys
import warnings

import matplotlib
import numpy as np
import pytest
from PIL import Image

from googlenet_jax import plots
from googlenet_jax.tools import cost_plot

# Mathematics to matplotlib, and no valid one; no UTF-8; not in its font; drawn from right to left.
NAMES = ('US$_vs_A$', '$x$', 'caf\udce9', '中文', 'ab\tc', 'שלום')


BLACK = np.zeros((4, 4, 3), np.uint8)


def pixels(png):
  return np.asarray(Image.open(io.BytesIO(png)).convert('L'), float)


@pytest.mark.parametrize(
  'draw',
  [
    lambda names: plots.confusion(np.eye(len(names)), names, names[0]),
    lambda names: plots.grid(np.zeros((len(names), 4, 4, 3)), list(names), names[0]),
    lambda names: plots.overlays(BLACK, {'3a': np.zeros((4, 4))}, ', '.join(names)),
  ],
)
def test_any_name_is_drawn_and_nothing_is_said(draw):
  with warnings.catch_warnings():
    warnings.simplefilter('error')
    pictures = [draw(NAMES[i:]) for i in range(len(NAMES) - 1)]
  assert all(pixels(picture).std() > 5 for picture in pictures)


def test_a_name_is_drawn_as_it_is_written(monkeypatch):
  monkeypatch.setattr(plots, 'png', lambda figure: figure)
  figure = plots.confusion(np.eye(3), NAMES[:3], 'costs $_$')
  figure.canvas.draw()
  (axes, _) = figure.axes
  told = [*axes.get_xticklabels(), *axes.get_yticklabels(), axes.title]
  names = ['US$_vs_A$', '$x$', 'caf\\udce9']
  assert [text.get_text() for text in told] == [*names, *names, 'costs $_$']
  assert not any(text.get_parse_math() for text in told)


def drawn(monkeypatch, draw, *arguments):
  monkeypatch.setattr(plots, 'png', lambda figure: figure)
  figure = draw(*arguments)
  figure.canvas.draw()
  return figure


def costs_of(*networks):
  """Stages and errors of networks of (parameters, multiply-adds, error)."""
  stages = {f'network{i}': {'28x28': (n, macs, n)} for i, (n, macs, _) in enumerate(networks)}
  tests = '1 crop', '10 crops'
  return stages, {f'network{i}': (x[2], tests[i % 2]) for i, x in enumerate(networks)}


def test_costs_are_labelled_with_plain_numbers(monkeypatch):
  figure = drawn(
    monkeypatch, cost_plot.draw, *costs_of((10**6, 10**9, 9.0), (10**7, 9 * 10**9, 7.0))
  )
  axes = figure.axes[-2]
  labels = [text.get_text() for text in axes.get_xticklabels(which='both')]
  assert {float(x) for x in labels if x} >= {1, 2, 5, 10}
  told = [text.get_text() for text in figure.findobj(matplotlib.text.Text)]
  assert {'1 crop', '10 crops', 'area: parameters', '10 M'} <= set(told)
  assert {'1', '10', '1,000', '9,000'} <= set(told)  # at the end of the bars


def test_names_of_near_networks_do_not_collide(monkeypatch):
  """Six networks of one cost and error within a tenth of a percent, and one alone."""
  near = [(10**7 * (i + 1), 10**9 * (1 + i / 100), 7.0 + i / 50) for i in range(6)]
  figure = drawn(monkeypatch, cost_plot.draw, *costs_of(*near, (10**6, 9 * 10**9, 9.0)))
  names = [x for x in figure.axes[-2].texts if x.get_text().startswith('network')]
  assert len(names) == 7
  boxes = [matplotlib.text.Text.get_window_extent(x) for x in names]
  assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


def test_curves_name_heads_and_spread_high_accuracies(monkeypatch):
  """99% is as far from 90% as 90% from nothing."""
  lines = [
    {'split': 'train', 'epoch': i, 'loss': 1.0, 'learning_rate': 0.1}
    | {f'{head}_{what}': x for head in ('main', 'aux1') for what in ('loss', 'top1')}
    for i, x in enumerate((0.0, 0.9, 0.99, 1.0))
  ]
  figure = drawn(monkeypatch, plots.curves, lines, {'aux1': 'aux1 (4a)'})
  axes = figure.axes[1]
  labels = [text.get_text() for text in axes.get_legend().get_texts()]
  assert labels == ['training, main', 'training, aux1 (4a)']
  heights = axes.transData.transform([(0, x) for x in (0, 90, 99, 100)])[:, 1]
  assert heights[2] - heights[1] == pytest.approx(heights[1] - heights[0], rel=0.05)
  assert heights[3] < axes.bbox.y1
  assert [text.get_text() for text in axes.get_yticklabels()][-4:] == ['99', '99.5', '99.8', '100']


@pytest.mark.parametrize(('classes', 'text'), [(3, '1,200\n85.7%'), (12, '1,200')])
def test_confusions_of_few_classes_have_counts(monkeypatch, classes, text):
  counts = np.zeros((classes, classes))
  counts[1, :2] = 200, 1200
  names = ('great white shark, white shark, man-eater', *map(str, range(1, classes)))
  axes = drawn(monkeypatch, plots.confusion, counts, names, 'x').axes[0]
  assert [x.get_text() for x in axes.texts][1] == text
  assert axes.get_yticklabels()[0].get_text() == 'great white shark, white s...'


def test_other_warnings_are_shown():
  title = 'a long title ' * 40
  with pytest.warns(UserWarning, match='constrained_layout not applied'):
    plots.grid(np.zeros((1, 4, 4, 3)), [''], 30 * f'{title}\n')


def test_pictures_leave_the_callers_settings():
  code = """if True:
    import matplotlib
    before = dict(matplotlib.rcParams.items())
    from googlenet_jax import plots
    plots.curves([{'split': 'train', 'epoch': 1.0, 'loss': 1.0, 'learning_rate': 0.1}])
    after = dict(matplotlib.rcParams.items())
    assert before == after, {x for x in before if before[x] != after[x]}
    """
  done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=False)
  assert done.returncode == 0, done.stderr
