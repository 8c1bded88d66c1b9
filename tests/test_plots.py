"""Pictures of a run: any name of a class can be in them."""

import io
import warnings

import numpy as np
import pytest
from PIL import Image

from googlenet_jax import plots

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
  monkeypatch.setattr(plots, '_png', lambda figure: figure)
  figure = plots.confusion(np.eye(3), NAMES[:3], 'costs $_$')
  figure.canvas.draw()
  (axes, _) = figure.axes
  told = [*axes.get_xticklabels(), *axes.get_yticklabels(), axes.title]
  names = ['US$_vs_A$', '$x$', 'caf\\udce9']
  assert [text.get_text() for text in told] == [*names, *names, 'costs $_$']
  assert not any(text.get_parse_math() for text in told)


def test_costs_are_labelled_with_plain_numbers(monkeypatch):
  monkeypatch.setattr(plots, '_png', lambda figure: figure)
  stages = {'a': {'28x28': (10**6, 10**9, 10**7)}, 'b': {'28x28': (10**7, 9 * 10**9, 10**8)}}
  figure = plots.costs(stages, {'a': (9.0, 'x'), 'b': (7.0, 'y')})
  figure.canvas.draw()
  axes = figure.axes[-1]
  labels = [text.get_text() for text in axes.get_xticklabels(which='both')]
  assert {float(x) for x in labels if x} >= {1, 2, 5, 10}


def test_other_warnings_are_shown():
  title = 'a long title ' * 40
  with pytest.warns(UserWarning, match='constrained_layout not applied'):
    plots.confusion(np.eye(2), (200 * 'm', 200 * 'n'), title)
