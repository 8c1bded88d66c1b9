"""The record of a run: appended, cut where a run goes on, and what is drawn from it."""

import pytest
from etils import epath
from tfevents import events

from googlenet_jax.errors import InputError
from googlenet_jax.run import metrics_log

VALUES = {'epoch': 0.1, 'loss': 1.0, 'main_loss': 1.0, 'main_top1': 0.5, 'learning_rate': 0.1}


def recorded(folder, steps):
  made = metrics_log.MetricsLog(epath.Path(folder), 0)
  for step in steps:
    made.add(step, 'train', **VALUES)
  return made


def test_later_lines_of_an_interrupted_run_are_dropped(tmp_path):
  recorded(tmp_path, (1, 2, 3)).close()
  again = metrics_log.MetricsLog(epath.Path(tmp_path), 2)
  assert [line['step'] for line in metrics_log.read(epath.Path(tmp_path))] == [1, 2]
  again.add(3, 'train', **VALUES | {'loss': 2.0})
  again.close()
  assert [line['loss'] for line in metrics_log.read(epath.Path(tmp_path))] == [1.0, 1.0, 2.0]
  assert len(list(tmp_path.glob('events.out.tfevents.*'))) == 1


def test_a_line_is_appended(tmp_path):
  made = recorded(tmp_path, (1,))
  path = tmp_path / 'metrics.jsonl'
  before, file = path.read_bytes(), path.stat().st_ino
  made.add(2, 'train', **VALUES)
  assert path.stat().st_ino == file  # not written anew
  assert path.read_bytes().startswith(before)
  assert [line['step'] for line in metrics_log.read(epath.Path(tmp_path))] == [1, 2]


@pytest.mark.parametrize('left', [1, 20, -1])
def test_a_torn_last_line_is_dropped(tmp_path, left):
  recorded(tmp_path, (1, 2, 3)).close()
  path = tmp_path / 'metrics.jsonl'
  lines = path.read_bytes().splitlines(keepends=True)
  path.write_bytes(b''.join(lines[:2]) + lines[2][:left])
  assert [line['step'] for line in metrics_log.read(epath.Path(tmp_path))] == [1, 2]
  metrics_log.MetricsLog(epath.Path(tmp_path), 3).add(3, 'train', **VALUES)
  assert [line['step'] for line in metrics_log.read(epath.Path(tmp_path))] == [1, 2, 3]


def test_a_torn_line_before_the_last_is_an_error(tmp_path):
  recorded(tmp_path, (1, 2)).close()
  path = tmp_path / 'metrics.jsonl'
  path.write_bytes(path.read_bytes()[5:])
  with pytest.raises(InputError, match='cannot be read'):
    metrics_log.read(epath.Path(tmp_path))


def test_in_an_object_store_the_whole_is_written_before_a_checkpoint(tmp_path):
  made = recorded(tmp_path, (1,))
  made._remote = True
  made.add(2, 'train', **VALUES)
  assert [line['step'] for line in metrics_log.read(epath.Path(tmp_path))] == [1]
  made.save()
  assert [line['step'] for line in metrics_log.read(epath.Path(tmp_path))] == [1, 2]


def test_pictures_are_made_again_beside_a_run_that_writes(tmp_path):
  recorded(tmp_path, (1, 2)).close()
  path = tmp_path / 'metrics.jsonl'
  with path.open('a') as file:
    file.write('{"step": 3, "spl')
    file.flush()
    metrics_log.MetricsLog(epath.Path(tmp_path), None).close()
    file.write('it": "train"}\n')
  assert [line['step'] for line in metrics_log.read(epath.Path(tmp_path))] == [1, 2, 3]


def test_events_keep_the_time_of_their_measurement(tmp_path, monkeypatch):
  now = iter(range(1000, 2000))
  monkeypatch.setattr(metrics_log.time, 'time', lambda: next(now))
  recorded(tmp_path, (1, 2)).close()
  first = {(event.step, event.wall_time) for event in events(tmp_path) if event.step}
  assert first == {(line['step'], line['time']) for line in metrics_log.read(epath.Path(tmp_path))}
  metrics_log.MetricsLog(epath.Path(tmp_path), 2).close()  # written again, later
  assert {(event.step, event.wall_time) for event in events(tmp_path) if event.step} == first
