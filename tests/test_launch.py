"""The launch files: scripts under stubs of SLURM's commands, and what Kubernetes is told."""

import os
import pathlib
import signal
import subprocess
import time

import pytest
import yaml

LAUNCH = pathlib.Path(__file__).resolve().parents[1] / 'launch'
JOB = {'slurm.sh': '42', 'slurm_array.sh': '42_7'}  # as scontrol and scancel are told it

# srun runs until scancel asks its processes to stop, or not at all; a SIGTERM to itself kills them.
STUBS = {
  'srun': """#!/bin/bash
trap 'echo killed >> told; exit 137' TERM
echo "$*" > started
while [ "$RUNS" ] && [ ! -e stop ]; do sleep 0.02; done
exit "$STATUS"
""",
  # Busy: it does what it is asked and fails all the same.
  'scancel': '#!/bin/bash\necho "scancel $*" >> told\ntouch stop\nexit 1\n',
  'scontrol': '#!/bin/bash\necho "scontrol $*" >> told\n',
}


@pytest.fixture
def job(tmp_path):
  """Starts a script as SLURM would, with `STATUS` of srun; gives the process."""
  (tmp_path / '.venv/bin').mkdir(parents=True)
  (tmp_path / '.venv/bin/activate').touch()
  for name, text in STUBS.items():
    (tmp_path / name).write_text(text)
    (tmp_path / name).chmod(0o755)

  def start(script, status, runs):
    variables = {'SLURM_SUBMIT_DIR': tmp_path, 'SLURM_JOB_ID': 42, 'SLURM_CPUS_PER_TASK': 3}
    variables |= {'SLURM_ARRAY_JOB_ID': 42, 'SLURM_ARRAY_TASK_ID': 7}
    variables |= {'STATUS': status, 'RUNS': 'yes' if runs else ''}
    variables |= {'PATH': f'{tmp_path}:{os.environ["PATH"]}'}
    return subprocess.Popen(
      [LAUNCH / script, '--config=configs/digits.py', 'a b'],
      env=os.environ | {name: str(value) for name, value in variables.items()},
    )

  return start


def wait_for(path):
  end = time.monotonic() + 20
  while not path.exists() or not path.read_text():
    assert time.monotonic() < end, f'no {path}'
    time.sleep(0.02)


@pytest.mark.parametrize('script', sorted(path.name for path in LAUNCH.glob('*.sh')))
def test_scripts_are_bash(script):
  subprocess.run(['bash', '-n', LAUNCH / script], check=True)


@pytest.mark.parametrize('script', JOB)
@pytest.mark.parametrize('status', [143, 137, 2, 1, 0])
def test_near_the_time_limit_what_was_saved_is_queued_again(script, status, job, tmp_path):
  process = job(script, status, runs=True)
  wait_for(tmp_path / 'started')
  process.send_signal(signal.SIGUSR1)  # as `#SBATCH --signal=B:USR1@...` asks for
  assert process.wait(20) == status
  assert '#SBATCH --signal=B:USR1@' in (LAUNCH / script).read_text()
  told = [f'scancel --signal=TERM {JOB[script]}']
  told += [f'scontrol requeue {JOB[script]}'] if status > 128 else []
  assert (tmp_path / 'told').read_text().splitlines() == told


@pytest.mark.parametrize('script', JOB)
@pytest.mark.parametrize('status', [143, 2, 1, 0])
def test_what_ends_by_itself_is_not_queued_again(script, status, job, tmp_path):
  assert job(script, status, runs=False).wait(20) == status
  assert not (tmp_path / 'told').exists()
  assert '--config=configs/digits.py a b' in (tmp_path / 'started').read_text()


@pytest.mark.parametrize('script', JOB)
def test_what_is_cancelled_is_not_queued_again(script, job, tmp_path):
  process = job(script, 143, runs=True)
  wait_for(tmp_path / 'started')
  process.send_signal(signal.SIGTERM)
  assert process.wait(20) == -signal.SIGTERM
  (tmp_path / 'stop').touch()
  assert not (tmp_path / 'told').exists()


def test_python_is_not_process_1_of_a_pod():
  jobset = yaml.safe_load((LAUNCH / 'jobset.yaml').read_text())
  job = jobset['spec']['replicatedJobs'][0]['template']['spec']
  pod = job['template']['spec']
  assert pod['shareProcessNamespace'] is True
  (container,) = pod['containers']
  assert f'--process_count={job["completions"]}' in container['args']
  assert job['completions'] == job['parallelism']
