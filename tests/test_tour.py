"""The tour of the documentation, run as it is written: cell by cell, in one process."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]


@pytest.mark.tour
def test_the_tour_runs_and_says_what_is_so(tmp_path):
  cells = json.loads((ROOT / 'docs' / 'tour.ipynb').read_text())['cells']
  code = '\n'.join(''.join(cell['source']) for cell in cells if cell['cell_type'] == 'code')
  code += '\nprint(summary["test_top1"], ratio)\n'
  (tmp_path / 'tour.py').write_text(f'import matplotlib\nmatplotlib.use("agg")\n{code}')
  command = [sys.executable, '-W', 'error::SyntaxWarning', 'tour.py']
  environment = os.environ | {'PYTHONPATH': str(ROOT)}
  done = subprocess.run(
    command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False
  )
  assert done.returncode == 0, done.stderr
  top1, ratio = map(float, done.stdout.split()[-2:])
  assert top1 > 0.95
  # Multiply-adds of module 4a, naive over reduced, by the paper's Table 1.
  naive = 480 * (192 + 9 * 208 + 25 * 48)
  reduced = 480 * (192 + 96 + 16 + 64) + 96 * 9 * 208 + 16 * 25 * 48
  assert ratio == pytest.approx(naive / reduced)
