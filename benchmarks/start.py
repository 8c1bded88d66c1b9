"""Seconds from `python main.py` to the first finished training step, digits.

    python -m benchmarks.start [--json=FILE]

The first start compiles, the second finds the programs compiled; each pair has a cache of its
own. A step is finished when its record is written. A minute and a half on two cores.
"""

import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from absl import app, flags

from benchmarks import machine

ROUNDS = flags.DEFINE_integer('rounds', 3, 'pairs of starts')
JSON = flags.DEFINE_string('json', '', 'file for the figures')

ROOT = pathlib.Path(__file__).resolve().parents[1]


def start(cache: str, workdir: pathlib.Path) -> float:
  """Seconds to the first training record; the run is stopped then."""
  command = [sys.executable, 'main.py', '--config.log.every=1 steps', f'--workdir={workdir}']
  environment = os.environ | {'JAX_COMPILATION_CACHE_DIR': cache}
  record, began = workdir / 'metrics.jsonl', time.monotonic()
  with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL) as running:
    while not (record.exists() and '"train"' in record.read_text()):
      if running.poll() is not None:
        sys.exit(f'{" ".join(command)} ended with status {running.returncode}')
      time.sleep(0.05)
    seconds = time.monotonic() - began
    running.kill()
  return seconds


def main(_):
  """Prints the table."""
  seconds = {'first start': [], 'second start': []}
  for _ in range(ROUNDS.value):
    with tempfile.TemporaryDirectory() as folder:
      for name, each in seconds.items():
        each.append(start(f'{folder}/cache', pathlib.Path(folder) / name.split()[0]))
        print(f'{name}: {each[-1]:.1f} s', flush=True)
  about = machine.describe('flax')
  print(f'\n{about}; {ROUNDS.value} of each, median (range)')
  rows = {
    name: {'seconds': statistics.median(each), 'range': (min(each), max(each))}
    for name, each in seconds.items()
  }
  for name, row in rows.items():
    print(f'{name:<14} {row["seconds"]:5.1f} s ({row["range"][0]:.1f} to {row["range"][1]:.1f})')
  machine.save(JSON.value, about, rows, rounds=ROUNDS.value)


if __name__ == '__main__':
  app.run(main)
