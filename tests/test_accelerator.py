"""The benchmark for accelerators: it goes on where it stopped, and tells what failed."""

import json
import subprocess
import sys

from program import ROOT


def call(path, *arguments):
  command = [sys.executable, '-m', 'benchmarks.accelerator', f'--json={path}', '--small']
  return subprocess.run([*command, *arguments], cwd=ROOT, capture_output=True, text=True)


def test_it_measures_what_is_missing(tmp_path):
  path = tmp_path / 'figures.json'
  path.write_text(json.dumps({'guard': {'done': 1}, 'photos': {'stopped': 'after 2 s'}}))
  done = call(path, '--only=about,photos,guard', f'--jpegs={tmp_path / "nothing"}')
  assert done.returncode == 0, done.stderr
  found = json.loads(path.read_text())
  assert found['guard'] == {'done': 1}
  assert found['about']['device'].endswith('x cpu')
  assert 'nothing' in found['photos']['failed'][0]
  assert 'left for the next call' in call(tmp_path / 'new.json', '--minutes=0').stdout
  assert 'use some of about' in call(path, '--only=speed').stderr
