"""Names of a table or of a user's own code, and fields by the parts' signatures."""

import jax
import pytest

from googlenet_jax import (
  checks,
  config_files,
  effects,
  models,
  optim,
  registry,
  schedules,
  schema,
  train_state,
)
from googlenet_jax.errors import InputError
from googlenet_jax.losses import LOSSES
from googlenet_jax.models import googlenet

MINE = """
import flax.linen as nn
from googlenet_jax.models import Outputs


class Net(nn.Module):
  num_classes: int
  depth: int = 2

  def __call__(self, images, *, train):
    return Outputs(images.reshape(len(images), -1)[:, :self.num_classes])


class Nets:
  small = Net


def number():
  return 7
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
  """A working directory with a module `registry_mine.py` and a broken one."""
  (tmp_path / 'registry_mine.py').write_text(MINE)
  (tmp_path / 'registry_broken.py').write_text('import registry_absent\n')
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr('sys.path', [*__import__('sys').path])


def test_a_name_is_of_the_table_or_of_the_working_directory(own):
  assert registry.find('focal', LOSSES, 'train.loss') is LOSSES['focal']
  net = registry.find('registry_mine:Net', LOSSES, 'train.loss')
  assert registry.find('registry_mine:Nets.small', LOSSES, 'train.loss') is net


@pytest.mark.parametrize(
  ('name', 'says'),
  [
    ('focl', r"config.train.loss='focl': no such name; did you mean focal\?"),
    ('zzz', 'use cross_entropy, focal, binary, or module:attribute of your own'),
    ('registry_mine:Met', "module 'registry_mine' has no attribute 'Met'"),
    ('registry_broken:x', "ModuleNotFoundError: No module named 'registry_absent'"),
    ('registry_nowhere:x', "No module named 'registry_nowhere'"),
  ],
)
def test_a_name_of_nothing_is_told(own, name, says):
  with pytest.raises(InputError, match=says):
    registry.find(name, LOSSES, 'train.loss')


def test_a_network_of_ones_own_on_a_config_written_for_googlenet(own, caplog):
  c = schema.config()
  c.model.name, c.model.width, c.model.norm = 'registry_mine:Net', 0.25, 'batch'
  c.model.fields = {'depth': 3}
  effects.fit(c, {'model.name', 'model.fields'})
  assert [record.getMessage() for record in caplog.records] == [
    'WARNING: config.model.norm is dropped: registry_mine:Net lacks it',
    'WARNING: config.model.width is dropped: registry_mine:Net lacks it',
  ]
  checks.check(c)
  assert models.create(**c.model.to_dict(), num_classes=5).depth == 3
  c.model.width = 0.25
  with pytest.raises(InputError, match=r'--config.model.width=0.25: registry_mine:Net has no such'):
    effects.fit(c, {'model.name', 'model.width'})


def test_free_fields_that_a_file_set_are_dropped_too(own, caplog):
  c = config_files.load('cifar10').lock()  # as absl gives it
  c.model.name = 'registry_mine:Net'
  effects.fit(c, {'model.name'})
  said = [record.getMessage() for record in caplog.records]
  assert "WARNING: config.model.fields of 'modules' is dropped: registry_mine:Net lacks it" in said
  assert dict(c.model.fields) == {}


def test_fields_are_checked_against_the_signature(own):
  with pytest.raises(InputError, match=r"no field 'dept'; did you mean depth\?"):
    models.create('registry_mine:Net', num_classes=5, fields={'dept': 3})
  with pytest.raises(InputError, match='not a flax module'):
    models.create('registry_mine:number')
  with pytest.raises(InputError, match="no field 'b3': it has learning_rate, b1"):
    optim.create(name='optax:lion', fields={'b3': 0.9})
  with pytest.raises(InputError, match="missing 2 required positional arguments: 'init_value'"):
    clock = schedules.Clock(100, 10, '10 epochs')
    schedules.learning_rate(clock, name='optax:cosine_decay_schedule', peak=1.0)


def test_a_schedule_of_optax_takes_durations():
  clock = schedules.Clock(100, 10, '10 epochs')
  fields = {'init_value': 1.0, 'transition_steps': '50%', 'decay_rate': 0.5, 'staircase': True}
  rate = schedules.learning_rate(clock, name='optax:exponential_decay', peak=0.3, fields=fields)
  assert [float(rate(step)) for step in (0, 49, 50, 99)] == pytest.approx([0.3, 0.3, 0.15, 0.15])


def counts(**fields):
  model = models.create('googlenet', aux_heads=(), **fields)
  params = train_state.abstract_variables(model, (224, 224, 3))['params']
  return params, sum(x.size for x in jax.tree.leaves(params))


def test_modules_are_exact_channels():
  table_1 = {name: tuple(widths) for name, widths in googlenet.MODULES.items()}
  assert counts(modules=table_1)[1] == 6_998_552  # the published network's
  params, _ = counts(modules={'3a': (10, 6, 12, 2, 4, 3), '4a': (9, 5, 7, 3, 5, 1)}, width=0.25)
  assert params['inception_3a']['conv_3x3']['kernel'].shape == (3, 3, 6, 12)
  assert params['inception_4a']['reduce_5x5']['kernel'].shape == (1, 1, 10 + 12 + 4 + 3, 3)
  assert params['conv1']['kernel'].shape[-1] == 16  # a quarter of 64
  for modules, says in (
    ({'6a': (1,) * 6}, 'name modules 3a to 5z'),
    ({'3a': (1, 2)}, 'six channel'),
  ):
    with pytest.raises(InputError, match=says):
      models.create('googlenet', modules=modules)
