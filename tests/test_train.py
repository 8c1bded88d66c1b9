"""Whole runs on a few digits: they learn, resume bit for bit, and refuse what does not fit."""

import json
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import tiny_config
from etils import epath
from PIL import Image

from googlenet_jax import evaluation, experiment, inputs, parallel, schema, training
from googlenet_jax.checkpoint import Checkpoints
from googlenet_jax.errors import InputError
from googlenet_jax.run import metrics_log, score
from googlenet_jax.tools import preview

ROOT = pathlib.Path(__file__).resolve().parents[1]
TIMES = ('time', 'seconds', 'images_per_second', 'input_wait')


def run(config, workdir, **kwargs):
  return training.train(config, epath.Path(workdir), **kwargs)


def last_state(config, workdir):
  """Everything in the last checkpoint, as numpy arrays."""
  checkpoints = Checkpoints(epath.Path(workdir))
  empty = experiment.Run(config, inputs.load(config, 'train')).shapes()
  state = parallel.fetch(checkpoints.restore(empty, checkpoints.latest()))
  checkpoints.close()
  return state


def history(workdir):
  lines = metrics_log.read(epath.Path(workdir))
  return [{name: x for name, x in line.items() if name not in TIMES} for line in lines]


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
  """Summary and folder of a run of four epochs, 11 steps."""
  folder = tmp_path_factory.mktemp('finished') / 'run'
  config = tiny_config()
  config.log.pictures = True
  return run(config, folder), folder


@pytest.fixture
def straight(finished, tmp_path):
  """Summary of the finished run, and a copy of its folder."""
  summary, folder = finished
  return summary, shutil.copytree(folder, tmp_path / 'straight')


@pytest.mark.xdist_group('straight')
def test_stopped_and_resumed_is_the_straight_run(tiny, straight, tmp_path):
  summary, folder = straight
  parts = tmp_path / 'parts'
  assert run(tiny, parts, stop_at=4) is None  # between two records and two evaluations
  assert run(tiny, parts, stop_at=6) is None
  resumed = run(tiny, parts)
  assert resumed['resumed_from_step'] == 6
  for name in ('test_top1', 'test_loss', 'validation_top1', 'tested_step', 'steps'):
    assert resumed[name] == summary[name]
  assert history(parts) == history(folder)
  one, other = last_state(tiny, folder), last_state(tiny, parts)
  jax.tree.map(np.testing.assert_array_equal, one, other)
  assert int(one.step) == 11 and one.average


@pytest.mark.xdist_group('straight')
def test_a_branch_of_a_run_with_its_config_is_the_straight_run(tiny, straight, tmp_path):
  _, folder = straight
  run(tiny, tmp_path / 'first', stop_at=4)
  tiny.init.run = str(tmp_path / 'first')
  run(tiny, tmp_path / 'branch', stop_at=5)
  for gone in ('first', 'branch/checkpoints/5'):  # as if it was killed before it saved
    shutil.rmtree(tmp_path / gone)
  assert run(tiny, tmp_path / 'branch')['resumed_from_step'] == 4
  starts = [json.loads(line) for line in (tmp_path / 'branch' / 'starts.jsonl').open()]
  assert [line['step'] for line in starts] == [4, 4]
  one, other = last_state(tiny, folder), last_state(tiny, tmp_path / 'branch')
  jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.xdist_group('straight')
def test_a_branch_may_be_longer_and_of_another_rate(tiny, straight, tmp_path):
  _, folder = straight
  tiny.init.run, tiny.optimizer.lr = str(folder), 0.01
  for change, says in (
    ({}, 'is at step 11, and config.train.duration ends at 11'),
    ({'model': {'width': 0.2}}, 'of the network googlenet'),
    (
      {'dataset': {'std': (1.0,)}},
      r'was trained with --config.dataset.mean=.* --config.dataset.std=',
    ),
    ({'average': {'name': 'polyak'}}, 'its state does not fit'),
    ({'average': {'name': 'none'}, 'optimizer': {'name': 'adam'}}, 'its state does not fit'),
  ):
    c = tiny.copy_and_resolve_references()
    c.train.duration = '4 epochs' if not change else '6 epochs'
    c.update(change)
    with pytest.raises(InputError, match=says):
      run(c, tmp_path / 'refused')
    assert not (tmp_path / 'refused').exists()
  tiny.train.duration = '12 steps'
  before = last_state(tiny, folder)
  assert run(tiny, tmp_path / 'longer')['resumed_from_step'] == 11
  after = last_state(tiny, tmp_path / 'longer')
  old, new = (jax.tree.leaves(state.opt_state) for state in (before, after))
  assert all(np.abs(x).max() > 0 for x in old)
  one, other = (jax.tree.leaves(state.params) for state in (before, after))
  for params, moved, momentum in zip(one, other, new, strict=True):  # one step at the other rate
    np.testing.assert_allclose(moved, params - 0.01 * momentum, rtol=1e-5, atol=1e-7)


@pytest.mark.xdist_group('straight')
def test_a_branch_may_do_without_the_average(tiny, straight, tmp_path):
  tiny.init.run, tiny.average.name, tiny.train.duration = str(straight[1]), 'none', '12 steps'
  assert run(tiny, tmp_path / 'branch')['steps'] == 12
  assert last_state(tiny, tmp_path / 'branch').average == {}


@pytest.mark.xdist_group('straight')
def test_a_signal_breaks_off_an_evaluation_that_is_done_later(
  tiny, straight, tmp_path, monkeypatch
):
  summary, folder = straight
  score_it = evaluation.Evaluator.__call__

  def signalled(*args):
    signal.raise_signal(signal.SIGTERM)
    return score_it(*args)

  parts = tmp_path / 'parts'
  with monkeypatch.context() as patch, pytest.raises(training.Interrupted):
    patch.setattr(evaluation.Evaluator, '__call__', signalled)
    run(tiny, parts)
  assert [line['split'] for line in history(parts)] == ['train']
  resumed = run(tiny, parts)
  assert (resumed['resumed_from_step'], resumed['test_loss']) == (3, summary['test_loss'])
  assert history(parts) == history(folder)
  one, other = last_state(tiny, folder), last_state(tiny, parts)
  jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.xdist_group('straight')
def test_what_a_run_leaves(tiny, straight):
  summary, folder = straight
  left = {path.name for path in folder.iterdir()}
  assert {'config.json', 'metrics.jsonl', 'summary.json', 'curves.png', 'confusion.png'} <= left
  assert [name for name in left if name.startswith('events.out.tfevents')]
  assert json.loads((folder / 'summary.json').read_text()) == summary
  assert summary['steps'] == 11 and summary['epochs'] == pytest.approx(11 * 24 / 64)
  steps = [line['step'] for line in history(folder) if line['split'] == 'train']
  assert steps == [3, 6, 9, 11]
  validated = [line['step'] for line in history(folder) if line['split'] == 'validation']
  assert validated == [3, 6, 8, 11]
  line = history(folder)[0]
  assert line['loss'] == pytest.approx(line['main_loss'] + 0.3 * line['aux1_loss'], rel=1e-5)
  before = (folder / 'summary.json').stat().st_mtime_ns
  assert run(tiny, folder) == summary  # finished: nothing is done again
  assert (folder / 'summary.json').stat().st_mtime_ns == before


@pytest.mark.xdist_group('straight')
def test_evaluation_of_a_run_gives_the_tested_figures(tiny, straight):
  summary, folder = straight
  tiny.eval.batch_size = 23  # whatever the batches, the figures are those of the set
  scores = score.evaluate(tiny, epath.Path(folder))
  assert scores['examples'] == 50
  assert scores['top1'] == pytest.approx(summary['test_top1'])
  assert scores['loss'] == pytest.approx(summary['test_loss'], rel=1e-5)
  tiny.eval.split = 'validation'
  scores = score.evaluate(tiny, epath.Path(folder))
  assert scores['top1'] == pytest.approx(summary['validation_top1'])
  last, averaged = (
    line['loss']
    for split in ('validation', 'validation_averaged')
    for line in history(folder)
    if (line['split'], line['step']) == (split, summary['tested_step'])
  )
  assert scores['loss'] == pytest.approx(averaged, rel=1e-5) != pytest.approx(last, rel=1e-3)


@pytest.mark.xdist_group('straight')
def test_an_evaluation_leaves_the_record_of_another_as_it_is(tiny, straight):
  summary, folder = straight
  first = folder / 'evaluation_test.json'
  before, picture = first.read_text(), (folder / 'confusion.png').read_bytes()
  tiny.dataset.test, tiny.log.pictures = 'test[:20]', True
  for _ in range(2):  # the same again takes its own place
    score.evaluate(tiny, epath.Path(folder))
  assert first.read_text() == before and (folder / 'confusion.png').read_bytes() == picture
  assert (folder / 'confusion_2.png').exists() and not (folder / 'evaluation_test_3.json').exists()
  other = json.loads((folder / 'evaluation_test_2.json').read_text())
  assert other['examples'] == 20 and other['overrides'] == {'dataset.test': 'test[:20]'}
  assert other['versions'].keys() > {'jax', 'flax', 'numpy', 'pillow', 'python', 'googlenet_jax'}
  assert other['about']['dataset'].items() >= {'name': 'digits', 'examples_of': 'test[:20]'}.items()
  (network,) = other['about']['networks']
  assert network['step'] == summary['tested_step'] and network['preprocessing']['size'] == 8
  tiny.eval.flip = True
  score.evaluate(tiny, epath.Path(folder))
  both = json.loads((folder / 'evaluation_test_3.json').read_text())
  assert both['loss_unflipped'] == pytest.approx(other['loss'], rel=1e-5) != both['loss']


@pytest.mark.xdist_group('straight')
def test_a_run_of_another_config_is_refused(tiny, straight):
  _, folder = straight
  tiny.dataset.data_dir = 'elsewhere'  # may differ
  tiny.optimizer.lr = 0.07
  tiny.seed = 1
  with pytest.raises(InputError, match=r'optimizer.lr: 0.05 there, 0.07 here; seed: 0 there, 1 he'):
    run(tiny, folder)


def test_evaluating_where_nothing_is(tiny, tmp_path):
  with pytest.raises(InputError, match='no checkpoint'):
    score.evaluate(tiny, epath.Path(tmp_path / 'nothing'))
  assert not (tmp_path / 'nothing').exists()


def test_several_steps_a_call_are_the_same_steps(tiny, tmp_path):
  tiny.train.duration, tiny.log.every = '10 steps', '5 steps'
  tiny.optimizer.lr = 1e-3
  tiny.optimizer.accumulate = 2
  tiny.dataset.validation = tiny.dataset.test = ''
  for count in (1, 3):
    tiny.train.steps_per_call = count
    run(tiny, tmp_path / str(count))
  for one, other in zip(history(tmp_path / '1'), history(tmp_path / '3'), strict=True):
    assert one['step'] == other['step']
    assert one['loss'] == pytest.approx(other['loss'], rel=1e-3)  # two programs round apart


def test_it_learns(tiny, tmp_path):
  tiny.dataset.train = 'train[:480]'
  tiny.model.width, tiny.optimizer.lr = 0.25, 0.2
  tiny.model.fields = {'modules': {'3a': (16, 24, 32, 8, 8, 8)}}
  tiny.train.batch_size, tiny.train.duration = 48, '8 epochs'
  tiny.schedule.name = 'cosine'
  tiny.log.norms = tiny.log.head_norms = True
  tiny.profile = '2:4'
  summary = run(tiny, tmp_path)
  lines = history(tmp_path)
  first, last = (next(line for line in x if line['split'] == 'train') for x in (lines, lines[::-1]))
  assert last['main_loss'] < 0.5 * first['main_loss']
  assert summary['test_top1'] > 0.8
  assert last['gradient_norm/inception_3a'] > 0 and last['parameter_norm/linear'] > 0
  # One module and one head on it: what they send to the stem adds up to its gradient.
  parts = [first[f'{head}_gradient_norm/conv1'] for head in ('main', 'aux1')]
  assert min(parts) > 0 and sum(parts) > 0.5 * first['gradient_norm/conv1']
  assert list(tmp_path.glob('profile/**/*.xplane.pb'))


def test_the_first_step_is_announced_and_promises_no_time(tiny, tmp_path, capsys):
  tiny.log.every = '1 steps'
  run(tiny, tmp_path, stop_at=2)
  _, compiling, compiled, first, second = capsys.readouterr().out.splitlines()
  assert compiling == 'compiling the training step ...'
  assert re.fullmatch(r'compiled the training step and ran it once: [\d.]+ s', compiled)
  assert first.startswith('step 1/11: ') and 'left' not in first
  assert second.startswith('step 2/11: ') and second.endswith(' left')


def test_the_step_is_compiled_once_and_in_a_thread(tiny, tmp_path):
  threads = []

  def listen(event, seconds, **about):
    if event.endswith('backend_compile_duration') and about['fun_name'] == 'jit(_fun)':  # pmap's
      threads.append(threading.current_thread())

  jax.monitoring.register_event_duration_secs_listener(listen)
  run(tiny, tmp_path, stop_at=2)
  jax.monitoring.unregister_event_duration_listener(listen)
  (thread,) = threads
  assert thread is not threading.main_thread()


def test_a_head_that_learns_nothing_is_named(tiny, tmp_path, capsys):
  tiny.train.sync_batch_norm = False
  tiny.model.norm = 'none'
  tiny.model.bias_init = 0.0
  tiny.dataset.std = (1e9,)  # black images: nothing gets through but zeros
  tiny.optimizer.lr = 1e-9
  tiny.train.duration = '3 epochs'
  run(tiny, tmp_path)
  warnings = [line for line in capsys.readouterr().out.splitlines() if 'WARNING' in line]
  assert any("'main'" in line and 'ln(10) = 2.303' in line for line in warnings)
  assert len(warnings) == len(set(line.split("'")[1] for line in warnings))  # each once


@pytest.mark.xdist_group('straight')
def test_curves_and_events_are_made_again_from_the_record(straight):
  _, folder = straight
  before = (folder / 'metrics.jsonl').read_bytes()
  (folder / 'curves.png').unlink()
  for path in folder.glob('events.out.tfevents.*'):
    path.unlink()
  subprocess.run(
    [sys.executable, '-m', 'googlenet_jax.run.metrics_log', str(folder)], check=True, cwd=ROOT
  )
  assert (folder / 'curves.png').read_bytes().startswith(b'\x89PNG')
  assert list(folder.glob('events.out.tfevents.*'))
  assert (folder / 'metrics.jsonl').read_bytes() == before


def test_differences_name_the_fields(tiny):
  earlier = schema.flat(json.loads(schema.to_json(tiny)))
  assert schema.differences(earlier, tiny) == []
  tiny.log.every = '7 steps'
  tiny.model.stem = 'cifar'
  assert schema.differences(earlier, tiny) == ["model.stem: 'compact' there, 'cifar' here"]


def poisoned(monkeypatch, bad_step, batch_size, last=None):
  """From now on a training batch, or all up to `last`, (from 0) hold an image that is not finite.

  Returns:
    A list: the batches that the host was asked to feed.
  """
  load, fed = inputs.load, []

  def loading(config, split, **kwargs):
    data = load(config, split, **kwargs)
    if split != 'train':
      return data

    def read(device_data, host_batch, positions, key):
      batch = data.make_batch(device_data, host_batch, positions, key)
      hit = (positions >= bad_step * batch_size) & (positions <= (last or bad_step) * batch_size)
      return batch._replace(image=jnp.where(hit[:, None, None, None], jnp.nan, batch.image))

    def feed(step, count, batch_size):
      fed.append(step)
      return data.feed(step, count, batch_size)

    return data._replace(make_batch=read, feed=feed)

  monkeypatch.setattr(inputs, 'load', loading)
  return fed


def test_what_is_not_finite_ends_the_run_and_overwrites_nothing(tiny, tmp_path, monkeypatch):
  poisoned(monkeypatch, 5, tiny.train.batch_size)
  tiny.eval.every, tiny.log.pictures = '2 steps', True
  says = r'step 6: the loss of main, aux1 \(3a\) is not finite .* 0.05; .* step 4: low'
  for _ in range(2):  # the same command again comes to the same end
    with pytest.raises(InputError, match=says):
      run(tiny, tmp_path)
    kept = last_state(tiny, tmp_path)
    assert int(kept.step) == 4
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(kept.params))
  assert [line['step'] for line in history(tmp_path)] == [2, 2, 3, 4, 4]
  assert not (tmp_path / 'summary.json').exists() and (tmp_path / 'curves.png').exists()


def test_a_learning_rate_that_is_too_high_is_named(tiny, tmp_path):
  tiny.optimizer.lr = 1e25
  with pytest.raises(InputError, match=r'not finite at learning rate 1e\+25; .*no checkpoint yet'):
    run(tiny, tmp_path)


def test_a_step_that_is_not_finite_is_skipped(tiny, tmp_path, monkeypatch, capsys):
  poisoned(monkeypatch, 4, tiny.train.batch_size)
  tiny.on_nonfinite = 'skip'
  assert run(tiny, tmp_path)['steps'] == 11
  lines = [line for line in history(tmp_path) if line['split'] == 'train']
  assert [line.get('skipped', 0) for line in lines] == [0, 1, 0, 0]
  assert np.isfinite([line['loss'] for line in lines]).all()
  said = capsys.readouterr().out
  assert '1 of the last steps up to 6 skipped: the loss of main, aux1 (3a) ' in said
  assert int(last_state(tiny, tmp_path).step) == 11


def test_going_back_leaves_out_the_batches_up_to_the_bad_one(tiny, tmp_path, monkeypatch):
  poisoned(monkeypatch, 5, tiny.train.batch_size)
  tiny.on_nonfinite = 'rollback'
  tiny.eval.every = '4 steps'
  tiny.log.every = '1 steps'
  run(tiny, tmp_path / 'straight')
  lines = history(tmp_path / 'straight')
  assert [x['step'] for x in lines if x['split'] == 'train'] == list(range(1, 12))
  state = last_state(tiny, tmp_path / 'straight')
  assert (int(state.step), int(state.skipped_batches)) == (11, 2)  # batches 4 and 5
  run(tiny, tmp_path / 'parts', stop_at=7)
  run(tiny, tmp_path / 'parts')
  assert history(tmp_path / 'parts') == lines
  jax.tree.map(np.testing.assert_array_equal, state, last_state(tiny, tmp_path / 'parts'))


def test_going_back_before_any_checkpoint_begins_anew(tiny, tmp_path, monkeypatch):
  poisoned(monkeypatch, 1, tiny.train.batch_size)
  tiny.on_nonfinite = 'rollback'
  tiny.eval.every, tiny.log.every = '4 steps', '1 steps'
  run(tiny, tmp_path)
  state = last_state(tiny, tmp_path)
  assert (int(state.step), int(state.skipped_batches)) == (11, 2)


def test_a_run_goes_back_to_one_checkpoint_three_times(tiny, tmp_path, monkeypatch, capsys):
  poisoned(monkeypatch, 5, tiny.train.batch_size, last=100)
  tiny.on_nonfinite = 'rollback'
  tiny.eval.every, tiny.log.every = '4 steps', '1 steps'
  with pytest.raises(InputError, match=r'is not finite .* the last is of step 4'):
    run(tiny, tmp_path)
  assert capsys.readouterr().out.count('back to step 4') == 3
  assert int(last_state(tiny, tmp_path).step) == 4


@pytest.fixture
def photo_config(tiny):
  """The `tiny` config on photos that are decoded as they are used."""
  c = tiny
  c.dataset.name = 'folder'
  c.dataset.in_memory = False
  c.dataset.image_size = 16
  c.dataset.train, c.dataset.validation, c.dataset.test = 'all[:60%]', 'all[60%:80%]', 'all[80%:]'
  c.augment.area = (0.25, 1.0)
  c.augment.pad = 0
  c.augment.flip = True
  c.augment.color = 0.2
  c.train.batch_size = 8
  c.train.duration = '7 steps'
  c.eval.every = '5 steps'
  return c


@pytest.mark.parametrize('which', ['two_classes', 'val_photos'])
def test_photos_resume_in_mid_epoch_whatever_reads_them(request, photo_config, tmp_path, which):
  c = photo_config
  c.dataset.data_dir = str(request.getfixturevalue(which))
  c.dataset.threads = 1
  straight = run(c, tmp_path / 'straight')
  c.dataset.threads = 2
  assert run(c, tmp_path / 'parts', stop_at=4) is None
  c.dataset.threads, c.dataset.workers = 4, 2
  resumed = run(c, tmp_path / 'parts')
  assert history(tmp_path / 'parts') == history(tmp_path / 'straight')
  one, other = last_state(c, tmp_path / 'straight'), last_state(c, tmp_path / 'parts')
  jax.tree.map(np.testing.assert_array_equal, one, other)
  assert (resumed['resumed_from_step'], resumed['steps']) == (4, 7)
  assert resumed['test_loss'] == straight['test_loss']
  assert 0 <= straight['input_wait'] < 1
  c.eval.split = 'train'
  scores = score.evaluate(c, epath.Path(tmp_path / 'straight'))
  assert scores['examples'] == inputs.load(c, 'train').size


def test_going_back_in_a_stream_reads_on_after_the_bad_batch(
  photo_config, two_classes, tmp_path, monkeypatch
):
  c = photo_config
  fed = poisoned(monkeypatch, 5, c.train.batch_size)
  c.dataset.data_dir = str(two_classes)
  c.on_nonfinite = 'rollback'
  c.train.duration, c.eval.every, c.log.every = '11 steps', '4 steps', '1 steps'
  run(c, tmp_path)
  assert fed[:6] == [0, 1, 2, 3, 4, 5]
  assert fed[-7:] == [6, 7, 8, 9, 10, 11, 12]  # those of steps 5 to 11
  state = last_state(c, tmp_path)
  assert (int(state.step), int(state.skipped_batches)) == (11, 2)


def test_a_class_without_training_photos_is_a_warning(photo_config, val_photos, caplog):
  photo_config.dataset.data_dir = str(val_photos)
  data = inputs.load(photo_config, 'train')
  assert f'{200 - data.size} of 200 classes have no training image' in caplog.text


def test_pairs_are_mixed_within_a_device(photo_config, two_classes):
  c = photo_config
  c.dataset.data_dir = str(two_classes)
  c.augment.mixup = 0.2
  c.train.batch_size = 12  # three for each of the four devices
  with pytest.raises(InputError, match='odd number'):
    inputs.load(c, 'train')


def test_preview_shows_what_is_trained_and_evaluated_on(photo_config, two_classes, tmp_path):
  c = photo_config
  c.dataset.data_dir = str(two_classes)
  c.augment.mixup = 0.2
  written = preview.preview(c, epath.Path(tmp_path / 'new'))
  pictures = {path.name: Image.open(path) for path in written.values()}
  assert set(pictures) == {'preview_train.png', 'preview_evaluation.png'}
  for picture in pictures.values():  # not one blank page
    assert np.asarray(picture.convert('RGB')).std() > 20


def test_what_is_tested_on_is_not_trained_on(tiny, tmp_path, caplog):
  tiny.dataset.test = 'train[60:70]'
  says = (
    r"dataset.train='train\[:64\]' and .*test='train\[60:70\]' share examples 60 to 64 of train: "
  )
  with pytest.raises(InputError, match=says):
    run(tiny, tmp_path / 'run')
  assert not (tmp_path / 'run').exists()
  tiny.dataset.allow_overlap = True
  tiny.dataset.validation = 'train[50:90]'
  overlaps = run(tiny, tmp_path / 'run')['overlaps']
  assert [text.rpartition(' share ')[2] for text in overlaps] == [
    'examples 50 to 64 of train',
    'examples 60 to 64 of train',
    'examples 60 to 70 of train',
  ]
  assert all(f'WARNING: {text}' in caplog.text for text in overlaps)


def test_an_overlap_with_validation_is_a_warning(tiny, caplog):
  tiny.dataset.validation = 'train[60:70]'
  (found,) = inputs.overlaps(tiny, inputs.load_splits(tiny))
  assert found in caplog.text and found.endswith('share examples 60 to 64 of train')


def test_shares_of_a_folder_overlap(photo_config, two_classes):
  c = photo_config
  c.dataset.data_dir = str(two_classes)
  assert inputs.overlaps(c, inputs.load_splits(c)) == []
  c.dataset.test = 'all[70%:]'
  with pytest.raises(InputError, match=r'share 70% to 80% of .*: choose others'):
    inputs.overlaps(c, inputs.load_splits(c))
  c.dataset.train = 'all'
  with pytest.raises(InputError, match=r'share 70% to 100% of '):
    inputs.overlaps(c, inputs.load_splits(c))


def test_a_wrong_test_split_is_told_before_the_training(photo_config, two_classes, tmp_path):
  photo_config.dataset.data_dir = str(two_classes)
  photo_config.dataset.test = 'tests'
  with pytest.raises(InputError, match="has no folder 'tests'"):
    run(photo_config, tmp_path / 'run')
  assert not (tmp_path / 'run').exists()


def test_unreadable_photos_leave_batch_norm_alone(photo_config, two_classes, tmp_path):
  c = photo_config
  c.dataset.train, c.dataset.validation, c.dataset.test = 'all', '', ''
  c.train.duration, c.train.batch_size, c.optimizer.lr = '30 steps', 40, 1e-9
  c.augment.area, c.average.name = (), 'none'
  whole = shutil.copytree(two_classes, tmp_path / 'whole')
  bad = sorted(whole.glob('*/*'))[::3]  # 14 of 40
  for path in bad:
    path.unlink()
  broken = shutil.copytree(whole, tmp_path / 'broken')
  for path in bad:
    (broken / path.relative_to(whole)).write_bytes(b'no photo')
  statistics = []
  for folder in (whole, broken):
    c.dataset.data_dir, c.dataset.max_bad_share = str(folder), 0.4
    summary = run(c, tmp_path / f'run_{folder.name}')
    statistics.append(last_state(c, tmp_path / f'run_{folder.name}').batch_stats['conv1']['bn'])
  assert summary['unreadable'] == {'train': len(bad)}
  deviation = np.sqrt(statistics[0]['var'])
  np.testing.assert_allclose(*(x['mean'] / deviation for x in statistics), atol=0.15)
  np.testing.assert_allclose(statistics[1]['var'] / statistics[0]['var'], 1, atol=0.25)
  c.dataset.max_bad_share = 0.3
  with pytest.raises(InputError, match='of 40 records cannot be read'):
    run(c, tmp_path / 'too_many')
