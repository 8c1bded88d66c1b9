"""Going on with a run: what is checked before anything is written, and what is kept of changes."""

import json
import shutil

import pytest
from etils import epath

from googlenet_jax import checkpoint, schema, stored, training
from googlenet_jax.data import datasets
from googlenet_jax.errors import InputError
from googlenet_jax.run import metrics_log, score, workdirs


def run(config, workdir, **kwargs):
  return training.train(config, epath.Path(workdir), **kwargs)


def contents(folder):
  """The files in a folder, but for the lock, which names the last process."""
  return {
    path.relative_to(folder): path.read_bytes()
    for path in folder.rglob('*')
    if path.is_file() and path.name != 'lock'
  }


def photo_run(c, folder):
  """Makes `plain` a run on a copy of photos."""
  c.dataset.name, c.dataset.in_memory = 'folder', False
  c.dataset.data_dir = str(folder)
  c.dataset.train, c.dataset.validation, c.dataset.test = 'all[:60%]', 'all[60%:80%]', ''
  c.augment.pad = 0
  c.train.batch_size, c.train.duration = 8, '6 steps'


@pytest.fixture
def plain(tiny):
  """The `tiny` config with a network whose steps are compiled at once."""
  c = tiny
  c.model.update(name='lenet5', width=None, norm=None, stem=None, aux_heads=())
  c.model.fields = {}
  c.train.sync_batch_norm, c.average.name = False, 'none'
  c.dataset.image_size = 32
  return c


@pytest.fixture
def photos(two_classes, tmp_path):
  """A copy of `two_classes` that may be changed."""
  return shutil.copytree(two_classes, tmp_path / 'photos')


def swap_labels(photos):
  (photos / 'dusk').rename(photos / 'other')
  (photos / 'noon').rename(photos / 'dusk')
  (photos / 'other').rename(photos / 'noon')


def replace_a_photo(photos):
  path = photos / 'dusk' / '00.jpg'  # one that 60% keep for training
  path.write_bytes(path.read_bytes() + b'\0')


@pytest.mark.parametrize('change', [swap_labels, replace_a_photo])
def test_other_data_is_refused_and_nothing_is_touched(plain, photos, tmp_path, change):
  photo_run(plain, photos)
  run(plain, tmp_path / 'run', stop_at=4)
  with open(tmp_path / 'run' / 'metrics.jsonl', 'a') as file:  # measured after the checkpoint
    file.write(json.dumps({'step': 5, 'split': 'train', 'epoch': 0.2}) + '\n')
  before = contents(tmp_path / 'run')
  change(photos)
  plain.log.every = '1 steps'
  with pytest.raises(InputError, match=r"'all\[:60%\]' of the dataset is not what it was"):
    run(plain, tmp_path / 'run')
  assert contents(tmp_path / 'run') == before


def test_moved_data_is_the_same(plain, photos, tmp_path):
  photo_run(plain, photos)
  run(plain, tmp_path / 'run', stop_at=4)
  photos.rename(tmp_path / 'moved')
  plain.dataset.data_dir = str(tmp_path / 'moved')
  assert run(plain, tmp_path / 'run')['resumed_from_step'] == 4


def test_other_pixels_in_memory_are_refused(plain, tmp_path, monkeypatch):
  run(plain, tmp_path, stop_at=4)
  load = datasets.DATASETS['digits']

  def another(split):
    split = load(split)
    split.labels[:2] = split.labels[1::-1]
    return split

  monkeypatch.setitem(datasets.DATASETS, 'digits', another)
  with pytest.raises(InputError, match=r"'train\[:64\]' of the dataset is not what it was"):
    run(plain, tmp_path)


def test_the_first_config_stays_and_changes_are_lines_with_their_step(plain, tmp_path):
  run(plain, tmp_path, stop_at=4)
  first = (tmp_path / 'config.json').read_bytes()
  run(plain, tmp_path, stop_at=5)
  assert not (tmp_path / 'config_changes.jsonl').exists()
  plain.log.every, plain.dataset.test = '2 steps', 'test[:40]'
  run(plain, tmp_path, stop_at=6)
  plain.log.every = '3 steps'
  run(plain, tmp_path)
  assert (tmp_path / 'config.json').read_bytes() == first
  lines = [json.loads(line) for line in (tmp_path / 'config_changes.jsonl').open()]
  assert [(line['step'], line['fields']) for line in lines] == [
    (5, {'log.every': '2 steps', 'dataset.test': 'test[:40]'}),
    (6, {'log.every': '3 steps'}),
  ]
  starts = [json.loads(line) for line in (tmp_path / 'starts.jsonl').open()]
  assert [line['step'] for line in starts] == [0, 4, 5, 6]
  summary = json.loads((tmp_path / 'summary.json').read_text())
  assert {'command', 'commit', 'changed', 'host', 'processor', 'xla_flags'} <= summary.keys()


def test_a_finished_run_does_not_answer_another_question(plain, tmp_path):
  summary = run(plain, tmp_path)
  assert run(plain, tmp_path) == summary
  plain.eval.batch_size = 7  # not what the summary is about
  assert run(plain, tmp_path) == summary
  plain.dataset.test, plain.eval.checkpoint = 'test[:10]', 'last'
  says = (
    r"its summary is of config.dataset.test='test\[:50\]', config.eval.checkpoint='best': "
    r"--mode=evaluate --config.dataset.test='test\[:10\]' --config.eval.checkpoint=last scores"
  )
  with pytest.raises(InputError, match=says):
    run(plain, tmp_path)
  assert score.evaluate(plain, epath.Path(tmp_path))['examples'] == 10  # as is advised
  plain.dataset.test = ''
  with pytest.raises(InputError, match=r"test='test\[:50\]', .*: give that"):
    run(plain, tmp_path)
  plain.dataset.test, plain.eval.checkpoint = 'test[:50]', 'best'
  plain.eval.metrics = ('top1', 'top2')
  with pytest.raises(InputError, match=r"--config.eval.metrics='\('\"'\"'top1'"):  # for a shell
    run(plain, tmp_path)


def test_what_a_checkpoint_is_chosen_by_stays(plain, tmp_path):
  run(plain, tmp_path, stop_at=4)
  plain.eval.flip = True
  with pytest.raises(InputError, match=r'chooses its checkpoint with config.eval.flip=False'):
    run(plain, tmp_path)
  scores = score.evaluate(plain, epath.Path(tmp_path))  # as is advised
  assert scores['loss'] != scores['loss_unflipped']


def test_what_a_run_is_counts_from_its_first_checkpoint_on(plain, photos, tmp_path):
  photo_run(plain, photos)
  for name in ('first', 'second'):  # what the classes are called, not their folders
    plain.dataset.classes = str(tmp_path / 'list.txt')
    (tmp_path / 'list.txt').write_text(f'dusk the {name}\nnoon other\n')
    plain.train.duration = '6 steps'
    if name == 'first':
      run(plain, tmp_path / 'run', stop_at=4)
      shutil.rmtree(tmp_path / 'run' / 'checkpoints')
  run(plain, tmp_path / 'run')
  about = json.loads((tmp_path / 'run' / 'network.json').read_text())
  assert about['class_names'] == ['the second', 'other']


def test_a_damaged_record_is_told_before_anything_is_written(plain, tmp_path):
  run(plain, tmp_path, stop_at=4)
  path = tmp_path / 'metrics.jsonl'
  path.write_bytes(b'{' + path.read_bytes())
  before = contents(tmp_path)
  plain.log.every = '2 steps'
  with pytest.raises(InputError, match=r'metrics.jsonl cannot be read'):
    run(plain, tmp_path)
  assert contents(tmp_path) == before


@pytest.mark.parametrize('written', [None, checkpoint.FORMAT - 1, checkpoint.FORMAT + 1])
def test_a_run_of_another_version_is_refused(plain, tmp_path, written):
  run(plain, tmp_path, stop_at=4)
  path = tmp_path / 'run.json'
  if written is None:
    path.unlink()
  else:
    path.write_text(json.dumps(json.loads(path.read_text()) | {'format': written}))
  before = contents(tmp_path)
  with pytest.raises(InputError, match=r'another version of googlenet_jax \(format .*, not 4\)'):
    run(plain, tmp_path)
  assert contents(tmp_path) == before


def test_a_damaged_checkpoint_stays_where_the_run_is_refused(plain, tmp_path):
  run(plain, tmp_path, stop_at=4)
  run(plain, tmp_path, stop_at=5)
  (tmp_path / 'checkpoints' / '5' / stored.SUMS).unlink()
  plain.dataset.test = 'tests'
  with pytest.raises(InputError, match="no split 'tests'"):
    run(plain, tmp_path)
  assert (tmp_path / 'checkpoints' / '5').exists()
  plain.dataset.test = 'test[:50]'
  assert run(plain, tmp_path)['resumed_from_step'] == 4
  assert (tmp_path / 'damaged' / '5').exists()


def test_checkpoints_by_time(plain, tmp_path):
  plain.checkpoint.minutes, plain.checkpoint.keep = 1e-9, 99
  plain.eval.every = '100%'
  run(plain, tmp_path / 'often')
  steps = {int(path.name) for path in (tmp_path / 'often' / 'checkpoints').iterdir()}
  lines = metrics_log.read(epath.Path(tmp_path / 'often'))
  assert steps == {line['step'] for line in lines if line['split'] == 'train'} == {3, 6, 9, 11}


def test_the_config_of_a_run_is_that_of_its_last_start(tmp_path):
  c = schema.config()
  c.schedule.points = (('0 epochs', 0.2), ('25%', 1.0))
  c.model.aux_heads = ('4a',)
  c.model.fields = {'depth': 3}
  folder = epath.Path(tmp_path)
  assert workdirs.config(folder) is None
  (folder / 'config.json').write_text(schema.to_json(c))
  assert workdirs.config(folder).to_dict() == c.to_dict()
  line = '{"step": 1, "time": 0.0, "fields": {"eval.batch_size": 7, "dataset.test": "all"}}\n'
  (folder / 'config_changes.jsonl').write_text(line)
  c.eval.batch_size, c.dataset.test = 7, 'all'
  assert workdirs.config(folder).to_dict() == c.to_dict()
  assert (
    schema.differences(schema.flat(json.loads(schema.to_json(c))), workdirs.config(folder)) == []
  )
  (folder / 'config.json').write_text('{"gone": 1}')
  with pytest.raises(InputError, match='another version, with gone'):
    workdirs.config(folder)


def test_a_run_out_of_patience_ends_and_one_that_was_stopped_ends_there_too(plain, tmp_path):
  plain.optimizer.lr = 1e-30  # no score changes
  plain.eval.every, plain.eval.patience = '2 steps', 2
  for name, stops in (('straight', ()), ('parts', (5, 6))):
    for stop in stops:
      run(plain, tmp_path / name, stop_at=stop)
    summary = run(plain, tmp_path / name)
    lines = metrics_log.read(epath.Path(tmp_path / name))
    assert [line['step'] for line in lines if line['split'] == 'validation'] == [2, 4, 6]
    assert summary['steps'] == 6
    assert summary['epochs'] == pytest.approx(6 * 24 / 64)
  plain.eval.patience = 9
  with pytest.raises(InputError, match=r'eval\.patience: 2 there, 9 here'):
    run(plain, tmp_path / 'parts')
