"""The package as it is installed: a wheel, a run from another folder, what an import costs."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]


def pip(*arguments, cwd):
  command = [sys.executable, '-m', 'pip', '--disable-pip-version-check', *map(str, arguments)]
  subprocess.run([*command, '-q', '--no-deps', '--no-index'], check=True, cwd=cwd)


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
  """The wheel of a copy of the sources: building leaves files beside them."""
  copy, built = tmp_path_factory.mktemp('sources'), tmp_path_factory.mktemp('wheel')
  for name in ('pyproject.toml', 'requirements.txt', 'README.md', 'LICENSE'):
    shutil.copy(ROOT / name, copy)
  for name in ('googlenet_jax', 'configs'):
    unwanted = shutil.ignore_patterns('__pycache__')
    shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=unwanted)
  pip('wheel', '.', '--no-build-isolation', '-w', built, cwd=copy)
  (path,) = built.iterdir()
  return path


def test_the_wheel_holds_all_files_and_asks_for_the_one_list(wheel):
  with zipfile.ZipFile(wheel) as file:
    names = set(file.namelist())
    (about,) = (name for name in names if name.endswith('METADATA'))
    metadata = file.read(about).decode().splitlines()
  sources = {
    str(path.relative_to(ROOT)).removeprefix('googlenet_jax/').removeprefix('configs/')
    for folder in ('googlenet_jax', 'configs')
    for path in (ROOT / folder).rglob('*')
    if path.suffix in ('.npz', '.py', '.txt', '.typed')
  }
  held = {name.removeprefix('googlenet_jax/').removeprefix('configs/') for name in names}
  assert sources == {name for name in held if '.dist-info/' not in name}
  asked = [line for line in metadata if line.startswith('Requires-Dist') and 'extra ==' not in line]
  listed = (ROOT / 'requirements.txt').read_text().splitlines()
  assert len(asked) == len([line for line in listed if line and not line.startswith('#')])
  extras = {line.split()[1] for line in metadata if line.startswith('Provides-Extra')}
  assert extras == {'cuda13', 'tpu', 'tfds', 'torch', 'wandb', 'hub'}


def test_the_installed_program_trains_from_another_folder(wheel, tmp_path):
  target, elsewhere = tmp_path / 'target', tmp_path / 'elsewhere'
  elsewhere.mkdir()
  pip('install', wheel, '--target', target, cwd=elsewhere)
  command = [
    target / 'bin' / 'googlenet-jax',
    '--config=lenet5',
    '--config.train.duration=3 steps',
    '--config.schedule.warmup=1 steps',
    '--config.dataset.validation=',
    '--config.dataset.test=',
  ]
  environment = os.environ | {'PYTHONPATH': str(target)}
  done = subprocess.run(
    command, capture_output=True, text=True, check=False, cwd=elsewhere, env=environment
  )
  assert done.returncode == 0, done.stderr
  assert json.loads((elsewhere / 'runs/lenet5/summary.json').read_text())['steps'] == 3
  where = [sys.executable, '-c', 'import googlenet_jax; print(googlenet_jax.__file__)']
  found = subprocess.run(
    where, capture_output=True, text=True, check=True, cwd=elsewhere, env=environment
  )
  assert found.stdout.startswith(str(target))


def test_an_import_defines_no_flags_and_needs_no_jax():
  code = (
    'import sys; from absl import flags; import googlenet_jax;'
    'print(sorted({"jax", "flax", "orbax", "matplotlib"} & set(sys.modules)));'
    'googlenet_jax.create, googlenet_jax.load, googlenet_jax.config;'
    'from googlenet_jax import cli, command_line;'
    'print(sorted({*command_line.FLAGS, "mode", "config"} & set(flags.FLAGS)))'
  )
  done = subprocess.run(
    [sys.executable, '-c', code], capture_output=True, text=True, check=True, cwd=ROOT
  )
  assert done.stdout == '[]\n[]\n'
