"""Where figures come from: the commit is git's own, and what a record says names no place."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

import googlenet_jax
from googlenet_jax import schema
from googlenet_jax.run import origin


@pytest.fixture
def checkout(tmp_path, monkeypatch):
  """A checkout with one commit, which the package is said to lie in."""
  monkeypatch.setattr(origin, 'ROOT', tmp_path)
  for name in [name for name in os.environ if name.startswith('GIT_')]:  # a hook sets them
    monkeypatch.delenv(name)
  monkeypatch.setenv('GIT_CONFIG_GLOBAL', os.devnull)
  (tmp_path / 'code.py').write_text('pass\n')
  for command in ('init -q', 'add code.py', '-c user.name=a -c user.email=b commit -qm first'):
    subprocess.run(['git', *command.split()], cwd=tmp_path, check=True)
  return tmp_path


def test_the_commit_and_whether_files_were_changed(checkout):
  log = subprocess.run(['git', 'log', '--format=%H'], cwd=checkout, capture_output=True, text=True)
  assert origin.commit() == {'commit': log.stdout.strip(), 'changed': False}
  (checkout / 'notes.txt').write_text('not a file of the checkout\n')
  assert not origin.commit()['changed']
  (checkout / 'code.py').write_text('1 / 0\n')
  assert origin.commit() == {'commit': log.stdout.strip(), 'changed': True}


def test_no_commit_outside_a_checkout_and_without_git(tmp_path, checkout, monkeypatch):
  monkeypatch.setattr(origin, 'ROOT', tmp_path / 'elsewhere')
  assert origin.commit() == {'commit': None, 'changed': None}
  (tmp_path / 'broken/.git').mkdir(parents=True)
  monkeypatch.setattr(origin, 'ROOT', tmp_path / 'broken')
  monkeypatch.setenv('GIT_CEILING_DIRECTORIES', str(tmp_path))
  assert origin.commit() == {'commit': None, 'changed': None}
  monkeypatch.setattr(origin, 'ROOT', checkout)
  monkeypatch.setenv('PATH', '')
  assert origin.commit() == {'commit': None, 'changed': None}


def test_the_package_that_counts(tmp_path, monkeypatch):
  copy = shutil.copytree(pathlib.Path(googlenet_jax.__file__).parent, tmp_path / 'googlenet_jax')
  monkeypatch.setattr(googlenet_jax, '__file__', str(copy / '__init__.py'))

  def digests(file):
    (copy / file).write_text((copy / file).read_text() + '# another\n')
    origin.package.cache_clear()
    origin._reader.cache_clear()
    return origin.package(), origin._reader()

  first = digests('tools/draw.py')
  assert digests('tools/draw.py') == digests('modes.py') == first
  step, weights = digests('steps.py'), digests('weights/files.py')
  assert step[0] != first[0] and step[1] == first[1]
  assert weights[0] == step[0] and weights[1] != step[1]
  assert digests('tools/cost.py')[0] != weights[0]  # its figures are in a record
  monkeypatch.undo()
  origin.package.cache_clear()
  origin._reader.cache_clear()


def test_digests_of_parts_of_ones_own(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  c, found = schema.config(), []
  c.train.loss, c.eval.metrics = 'part_of_mine:loss', ('top1', 'part_of_mine:metric')
  (tmp_path / 'inner_of_mine.py').write_text('def metric(logits, labels): pass\n')
  for text in ('', '# another\n'):
    (tmp_path / 'part_of_mine.py').write_text(f'from inner_of_mine import metric\nloss = max{text}')
    found.append(origin.parts(c))
    found.append(origin.parts(c))
    origin._digest.cache_clear()  # as in another process
  assert found[0].keys() == found[2].keys() == {'part_of_mine', 'inner_of_mine'}
  assert found[0]['part_of_mine'] != found[2]['part_of_mine']
  (tmp_path / 'part_of_mine.py').unlink()
  assert origin.parts(c).keys() == {'inner_of_mine'}  # it trained all the same
  assert origin.parts(schema.config()) == {}


def test_digests_of_what_training_starts_from(tmp_path):
  c, found = schema.config(), []
  c.init.weights, c.init.run = str(tmp_path / 'a.safetensors'), str(tmp_path / 'run')
  (tmp_path / 'run').mkdir()
  for text in ('one', 'two'):
    (tmp_path / 'a.safetensors').write_text(text)
    (tmp_path / 'run' / 'metrics.jsonl').write_text(text)
    found.append(origin.parts(c))
    origin._digest.cache_clear()  # as in another process
  assert found[0].keys() == {'init.weights', 'init.run', 'googlenet_jax.weights'}
  assert {name for name, _ in found[0].items() & found[1].items()} == {'googlenet_jax.weights'}
  c.init.weights, c.init.run = 'bvlc', ''
  assert origin.parts(c).keys() == {'googlenet_jax.weights'}


def test_a_command_can_be_given_again_and_names_no_place_in_a_record(monkeypatch):
  monkeypatch.setattr(sys, 'argv', ['/x/main.py', '--workdir=/home/me/a b', '--config=digits'])
  assert (
    origin.origin(schema.config())['command'] == "main.py '--workdir=/home/me/a b' --config=digits"
  )
  assert origin.command() == "main.py '--workdir=DIR b' --config=digits"
  assert re.fullmatch(r'\d+ cores of .+', origin.processor())
