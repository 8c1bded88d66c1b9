"""What is tried before a run: two steps of everything, and a range of learning rates."""

import re
import tempfile

import numpy as np
import pytest
from etils import epath
from ml_collections import ConfigDict

from googlenet_jax.errors import InputError
from googlenet_jax.tools import dry_run, find_lr


@pytest.mark.parametrize('streamed', [False, True])
def test_a_dry_run_does_all_and_leaves_nothing(tiny, two_classes, tmp_path, monkeypatch, streamed):
  monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
  tiny.eval.batch_size = 4
  if streamed:
    tiny.dataset.update(name='folder', data_dir=str(two_classes), in_memory=False, image_size=32)
    tiny.dataset.update(train='all[:60%]', validation='all[60%:80%]', test='all[80%:]')
    tiny.dataset.update(mean=(0.0,), std=(255.0,))
    tiny.augment.pad = 0
  done = dry_run.dry_run(tiny, epath.Path(tmp_path / 'run'))
  assert [*done] == ['read', 'train, save', 'resume, train, validate, save', 'test', 'memory']
  assert not list(tmp_path.iterdir())
  assert tiny.eval.every == '1 epochs'  # the caller's config is as it was


def test_a_dry_run_meets_what_the_run_would(tiny, tmp_path, monkeypatch):
  monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
  tiny.dataset.test = 'train[:8]'
  with pytest.raises(InputError, match='share examples 0 to 8 of train'):
    dry_run.dry_run(tiny, epath.Path(tmp_path / 'run'))
  assert not list(tmp_path.iterdir())


def test_rates_around_the_configs_are_tried(tiny, tmp_path, monkeypatch):
  monkeypatch.setattr(find_lr, 'STEPS', 40)
  tiny.optimizer.lr = 0.03
  told = find_lr.find_lr(tiny, epath.Path(tmp_path))
  assert told['tried'] == '0.0003 to 3 in 40 updates'
  assert [path.name for path in tmp_path.iterdir()] == ['find_lr.png']
  assert told['the loss falls fastest at'].startswith('--config.optimizer.lr=')
  assert (tiny.optimizer.lr, tiny.dataset.test) == (0.03, 'test[:50]')


def test_gradients_that_wait_for_others_make_no_rates(tiny, tmp_path, monkeypatch):
  monkeypatch.setattr(find_lr, 'STEPS', 20)
  tiny.optimizer.accumulate, tiny.optimizer.lr = 2, 0.03
  with tiny.log.unlocked():
    tiny.log.writer_fields = ConfigDict({'tensorboard': {}})
  told = find_lr.find_lr(tiny, epath.Path(tmp_path))
  assert re.fullmatch(r'0\.0003\d* to [23](\.\d)? in 20 updates', told['tried'])


def test_what_a_range_test_sets_itself_is_refused(tiny, tmp_path):
  with pytest.raises(InputError, match=r'--config\.schedule\.warmup has no effect in --mode=find'):
    find_lr.find_lr(tiny, epath.Path(tmp_path), {'schedule.warmup', 'seed'})
  with pytest.raises(InputError, match=r'--config\.on_nonfinite has no effect'):
    find_lr.find_lr(tiny, epath.Path(tmp_path), {'on_nonfinite'})
  tiny.init.run = 'runs/first'
  with pytest.raises(InputError, match=r'trains from the start: leave out config\.init\.run'):
    find_lr.find_lr(tiny, epath.Path(tmp_path))


def test_a_range_test_that_diverges_at_once_says_so_and_leaves_nothing(tiny, tmp_path):
  tiny.optimizer.lr = 1e30
  with pytest.raises(InputError, match='not finite'):
    find_lr.find_lr(tiny, epath.Path(tmp_path / 'run'))
  assert not list(tmp_path.iterdir())


def test_the_rate_is_that_of_the_steepest_fall_before_the_lowest_loss():
  rates = np.logspace(-4, 0, 101)
  place = np.log10(rates)
  losses = 2 - np.tanh(3 * (place + 2)) + 50 * np.maximum(place + 1, 0)  # then it explodes
  steepest, lowest = find_lr.chosen(rates, losses)
  assert steepest == pytest.approx(1e-2)
  assert lowest == pytest.approx(1e-1)
  with pytest.raises(InputError, match=r'does not fall .* give a smaller --config\.optimizer\.lr'):
    find_lr.chosen(rates, losses[::-1].cumsum())


def test_the_smoothed_loss_is_a_weighted_mean_of_those_so_far():
  losses = [3.0, 1.0, 4.0, 1.0, 5.0]
  weights = [find_lr.MEMORY**i for i in range(5)]
  for i, found in enumerate(find_lr.smoothed(losses)):
    expected = np.dot(weights[: i + 1], losses[i::-1]) / sum(weights[: i + 1])
    assert found == pytest.approx(expected)
