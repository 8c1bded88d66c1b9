"""The record of a run: appended, cut where a run goes on, and what is drawn from it."""

import pytest
from etils import epath
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData
from tfevents import events

from googlenet_jax import writers
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


def test_event_files_hold_curves_pictures_and_the_config(tmp_path):
  (tmp_path / 'config.json').write_text('{"seed": 0, "model": {"name": "nin", "aux_heads": []}}')
  recorded(tmp_path, (1, 2)).close()
  found = events(tmp_path)
  values = [value for event in found for value in event.summary.value]
  tags = {value.tag for value in values}
  assert {'train/loss', 'train/main_top1', 'curves'} <= tags
  assert not {'train/epoch', 'train/step', 'train/time', 'train/seconds'} & tags
  picture = next(value.image for value in values if value.tag == 'curves')
  assert (picture.height, picture.width) == (440, 1430)
  (told,) = (x for x in values if x.tag == '_hparams_/session_start_info')
  content = HParamsPluginData.FromString(told.metadata.plugin_data.content)
  fields = content.session_start_info.hparams
  assert fields['model.name'].string_value == 'nin' and fields['seed'].number_value == 0
  assert fields['model.aux_heads'].string_value == '[]'


def test_weights_and_biases_are_told_each_record_once(tmp_path, monkeypatch):
  pytest.importorskip('wandb')
  for name, value in (('MODE', 'offline'), ('DIR', str(tmp_path)), ('SILENT', 'true')):
    monkeypatch.setenv(f'WANDB_{name}', value)
  (tmp_path / 'run').mkdir()
  (tmp_path / 'run' / 'config.json').write_text('{"seed": 3}')
  run, made = epath.Path(tmp_path / 'run'), writers.create(('wandb',), {})
  for goes_on_from, steps in ((0, (1, 2)), (1, (2, 3))):  # it was killed after the record of 2
    log = metrics_log.MetricsLog(run, goes_on_from, writers=made)
    for step in steps:
      log.add(step, 'train', **VALUES)
    log.add(steps[-1], 'validation', epoch=1.0, loss=1.0, top1=0.5)
    log.close()
  paths = sorted(tmp_path.glob('wandb/offline-run-*/*.wandb'))
  assert len({path.name for path in paths}) == 1 and len(paths) == 2  # one run, in two parts
  first, second = (path.read_bytes() for path in paths)  # logs of buffers that are not packed
  # In the history and in the summary: two records, then one.
  assert (first.count(b'train/loss'), second.count(b'train/loss')) == (4, 2)
  assert (first.count(b'validation/top1'), second.count(b'validation/top1')) == (2, 2)
  assert b'train/epoch' not in first
  assert list(paths[0].parent.glob('files/media/images/curves_*.png'))


def test_a_writer_whose_package_is_absent_is_refused(monkeypatch):
  monkeypatch.setattr(writers.WeightsAndBiases, 'needs', 'no_such_package')
  with pytest.raises(InputError, match=r"writers has 'wandb': pip install no_such_package"):
    writers.create(('wandb',), {})
