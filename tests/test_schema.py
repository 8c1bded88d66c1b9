"""The table of the config's fields, and what derives from it."""

import json
import pathlib
import subprocess
import sys

import program
import pytest
from ml_collections import ConfigDict

from googlenet_jax import checks, schema
from googlenet_jax.errors import InputError

ROOT = pathlib.Path(__file__).resolve().parents[1]


def test_the_defaults_obey_their_own_rules():
  c = schema.config()
  checks.check(c)
  assert schema.flat(c.to_dict()).keys() == schema.FIELDS.keys()
  assert {name: field.kind for name, field in schema.FIELDS.items() if field.default is None} == {
    f'model.{name}': kind
    for kind, names in {
      float: ('width', 'dropout', 'aux_dropout', 'bias_init'),
      int: ('kernel_5x5', 'last_pool'),
      bool: ('transform_input',),
      tuple: ('aux_heads',),
      str: ('module', 'norm', 'stem', 'classifier', 'pool_rounding', 'aux_pool', 'dtype'),
    }.items()
    for name in names
  } | {'model.kernel_init': str}


def test_every_row_is_of_a_group_and_says_what_it_is():
  assert set().union(*schema.groups().values()) == schema.FIELDS.keys()
  for name, field in schema.FIELDS.items():
    assert field.meaning[0].isupper() and not field.meaning.endswith('.'), name


def test_configs_share_nothing():
  c = schema.config()
  c.model.fields = {'depth': 3}
  c.optimizer.lr = 7.0
  assert schema.config().model.fields.to_dict() == {} and schema.config().optimizer.lr == 0.01


@pytest.mark.parametrize('group', ['model', 'optimizer', 'schedule', 'dataset'])
def test_a_dict_of_fields_is_one_field(group):
  c = schema.config()
  schema.update(c, {f'{group}.fields': {'depth': 3, 'inner': {'a': 1}}})
  found = schema.flat(c.to_dict())
  assert found[f'{group}.fields'] == {'depth': 3, 'inner': {'a': 1}}
  assert found.keys() == schema.FIELDS.keys()
  schema.check(c)
  (line,) = schema.differences({}, c)
  assert line == f"{group}.fields: {{}} there, {{'depth': 3, 'inner': {{'a': 1}}}} here"
  with pytest.raises(
    InputError,
    match=f"config.{group}.fields=.*: use a dict of what JSON can hold, like {{'depth': 3}}",
  ):
    c[group].fields = ConfigDict({1: 2}, convert_dict=False)
    schema.check(c)


def test_only_free_fields_may_differ():
  c = schema.config()
  earlier = json.loads(schema.to_json(c))
  c.eval.batch_size, c.checkpoint.keep, c.profile = 7, 9, '1:2'
  assert schema.differences(schema.flat(earlier), c) == []
  c.optimizer.lr = 0.2
  assert schema.differences(schema.flat(earlier), c) == ['optimizer.lr: 0.01 there, 0.2 here']
  assert schema.differences({'log.norms': True, 'gone': 1}, schema.config()) == [
    'gone: 1 there, None here',
    'log.norms: True there, False here',
  ]


def test_a_field_that_is_missing():
  c = schema.config()
  del c.train['batch_size']
  with pytest.raises(InputError, match=r'config\.train\.batch_size is missing'):
    schema.check(c)


def test_help_names_every_field_with_its_default_in_100_columns():
  done = program.run('--help=config')
  assert done.returncode == 0
  lines = done.stdout.splitlines()
  assert max(map(len, lines)) <= 100
  starts = [
    line.split('=')[0].strip() for line in lines if line.startswith('  ') and line[2] != ' '
  ]
  assert sorted(starts) == sorted(schema.FIELDS)
  assert (
    '  train.batch_size=128          Examples in a step, over all devices (at least 1)' in lines
  )


def test_the_page_is_up_to_date():
  command = [sys.executable, '-m', 'googlenet_jax.schema']
  done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
  assert (ROOT / 'docs/config.md').read_text() == done.stdout


def test_a_dict_on_the_command_line():
  done = program.run("--config.model.fields={'depth': 3}", '--mode=preview')
  assert done.returncode == 2
  assert "has no field 'depth'" in done.stderr and done.stderr.count('\n') == 1
  done = program.run('--config.model.fields=3', '--mode=preview')
  assert done.returncode == 2 and done.stderr.count('\n') == 1 and 'model.fields' in done.stderr
