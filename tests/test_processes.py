"""Two real processes over loopback: they train as one, agree where they stop, and miss each other.

`tests/stress/test_processes_of_four.py` does the same with four, and goes from two to four.
"""

import json
import re
import shutil
import signal
import time

import jax
import numpy as np
import pytest
from processes import DIGITS, SCORED, Job, arrays, losses, photos, run

from googlenet_jax import cluster

COUNT = 2
SLOWLY = '--config.optimizer.lr=1e-5'  # what a step sees is told by its loss alone
WAITS = "--config.log.writers=('slow:Writer',)"  # at each step, so that signals come in time


def same_parameters(count, tmp_path, devices=1):
  arguments = (*DIGITS, *SCORED, '--config.train.duration=5 steps', '--config.optimizer.lr=0.05')
  one = run(1, tmp_path / 'one', *arguments)
  several = run(count, tmp_path / 'several', *arguments, devices=devices)
  assert losses(one) == pytest.approx(losses(several), rel=1e-5)
  for a, b in zip(one, several, strict=True):  # validation and test too
    assert (a['step'], a['split'], a.get('top1')) == (b['step'], b['split'], b.get('top1'))

  def compare(a, b):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * np.abs(a).max())

  jax.tree.map(compare, *(arrays(tmp_path / name, 'params') for name in ('one', 'several')))


def signal_to_one_then_others_go_on(count, others, data, tmp_path):
  """SIGTERM to the last of `count` processes; `others` go on at the same sample."""
  arguments = (*data, '--config.train.duration=24 steps', '--config.eval.every=9 steps', SLOWLY)
  straight = losses(run(1, tmp_path / 'straight', *arguments))
  assert len(straight) == 24
  job = Job(count, tmp_path / 'stopped', *arguments, WAITS)
  job.wait_for('step 5/')
  job.send(count - 1, signal.SIGTERM)
  began = time.monotonic()
  done = job.finish()
  assert [status for status, *_ in done] == [128 + signal.SIGTERM] * count, done
  assert time.monotonic() - began < cluster.HEARTBEAT  # none waits until another counts as lost
  stopped = int(re.search(r'saved at step (\d+)', done[0][1])[1])
  assert 5 <= stopped < 24
  for n in others:
    folder = tmp_path / f'by_{n}'
    shutil.copytree(tmp_path / 'stopped', folder)
    again = losses(run(n, folder, *arguments))
    assert again == pytest.approx(straight, rel=1e-4)


def killed_one_ends_the_others(count, tmp_path):
  arguments = (
    *DIGITS,
    '--config.train.duration=3000 steps',
    '--config.eval.every=10 steps',
    SLOWLY,
  )
  job = Job(count, tmp_path / 'killed', *arguments, WAITS)
  job.wait_for('step 14/')  # between two checkpoints
  job.send(count - 1, signal.SIGKILL)
  began = time.monotonic()
  done = job.finish()
  assert time.monotonic() - began < 60
  assert done[-1][0] == -signal.SIGKILL
  for status, _, errors in done[:-1]:
    assert status == 1
    assert 'start all of them again' in errors, errors
  job = Job(count, tmp_path / 'killed', *arguments)
  job.wait_for('resnet20.*going on from step')
  job.wait_for(r'step \d+/')
  job.send(0, signal.SIGTERM)
  assert [status for status, *_ in job.finish()] == [128 + signal.SIGTERM] * count


@pytest.mark.parametrize('devices', [1, 2])
def test_same_parameters_as_one_process(tmp_path, devices):
  same_parameters(COUNT, tmp_path, devices)


def test_sigterm_to_one_saves_all_and_other_counts_go_on(tmp_path):
  signal_to_one_then_others_go_on(COUNT, (1,), DIGITS, tmp_path)


def test_the_same_of_a_stream(tmp_path, two_classes):
  signal_to_one_then_others_go_on(COUNT, (1,), photos(two_classes), tmp_path)


def test_one_killed_ends_the_others_and_all_go_on(tmp_path):
  killed_one_ends_the_others(COUNT, tmp_path)


def test_processes_that_were_given_other_things_end_at_once(tmp_path, two_classes):
  copy = shutil.copytree(two_classes, tmp_path / 'photos')
  for path in sorted(copy.glob('noon/*'))[:10]:  # some of them in the first 60%
    path.unlink()
  others = {
    'config and package': '--config.optimizer.lr=0.3',
    "data of config.dataset.name='folder'": f'--config.dataset.data_dir={copy}',
  }
  for what, last in others.items():
    arguments = (*photos(two_classes), '--config.train.duration=2 steps')
    done = Job(COUNT, tmp_path / 'run', *arguments, last=(last,)).finish()
    assert [status for status, *_ in done] == [2] * COUNT, done
    told = f'{what}: not the same in process 1 as in process 0: '
    assert all(told in errors for *_, errors in done), done
  assert not (tmp_path / 'run').exists()


def test_evaluation_of_photos_is_that_of_one_process(tmp_path, two_classes):
  arguments = (*photos(two_classes), '--config.dataset.validation=all[60%:95%]')
  run(1, tmp_path / 'run', *arguments, '--config.train.duration=2 steps')
  arguments += ('--mode=evaluate', '--config.eval.split=validation')
  weights = [f'--weights={tmp_path / "run"}', '--mode=evaluate']
  weights += [f'--config.dataset.data_dir={two_classes}', '--config.dataset.test=all']
  of_run, of_weights = [], []
  for count in (1, COUNT):
    run(count, tmp_path / 'run', *arguments, '--config.train.duration=2 steps')
    of_run.append(json.loads((tmp_path / 'run' / 'evaluation_validation.json').read_text()))
    run(count, tmp_path / f'by_{count}', *weights, config='from configs.folder import get_config')
    (path,) = (tmp_path / f'by_{count}').glob('evaluation*.json')
    of_weights += json.loads(path.read_text())['rows']
  for one, several in (of_run, of_weights):
    assert one['examples'] == several['examples'] > 10
    assert one['top1'] == several['top1']
    assert one['loss'] == pytest.approx(several['loss'], rel=1e-5)
  assert of_run[0]['correct'] == of_run[1]['correct']


def test_a_point_of_a_sweep_leaves_its_record(tmp_path):
  arguments = (*DIGITS, '--sweep=1', '--config.train.duration=2 steps')
  done = Job(COUNT, tmp_path / 'run', *arguments).finish()
  assert [status for status, *_ in done] == [0] * COUNT, done
  told = json.loads((tmp_path / 'run' / 'sweep_1' / 'result.json').read_text())
  assert (told['differences'], told['device']) == ({'optimizer.lr': 0.01}, '2 x cpu')


def test_unreadable_photos_of_all_processes_count_together(tmp_path, two_classes):
  copy = shutil.copytree(two_classes, tmp_path / 'photos')
  for path in sorted(copy.glob('*/*'))[::4]:  # 10 of 40, about half of them for each process
    path.write_bytes(b'no photo')
  arguments = (*photos(copy), '--config.dataset.train=all', '--config.train.batch_size=8')
  most = '--config.dataset.max_bad_share=0.2'  # 8 of 40
  job = Job(COUNT, tmp_path / 'run', *arguments, '--config.train.duration=5 steps', most, SLOWLY)
  done = job.finish()
  assert [status for status, *_ in done] == [2] * COUNT, done
  assert all('of 40 records cannot be read' in errors for *_, errors in done), done
