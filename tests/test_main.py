"""The program as a person runs it: configs, flags, exit status, signals."""

import gc
import importlib
import json
import os
import pathlib
import platform
import re
import signal
import subprocess
import sys

import numpy as np
import program
import pytest
from PIL import Image

from configs import default
from googlenet_jax import checks, command_line, modes, startup, weights
from googlenet_jax.data import decode
from googlenet_jax.errors import InputError
from tests import networks

ROOT = pathlib.Path(__file__).resolve().parents[1]
CONFIGS = sorted(path.stem for path in (ROOT / 'configs').glob('*.py') if path.stem != '__init__')


@pytest.mark.parametrize('name', CONFIGS)
def test_configs_are_usable_and_documented(name):
  module = importlib.import_module(f'configs.{name}')
  checks.check(module.get_config())
  if name != 'default':
    assert 'python main.py' in module.__doc__


@pytest.mark.parametrize(
  ('field', 'value'),
  [
    ('model.name', 'vgg'),
    ('model.width', 0.0),
    ('model.aux_heads', ('9z',)),
    ('train.duration', '10'),
    ('train.duration', '0 epochs'),
    ('train.duration', '50%'),
    ('train.batch_size', 0),
    ('optimizer.lr', -0.1),
    ('optimizer.momentum', 1.0),
    ('schedule.points', (('25%',),)),
    ('schedule.points', (7,)),
    ('dataset.std', (0.0,)),
    ('dataset.mean', ()),
    ('eval.every', 'daily'),
    ('profile', '5:2'),
    ('augment.mixup', -1.0),
  ],
)
def test_values_out_of_range(field, value):
  c = default.get_config()
  group, _, name = field.rpartition('.')
  (c[group] if group else c)[name] = value
  with pytest.raises(InputError, match=f'{field.split(".")[-1]}='):
    checks.check(c)


def test_contradictory_fields():
  c = default.get_config()
  c.train.sync_batch_norm = True
  with pytest.raises(InputError, match=r'sync_batch_norm needs config\.model\.norm'):
    checks.check(c)


def test_debug_shows_the_traceback():
  done = program.run('--config.optimizer.lrr=1', '--debug')
  assert done.returncode == 2 and 'Traceback' in done.stderr


def test_a_list_of_points_has_a_line_for_each():
  # Whose network lacks fields of the config, which is told elsewhere.
  done = program.run('--config=digits', '--config.model.name=lenet5', '--mode=sweep')
  assert len(done.stdout.splitlines()) == 9, done.stdout


def test_help():
  done = program.run('--helpfull')
  assert done.returncode == 0
  for mode in modes.MODES:
    assert re.search(rf'^{mode}: .*\n    python main\.py --', done.stdout, re.MULTILINE), mode
  for name in (*command_line.FLAGS, 'config.optimizer.lr'):
    assert f'--{name}' in done.stdout, name
  assert program.run('--version').stdout.splitlines()[0].startswith('googlenet_jax 0.')


def test_a_dry_run_from_the_command_line(tmp_path):
  done = program.run('--config=configs/lenet5.py', '--dry_run', f'--workdir={tmp_path / "run"}')
  assert done.returncode == 0, done.stderr
  parts = [line.partition(':')[0].strip() for line in done.stdout.splitlines()[-5:]]
  assert parts == ['read', 'train, save', 'resume, train, validate, save', 'test', 'memory']
  assert not list(tmp_path.iterdir())


@pytest.mark.newest
def test_a_signal_saves_and_the_same_command_goes_on(tmp_path):
  arguments = [
    f'--workdir={tmp_path}',
    "--config.model.fields={'modules': {'3a': (4, 2, 4, 2, 4, 4)}}",
    '--config.model.aux_heads=()',
    '--config.dataset.train=train[:120]',
    '--config.dataset.validation=train[1200:1260]',
    '--config.train.duration=150 steps',
    '--config.log.every=10 steps',
    '--config.eval.every=1000 steps',
    '--config.schedule.warmup=0 epochs',
  ]
  running = program.Program(*arguments)
  for line in running.stdout:
    if line.startswith('step 10/'):
      running.send_signal(signal.SIGTERM)
      break
  rest, errors = running.communicate()
  assert running.returncode == 128 + signal.SIGTERM, rest + errors
  assert 'goes on from there' in rest
  assert not (tmp_path / 'summary.json').exists()
  done = program.run(*arguments)
  assert done.returncode == 0, done.stderr
  assert 'going on from step' in done.stdout
  summary = json.loads((tmp_path / 'summary.json').read_text())
  assert summary['resumed_from_step'] >= 10 and summary['steps'] == 150

  again = program.run(*arguments)
  assert again.returncode == 0 and 'step' not in again.stdout.splitlines()[0]  # finished

  done = program.run(*arguments, '--mode=evaluate', JAX_NUM_CPU_DEVICES='3')
  assert done.returncode == 0, done.stderr
  scores = json.loads((tmp_path / 'evaluation_test.json').read_text())
  assert scores['top1'] == pytest.approx(summary['test_top1'])
  assert sum(map(sum, scores['confusion'])) == scores['examples'] == 360


def test_cifar10_is_trained_and_scored_without_tensorflow(tmp_path, cifar10_dir):
  # A TensorFlow that tells when it is imported.
  package = tmp_path / 'path' / 'tensorflow'
  package.mkdir(parents=True)
  told = tmp_path / 'imported'
  (package / '__init__.py').write_text(f'open({str(told)!r}, "w").close()\n')
  command = [
    sys.executable,
    'main.py',
    '--config=configs/cifar10.py',
    f'--config.dataset.data_dir={cifar10_dir}',
    f'--workdir={tmp_path}/run',
    '--config.dataset.train=train[:64]',
    '--config.dataset.validation=train[49900:]',
    '--config.dataset.test=test[:200]',
    '--config.train.duration=2 steps',
    '--config.train.batch_size=32',
    "--config.model.fields={'modules': {'3a': (8, 4, 8, 4, 8, 8)}}",
  ]
  env = os.environ | {'PYTHONPATH': str(tmp_path / 'path')}
  done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=env)
  assert done.returncode == 0, done.stderr
  assert json.loads((tmp_path / 'run/evaluation_test.json').read_text())['examples'] == 200
  assert not told.exists()


def without_reader(*arguments):
  """The program run to its end, with nobody at the other end of its output."""
  reader, output = os.pipe()
  os.close(reader)
  command = [sys.executable, 'main.py', *arguments]
  with os.fdopen(output) as stdout:
    return subprocess.run(command, stdout=stdout, stderr=-1, check=False, cwd=ROOT)


@pytest.mark.newest
def test_weights_from_the_command_line(tmp_path, two_classes):
  modules = {'3a': (8, 4, 8, 4, 8, 8)}
  fields = {'modules': modules, 'width': 0.1, 'stem': 'cifar', 'norm': 'batch', 'aux_heads': ()}
  statistics = weights.Preprocessing(size=32, resize_shorter=36, mean=(120.0,), std=(60.0,))
  description = weights.Description('googlenet', fields, statistics, ('dusk', 'noon'))
  file, output = tmp_path / 'small.safetensors', tmp_path / 'top.json'
  weights.save(str(file), networks.drawn(description))

  (tmp_path / 'broken.png').write_bytes(b'no image')
  images = f'--images={two_classes}/dusk,{tmp_path}/broken.png,{tmp_path}/nothing.jpg'
  done = program.run('--mode=predict', f'--weights={file}', images, f'--output={output}')
  assert done.returncode == 2, done.stderr
  assert done.stderr == (
    'error: 2 of 22 photos cannot be read: leave out, or replace, '
    f'{tmp_path}/broken.png (it is none of {", ".join(decode.FORMATS)}), ... '
    '(all are named above)\n'
  )
  assert 'broken.png cannot be read' in done.stdout and 'nothing.jpg cannot be' in done.stdout
  assert len(json.loads(output.read_text())) == 20

  unread = without_reader('--mode=predict', f'--weights={file}', images)
  assert (unread.returncode, unread.stderr) == (-signal.SIGPIPE, b'')

  alone = tmp_path / 'small.stablehlo'
  done = program.run('--mode=export', f'--weights={file}', f'--output={alone}')
  assert done.returncode == 0, done.stderr
  code = (
    'import sys, jax, numpy; sys.modules["googlenet_jax"] = None\n'
    f'run = jax.export.deserialize(bytearray(open({str(alone)!r}, "rb").read()))\n'
    'print(run.call(numpy.zeros((2, 32, 32, 3), numpy.uint8)).sum(1))'
  )
  done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=False)
  assert done.stdout.count('1.') == 2 or done.stdout.count('0.99') == 2, done.stderr
  assert json.loads(alone.with_suffix('.json').read_text())['images']['shape'] == ['b', 32, 32, 3]

  done = program.run(
    '--mode=evaluate',
    f'--weights={file}',
    '--config=configs/folder.py',
    f'--config.dataset.data_dir={two_classes}',
    '--config.dataset.test=all',
    f'--workdir={tmp_path}/run',
  )
  assert done.returncode == 0, done.stderr
  assert '{:>20}: 40'.format('examples') in done.stdout and 'compared to base' in done.stdout


def test_help_that_nobody_reads_ends_quietly():
  unread = without_reader('--help')
  assert (unread.returncode, unread.stderr) == (-signal.SIGPIPE, b'')


@pytest.mark.newest
def test_classes_of_any_name_from_training_to_predictions(tmp_path):
  # Mathematics to matplotlib, no UTF-8, not in its font.
  names, rng = (b'US$_vs_A$', b'caf\xe9', '中文'.encode()), np.random.default_rng(0)
  photos, run = tmp_path / 'photos', tmp_path / 'run'
  for name in names:
    folder = photos / os.fsdecode(name)
    folder.mkdir(parents=True)
    for i in range(4):
      Image.fromarray(rng.integers(0, 255, (32, 32, 3), np.uint8)).save(folder / f'{i}.png')
  arguments = ['--config=configs/lenet5.py', f'--workdir={run}', '--config.augment.pad=0']
  fields = {'name': 'folder', 'in_memory': False, 'data_dir': photos, 'validation': ''}
  fields |= {'train': 'all', 'test': 'all', 'allow_overlap': True}
  arguments += [f'--config.dataset.{field}={value}' for field, value in fields.items()]
  arguments += ['--config.train.batch_size=4', '--config.train.duration=2 steps']
  arguments += ['--config.schedule.warmup=0 epochs']
  # Elsewhere than in the C locale, Python refuses to print what is no UTF-8.
  environment = {'PYTHONIOENCODING': 'utf-8:strict'}

  def does(*others):
    done = program.run(*others, **environment)
    assert done.returncode == 0, done.stderr
    assert 'Warning' not in done.stderr
    return done.stdout

  does(*arguments)
  assert (run / 'summary.json').exists() and (run / 'confusion.png').exists()
  does(*arguments, '--mode=evaluate')
  scores = json.loads((run / 'evaluation_test.json').read_text())
  assert [os.fsencode(name) for name in scores['per_class_top1']] == list(names)
  right, counts = np.diag(scores['confusion']), np.sum(scores['confusion'], axis=1)
  expected = [float(x / n) if n else None for x, n in zip(right, counts, strict=True)]
  assert list(scores['per_class_top1'].values()) == expected
  does(*arguments, '--mode=preview')
  output = tmp_path / 'top.json'
  says = does('--mode=predict', f'--weights={run}', f'--images={photos}', f'--output={output}')
  for name in ('US$_vs_A$', r'caf\udce9', '中文'):
    assert says.count(f'  {name}\n') == 12 and f'{photos}/{name}/0.png\n' in says
  found = json.loads(output.read_text())
  assert {os.fsencode(top['class']) for top in found[0]['top']} == set(names)


def test_a_tilde_is_the_home_and_errors_name_the_flag_that_was_given(tmp_path):
  env = {'HOME': str(tmp_path), 'JAX_NUM_CPU_DEVICES': '1'}
  few = ['train=train[:8]', 'validation=', 'test=']
  arguments = ['--config=configs/lenet5.py', '--config.train.batch_size=4']
  arguments += [f'--config.dataset.{x}' for x in few]
  arguments += ['--config.train.duration=1 steps', '--config.schedule.warmup=0 epochs']
  done = program.run(*arguments, '--workdir=~/run', **env)
  assert done.returncode == 0, done.stderr
  assert (tmp_path / 'run' / 'summary.json').exists() and not (ROOT / '~').exists()
  # An average begins as the parameters: what a step destroys must not be one array of both.
  start = ['--workdir=~/other', '--config.init.weights=~/run', '--config.average.name=ema']
  done = program.run(*arguments, *start, **env)
  assert done.returncode == 0, done.stderr
  done = program.run(*arguments, '--config.init.weights=~/none.onnx', **env)
  assert done.stderr == 'error: --config.init.weights=~/none.onnx: no such file\n'
  output = '--output=~/made.safetensors'
  done = program.run('--mode=export', '--weights=~/run', output, **env)
  assert done.returncode == 0 and (tmp_path / 'made.safetensors').exists(), done.stderr


def test_a_workdir_is_enough_to_go_on_and_to_score(tmp_path):
  few = {'train': 'train[:8]', 'validation': '', 'test': 'test[:20]'}
  arguments = ['--config=lenet5', '--config.train.batch_size=4', '--config.train.duration=2 steps']
  arguments += [f'--config.dataset.{x}={split}' for x, split in few.items()]
  arguments += ['--config.schedule.warmup=0 epochs', '--config.eval.batch_size=20']
  done = program.run(*arguments, f'--workdir={tmp_path}/run', cwd=ROOT)
  assert done.returncode == 0, done.stderr
  summary = json.loads((tmp_path / 'run/summary.json').read_text())
  done = program.run(f'--workdir={tmp_path}/run', '--mode=evaluate', cwd=tmp_path)
  assert done.returncode == 0, done.stderr
  scores = json.loads((tmp_path / 'run/evaluation_test.json').read_text())
  assert scores['examples'] == 20 and scores['top1'] == pytest.approx(summary['test_top1'])
  for source in ('workdir', 'weights'):  # 61,706 for the 10 classes of the digits
    done = program.run('--mode=summarize', f'--{source}={tmp_path}/run', cwd=tmp_path)
    assert done.returncode == 0 and '61,706' in done.stdout, done.stderr
  (tmp_path / 'run/summary.json').unlink()
  done = program.run('--workdir', f'{tmp_path}/run', '--config.eval.batch_size=10', cwd=tmp_path)
  assert done.returncode == 0, done.stderr
  again = json.loads((tmp_path / 'run/summary.json').read_text())
  assert again['steps'] == 2 and again['test_top1'] == pytest.approx(summary['test_top1'])
  done = program.run(f'--workdir={tmp_path}/run', '--config.optimizer.lr=0.5', cwd=tmp_path)
  assert done.returncode == 2 and 'optimizer.lr: 0.05 there, 0.5 here' in done.stderr


def test_xla_leaves_convolutions_on_a_cpu_to_eigen():
  code = """
import os
from googlenet_jax import startup
os.environ['XLA_FLAGS'] = startup.xla_flags()
import flax.linen as nn, jax, jax.numpy as jnp
conv = nn.Conv(128, (3, 3))
variables = conv.init(jax.random.key(0), jnp.ones((1, 28, 28, 96)))
print('ynn' in jax.jit(conv.apply).lower(variables, jnp.ones((8, 28, 28, 96))).compile().as_text())
"""

  def in_ynnpack(code, flags=''):
    environment = os.environ | {'XLA_FLAGS': flags}
    command = [sys.executable, '-c', code]
    done = subprocess.run(
      command, capture_output=True, text=True, check=True, cwd=ROOT, env=environment
    )
    return done.stdout.strip() == 'True'

  assert not in_ynnpack(code)
  assert in_ynnpack(code.replace('= startup.xla_flags()', "= ''"))
  assert in_ynnpack(code, startup.XLA_FLAG.replace('-individual', '+individual'))


@pytest.fixture
def thresholds():
  """The garbage collector's thresholds, put back after the test."""
  own = gc.get_threshold()
  yield own
  gc.set_threshold(*own)


@pytest.mark.parametrize(('young', 'looks'), [(700, 10), (50_000, 2), (0, 0)])
def test_garbage_is_looked_for_seldom(thresholds, young, looks):
  gc.collect()
  gc.set_threshold(young, *thresholds[1:])
  startup.collect_seldom()
  before = sum(x['collections'] for x in gc.get_stats())
  kept = [[] for _ in range(105_000)]
  assert sum(x['collections'] for x in gc.get_stats()) - before == looks, len(kept)


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='the settings are of glibc')
def test_what_a_step_frees_serves_the_next():
  code = """
import resource, statistics
from googlenet_jax import startup
startup.keep_memory()
import jax

@jax.jit
def step(x):  # needs 100 MB in between, as a training step does
  return (jax.numpy.sin(x @ x[:8]) @ x[:8]).sum()

x = jax.block_until_ready(jax.numpy.ones((3_000_000, 8)))

def faults():
  before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
  jax.block_until_ready(step(x))
  return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

first, _, _, *others = [faults() for _ in range(10)]  # the first steps may move what is kept
print(first, statistics.median_low(others))
"""

  def faults(**given):
    command = [sys.executable, '-c', code]
    environment = os.environ | {'GLIBC_TUNABLES': ''} | given
    return map(int, subprocess.check_output(command, cwd=ROOT, env=environment).split())

  first, again = faults(JAX_PLATFORMS='cpu')
  assert again < 0.01 * first
  theirs = {'MALLOC_TRIM_THRESHOLD_': '100000', 'MALLOC_TOP_PAD_': '0'}  # a person's stay
  first, again = faults(**theirs, JAX_PLATFORMS='cpu')
  assert again > 0.1 * first
  code = code.replace('startup.keep', "startup.ACCELERATORS = {'jax': ('null',)}\nstartup.keep")
  first, again = faults(JAX_PLATFORMS='')  # the settings are left where there is one
  assert again > 0.9 * first


@pytest.mark.parametrize(
  ('package', 'device', 'there'),
  [('jax', 'nul*', True), ('no_jax', 'nul*', False), ('jax', 'no', False)],
)
def test_an_accelerator_is_a_package_and_its_device(monkeypatch, package, device, there):
  monkeypatch.setattr(startup, 'ACCELERATORS', {'no': ('no',), package: ('no', device)})
  assert startup.accelerator() == there
