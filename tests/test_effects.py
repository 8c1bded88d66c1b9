"""Fields without effect are told of, and those of the configs have one."""

import importlib

import pytest
from test_main import CONFIGS

from configs import default
from googlenet_jax import effects, experiment, schedules
from googlenet_jax.errors import InputError


def check(config, given=(), mode='train'):
  effects.check(config, mode, given, weights=mode != 'train')


@pytest.mark.parametrize('name', CONFIGS)
def test_every_field_that_a_config_sets_has_an_effect(name, caplog):
  check(importlib.import_module(f'configs.{name}').get_config())
  assert not caplog.records


@pytest.mark.parametrize(
  ('field', 'value', 'needs'),
  [
    ('optimizer.nesterov', True, 'optimizer.name=sgd'),
    ('optimizer.decay_all', True, 'optimizer.weight_decay'),
    ('schedule.power', 2.0, 'schedule.name=polynomial'),
    ('average.decay', 0.9, 'average.name=ema'),
    ('average.begin', '1 epochs', 'average.name=ema or polyak'),
    ('augment.interpolation', ('nearest',), 'dataset.in_memory=False'),
    ('augment.aspect', (0.5, 2.0), 'augment.area'),
    ('dataset.classes', 'list.txt', 'dataset.name=folder'),
    ('train.aux_weight', 0.5, 'auxiliary heads'),
    ('log.head_norms', True, 'auxiliary heads'),
    ('eval.crops', 10, '--mode=evaluate'),
  ],
)
def test_a_field_without_effect(field, value, needs, caplog):
  c = default.get_config()
  c.optimizer.name, c.model.aux_heads = 'adam', ()
  c.update_from_flattened_dict({field: value})
  check(c)
  (warning,) = caplog.records
  assert f'config.{field}={value!r} has no effect: it needs ' in warning.message
  with pytest.raises(InputError, match=f'--config.{field}=.* has no effect: it needs .*{needs}'):
    check(c, given={field})


@pytest.mark.parametrize(
  ('splits', 'given', 'train', 'validation', 'test'),
  [
    (('train', 'val', 'test'), {}, 'train', 'val', 'test'),
    (('train', 'val'), {}, 'train', 'val', ''),
    (('train', 'valid', 'test'), {}, 'train', 'valid', 'test'),
    (('train', 'test'), {}, 'train[:90%]', 'train[90%:]', 'test'),
    (('train',), {}, 'train[:90%]', 'train[90%:]', ''),
    (('train', 'val'), {'dataset.train': 'train[:50%]'}, 'train[:50%]', 'val', ''),
    (('dusk', 'noon'), {}, 'all[:80%]', 'all[80%:90%]', 'all[90%:]'),
  ],
)
def test_a_folder_that_is_split_already(tmp_path, splits, given, train, validation, test):
  for split in splits:
    (tmp_path / split / 'dusk').mkdir(parents=True)
  if 'test' not in splits:  # photos without labels
    (tmp_path / 'test').mkdir()
    (tmp_path / 'test/1.jpg').touch()
  c = importlib.import_module('configs.folder').get_config()
  c.dataset.data_dir = str(tmp_path) if 'train' in splits else str(tmp_path / 'dusk')
  c.update_from_flattened_dict(given)
  for fit in effects.fit, effects.fit_to_weights:
    fitted = c.copy_and_resolve_references()
    fit(fitted, given)
    found = fitted.dataset
    assert (found.train, found.validation, found.test) == (train, validation, test)


def test_weights_bring_the_network_in_place_of_the_files():
  c = importlib.import_module('configs.imagenet_bn').get_config()
  assert (c.model.dtype, c.model.dropout) == ('bfloat16', 0.2)
  c.model.fields, c.model.norm = {'depth': 3, 'width': 2}, 'lrn'
  effects.fit_to_weights(c, {'model.norm', 'model.fields.width'})
  assert experiment.model_fields(c) == {'norm': 'lrn', 'width': 2}
  effects.fit_to_weights(c, {'model.fields'})
  assert experiment.model_fields(c) == {'width': 2}


def test_false_asks_for_nothing():
  c = default.get_config()
  check(c, {'augment.alternate', 'log.head_norms', 'optimizer.nesterov', 'init.allow_head'})


def test_what_would_begin_after_the_end(caplog):
  c = default.get_config()
  clock = schedules.Clock(100, 10, '20 steps')
  c.average.name, c.average.begin, c.profile = 'ema', '200%', '30:40'
  effects.check_times(c, clock, ())
  assert [record.message.split('=')[0] for record in caplog.records] == [
    'WARNING: config.average.begin',
    'WARNING: config.profile',
  ]
  for field in ('average.begin', 'profile'):
    with pytest.raises(InputError, match=f'--config.{field}=.*: the training ends at step 20'):
      effects.check_times(c, clock, {field})
  c.average.begin, c.profile = '50%', '3:40'
  effects.check_times(c, clock, {'average.begin', 'profile'})


@pytest.mark.parametrize('field', ['dataset.mean', 'eval.resize', 'eval.batch_size'])
def test_weights_decide_in_prediction(field):
  with pytest.raises(InputError, match=f'--config.{field} has no effect in --mode=predict'):
    check(default.get_config(), {field}, 'predict')
  with pytest.raises(InputError, match=r'--config.optimizer.lr has no effect in --mode=evaluate'):
    check(default.get_config(), {'eval.crops', 'optimizer.lr'}, 'evaluate')
  check(default.get_config(), {'model.name', 'model.pool_rounding', 'eval.crops'}, 'predict')
