"""What a disk does to checkpoints: kept apart, gone around, told in one line."""

import json
import resource
import subprocess
import sys

import jax
import numpy as np
import program
import pytest
from etils import epath
from processes import CONFIG, DIGITS, SCORED

from googlenet_jax import checkpoint, nonfinite, parallel, stored, train_state
from googlenet_jax.checkpoint import Checkpoints
from googlenet_jax.errors import InputError
from googlenet_jax.run import workdirs
from googlenet_jax.stored import SUMS


def state(step):
  """A small state whose parameters tell its step."""
  made = train_state.TrainState(
    step=np.int32(step),
    params={'linear': {'kernel': np.arange(1000, dtype=np.float32) + step}},
    batch_stats={},
    opt_state={'trace': np.ones(7, np.float32)},
    average={},
    log_sums={'loss': np.float32(step / 3)},
    nonfinite=nonfinite.zeros(('main',)).replace(consecutive=np.int32(step)),
    skipped_batches=np.int32(step % 2),
  )
  return parallel.replicate(made)


def saved(folder, scores):
  """Checkpoints of steps with scores, written."""
  checkpoints = Checkpoints(epath.Path(folder))
  for step, score in scores.items():
    checkpoints.save(state(step), score)
  checkpoints.wait()
  checkpoints.close()


def test_what_is_restored_is_what_was_saved(tmp_path):
  saved(tmp_path, {3: 0.5})
  checkpoints = Checkpoints(epath.Path(tmp_path))
  found = parallel.fetch(checkpoints.restore(state(0), 3))
  jax.tree.map(np.testing.assert_array_equal, found, parallel.fetch(state(3)))
  done = subprocess.run(
    ['sha256sum', '-c', SUMS], cwd=tmp_path / 'checkpoints' / '3', capture_output=True, check=False
  )
  assert done.returncode == 0 and done.stdout.count(b': OK') > 10


def largest(folder):
  return max((x for x in folder.rglob('*') if x.is_file()), key=lambda x: x.stat().st_size)


def truncate(folder):
  file = largest(folder / 'params')
  file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip(folder):
  file = largest(folder / 'params')
  data = bytearray(file.read_bytes())
  data[len(data) // 2] ^= 1
  file.write_bytes(data)


def half_delete(folder):
  for file in [x for x in sorted(folder.rglob('*')) if x.is_file()][::2]:
    file.unlink()


def halve_digests(folder):
  lines = (folder / SUMS).read_text().splitlines(keepends=True)
  (folder / SUMS).write_text(''.join(lines[::2]))


DAMAGES = {
  'truncated': truncate,
  'one bit': flip,
  'half deleted': half_delete,
  'no digests': lambda folder: (folder / SUMS).unlink(),
  'empty digests': lambda folder: (folder / SUMS).write_text(''),
  'half of the digests': halve_digests,
  'no score': lambda folder: (folder / 'metrics' / 'metrics').write_text(''),
  'no stamp': lambda folder: (folder / stored.STAMP).write_bytes(b''),
}


@pytest.mark.parametrize('what', DAMAGES)
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_taken(tmp_path, caplog, what):
  saved(tmp_path, {4: 0.3, 6: 0.9})
  DAMAGES[what](tmp_path / 'checkpoints' / '6')
  checkpoints = Checkpoints(epath.Path(tmp_path))
  assert (checkpoints.latest(), checkpoints.best()) == (4, 4)
  assert f'checkpoint {tmp_path}/checkpoints/6 is damaged' in caplog.text
  assert (tmp_path / 'checkpoints' / '6').exists()
  checkpoints.open()
  assert not (tmp_path / 'checkpoints' / '6').exists()
  assert (tmp_path / 'damaged' / '6').exists()
  checkpoints.save(state(6), 0.8)  # the run gets there again
  checkpoints.wait()
  assert (checkpoints.latest(), checkpoints.best()) == (6, 6)
  checkpoints.close()


def test_what_file_managers_and_servers_leave_is_no_damage(tmp_path):
  saved(tmp_path, {4: 0.3})
  folder = tmp_path / 'checkpoints' / '4'
  (folder / '.DS_Store').write_text('x')
  (folder / 'params' / '.nfs0000001').write_text('x')
  assert Checkpoints(epath.Path(tmp_path)).latest() == 4
  (folder / 'params' / 'more').write_text('x')
  assert Checkpoints(epath.Path(tmp_path)).latest() is None


def test_the_best_is_kept_beside_the_last_ones(tmp_path):
  saved(tmp_path, {1: 0.3, 2: 0.9, 3: 0.5, 4: 0.6, 5: None})
  assert {path.name for path in (tmp_path / 'checkpoints').iterdir()} == {'2', '4', '5'}
  again = Checkpoints(epath.Path(tmp_path))
  assert (again.best(), again.latest()) == (2, 5)


def test_a_score_takes_the_place_of_none(tmp_path):
  saved(tmp_path, {2: 0.4, 4: None})
  saved(tmp_path, {4: 0.7})
  saved(tmp_path, {4: None})
  assert Checkpoints(epath.Path(tmp_path)).best() == 4
  assert (tmp_path / 'checkpoints' / '4' / SUMS).read_text().count('metrics/metrics\n') == 1
  (tmp_path / 'checkpoints' / '4' / 'metrics' / 'metrics').write_text('{"validation_top1": 0.9}')
  assert Checkpoints(epath.Path(tmp_path)).best() == 2  # what is added is signed too


def test_a_score_that_was_being_added_leaves_the_checkpoint_whole(tmp_path):
  saved(tmp_path, {2: 0.4, 4: None})
  folder = tmp_path / 'checkpoints' / '4'
  stored.add_score(epath.Path(folder), 0.7)
  lines = (folder / SUMS).read_text().splitlines(keepends=True)
  (folder / SUMS).write_text(''.join(lines[:-1]))  # killed before the signature
  (folder / (SUMS + '.part')).write_text('')
  assert Checkpoints(epath.Path(tmp_path)).best() == 4


@pytest.mark.parametrize('written', [1, checkpoint.FORMAT + 1])
def test_a_checkpoint_of_another_version_is_refused_and_left(tmp_path, monkeypatch, written):
  with monkeypatch.context() as patch:
    patch.setattr(checkpoint, 'FORMAT', written)
    saved(tmp_path, {3: 0.5})
  with pytest.raises(InputError, match=rf'version of googlenet_jax \(format {written}'):
    Checkpoints(epath.Path(tmp_path)).latest()
  assert (tmp_path / 'checkpoints' / '3').exists()


def test_a_second_run_is_refused_and_a_stale_lock_is_none(tmp_path):
  hold = (
    'import sys, time\nfrom etils import epath\nfrom googlenet_jax.run import workdirs\n'
    'with workdirs.locked(epath.Path(sys.argv[1])):\n  print("held", flush=True)\n  '
    'time.sleep(60)\n'
  )
  command = [sys.executable, '-c', hold, str(tmp_path)]
  with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=program.ROOT) as other:
    assert other.stdout.readline() == 'held\n'
    with (
      pytest.raises(InputError, match=f'process {other.pid} .* trains there'),
      workdirs.locked(epath.Path(tmp_path)),
    ):
      pass
    other.kill()
  assert (tmp_path / 'lock').read_text()
  with workdirs.locked(epath.Path(tmp_path)):
    pass


def test_a_full_disk_is_one_line_and_the_same_command_goes_on_later(tmp_path):
  """A limit on the size of a file stands for the disk: the same error from the system."""
  (tmp_path / 'config.py').write_text(CONFIG)
  arguments = (
    f'--config={tmp_path}/config.py',
    *DIGITS,
    *SCORED,
    '--config.train.duration=6 steps',
    '--config.eval.every=3 steps',
    "--config.model.fields={'blocks': (1,), 'features': 32}",  # a checkpoint above the limit
  )
  one = {'JAX_NUM_CPU_DEVICES': '1'}
  # A run before it, so that nothing is left to compile: what is compiled is a file as well.
  assert program.run(*arguments, f'--workdir={tmp_path}/before', **one).returncode == 0
  arguments = (*arguments, f'--workdir={tmp_path}/run')
  running = program.Program(*arguments, **one)
  resource.prlimit(running.pid, resource.RLIMIT_FSIZE, (30_000, 30_000))
  _, errors = running.communicate()
  assert running.returncode == 2, errors
  assert errors.startswith('error: ') and errors.count('\n') == 1, errors
  assert 'cannot be written' in errors
  assert not (tmp_path / 'run' / 'summary.json').exists()
  assert Checkpoints(epath.Path(tmp_path / 'run')).latest() is None
  done = program.run(*arguments, **one)
  assert done.returncode == 0, done.stderr
  assert json.loads((tmp_path / 'run' / 'summary.json').read_text())['steps'] == 6
