"""What a person is told of a run, by a clock that is set by hand."""

import io
import re
import sys
import types

import pytest

from googlenet_jax import progress

LINE = {'epoch': 1.0, 'loss': 2.0, 'main_top1': 0.5}


@pytest.fixture
def clock(monkeypatch):
  """The time in seconds, `clock.now`."""
  made = types.SimpleNamespace(now=100.0)
  monkeypatch.setattr(progress, 'time', types.SimpleNamespace(monotonic=lambda: made.now))
  return made


def left(capsys):
  """The time left in each line that was printed since, '' where a line has none."""
  lines = capsys.readouterr().out.splitlines()
  return [(re.findall(r', ([\d:]+) left$', line) or [''])[0] for line in lines]


def test_neither_compilation_nor_evaluations_count_as_steps(clock, capsys):
  shown = progress.Progress(total=1020, start=10)
  clock.now += 600
  shown.advance(20)  # the first call: it compiled, and did ten steps
  shown.show(20, LINE)
  assert left(capsys) == ['']
  clock.now += 200  # two seconds a step
  shown.advance(120)
  shown.show(120, LINE)
  assert left(capsys) == ['30:00']
  with shown.pause():
    clock.now += 300  # it compiles too
  shown.show(120, LINE)
  assert left(capsys) == ['30:00']
  clock.now += 200
  shown.advance(220)
  with shown.pause():
    clock.now += 20
  shown.show(220, LINE)  # 800 steps, and eight evaluations more
  assert left(capsys) == ['29:20']
  clock.now += 200
  shown.advance(320)
  clock.now += 1400
  shown.advance(1020)
  shown.show(1020, LINE)
  assert left(capsys) == ['0:00']


def test_a_run_that_goes_back_begins_its_clock_anew(clock, capsys):
  shown = progress.Progress(total=40, start=0)
  for step in (10, 20, 10, 20):
    clock.now += 30
    shown.advance(step)
    shown.show(step, LINE)
  assert left(capsys) == ['', '1:00', '', '1:00']


def test_what_compiling_took_is_said(clock, capsys):
  with progress.Progress(total=5, start=0).compiling():
    clock.now += 75.25
  said = capsys.readouterr().out.splitlines()
  assert said == [
    'compiling the training step ...',
    'compiled the training step and ran it once: 75.2 s',
  ]


def test_the_only_call_of_a_run_leaves_nothing(clock, capsys):
  shown = progress.Progress(total=5, start=0)
  shown.advance(5)
  shown.show(5, LINE)
  assert left(capsys) == ['0:00']


def test_the_bar_shows_what_it_waits_for_and_what_is_left(clock, monkeypatch):
  terminal = io.StringIO()
  terminal.isatty = lambda: True
  monkeypatch.setattr(sys, 'stderr', terminal)
  shown = progress.Progress(total=1010, start=0)
  with shown.compiling():
    assert 'compiling the training step ...' in terminal.getvalue()
    clock.now += 600
  shown.advance(10)
  clock.now += 100
  shown.advance(60)
  shown.say('a line')  # draws the bar again
  assert terminal.getvalue().endswith(', 31:40 left]') and ', , ' not in terminal.getvalue()
  shown.advance(110)
  shown.show(110, LINE)
  shown.close()
  last = terminal.getvalue().split('\r')[-1]
  assert '110/1010' in last and last.strip().endswith('top-1 50.0%, 15:00 left]'), last


def test_others_than_the_main_process_say_nothing(clock, capsys):
  shown = progress.Progress(total=10, start=0, active=False)
  with shown.compiling():
    shown.advance(5)
  shown.show(5, LINE)
  assert capsys.readouterr().out == ''
