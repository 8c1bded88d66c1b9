"""docs/extending.md: its files and commands, as they are written."""

import json
import pathlib
import re
import shlex

import program
import pytest

PAGE = pathlib.Path(__file__).resolve().parents[1] / 'docs' / 'extending.md'
SECTIONS = dict(re.findall(r'^## (.*?)\n(.*?)(?=^## |\Z)', PAGE.read_text(), re.S | re.M))


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """A working directory that holds the files of the page."""
  folder = tmp_path_factory.mktemp('own')
  for text in re.findall(r'^```python\n(.*?)^```', PAGE.read_text(), re.S | re.M):
    (folder / re.match(r'# (\w+\.py)\n', text)[1]).write_text(text)
  return folder


@pytest.mark.parametrize('name', SECTIONS)
def test_the_commands_run_as_they_are_written(folder, name, monkeypatch):
  if name == 'A writer to MLflow':
    pytest.importorskip('mlflow')
    monkeypatch.setenv('MLFLOW_TRACKING_URI', f'file://{folder}/mlruns')
    monkeypatch.setenv('MLFLOW_ALLOW_FILE_STORE', 'true')  # a database needs more packages
  commands, said = re.findall(r'^googlenet-jax .*', SECTIONS[name], re.M), ''
  assert commands
  for command in commands:
    done = program.run(*shlex.split(command)[1:], cwd=folder)
    assert done.returncode == 0, (command, done.stderr)
    said += done.stdout
  if name == 'A network':
    kept = json.loads((folder / 'runs/net/network.json').read_text())
    assert (kept['model'], kept['fields']) == ('net:Net', {'depth': 3})
    modules = re.findall(r'^(inception_\w+)/conv_1x1 ', said, re.M)
    assert modules == ['inception_3a', 'inception_4a'] and '6,176' in said  # 192 * 32 + 32
    assert json.loads((folder / 'runs/net/evaluation_test.json').read_text())['examples'] == 360
  elif name == 'A metric':
    scores = json.loads((folder / 'runs/metric/evaluation_test.json').read_text())
    assert {'Worst', 'calibration_error'} <= scores.keys()
  elif name == 'A dataset':
    kept = json.loads((folder / 'runs/dataset/network.json').read_text())
    assert (kept['preprocessing']['size'], kept['class_names']) == (24, ['across', 'down'])
  elif name == 'A writer of records':
    rows = (folder / 'runs/writer/records.csv').read_text().splitlines()
    lines = (folder / 'runs/writer/metrics.jsonl').read_text().splitlines()
    assert len(rows) == len(lines) > 4
  elif name == 'A writer to MLflow':
    lines = (folder / 'runs/mlflow/metrics.jsonl').read_text().splitlines()
    names = 'train/loss', 'validation/top1', 'test/top1'
    (metrics,) = (folder / 'mlruns').glob('*/*/metrics')
    assert sum(len((metrics / name).read_text().splitlines()) for name in names) == len(lines)


@pytest.mark.parametrize('name', [name for name in SECTIONS if name != 'A network'])
def test_files_are_at_most_fifteen_lines(name):
  for text in re.findall(r'^```python\n(.*?)^```', SECTIONS[name], re.S | re.M):
    assert len([line for line in text.splitlines() if line.strip()]) <= 15
