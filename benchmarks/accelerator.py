"""Everything worth measuring on a GPU or TPU, in one command of at most nine minutes.

    python -m benchmarks.accelerator --json=FILE [--minutes=9] [--jpegs=DIR]

The parts are those of `benchmarks/accelerator_parts.py`, the most important first, each in a
process of its own. FILE holds what is finished: the same command goes on with the rest. PyTorch is
measured where it is installed. A part that runs out of time keeps its figures so far, and is
measured anew. `--small` runs each part in small, on a CPU too, to see that it
works.
"""

import json
import os
import pathlib
import subprocess
import sys
import time

from absl import app, flags

from benchmarks.accelerator_parts import MARK, PARTS

JSON = flags.DEFINE_string('json', None, 'file for the figures', required=True)
MINUTES = flags.DEFINE_float('minutes', 9.0, 'time after which no part goes on')
JPEGS = flags.DEFINE_string('jpegs', '', "folder of class folders of JPEG files; '' makes some")
SMALL = flags.DEFINE_bool('small', False, 'small networks and few steps')
ONLY = flags.DEFINE_list('only', [], 'names of the parts that are measured; all by default')

LIMIT = 240  # seconds of a part


def measure(name: str, seconds: float) -> dict:
  """The figures of a part, or why there are none."""
  command = [sys.executable, '-m', 'benchmarks.accelerator_parts', name]
  command += ['small' if SMALL.value else 'whole', JPEGS.value]
  environment = {'CUDA_VISIBLE_DEVICES': '0'} | os.environ  # the figures are of one GPU
  for variable, value in PARTS[name].environment.items():
    environment[variable] = f'{environment.get(variable, "")} {value}'.strip()
  try:
    done = subprocess.run(
      command, env=environment, capture_output=True, text=True, timeout=seconds, check=False
    )
  except subprocess.TimeoutExpired as late:
    return last(late.stdout.decode() if late.stdout else '') | {'stopped': f'after {seconds:.0f} s'}
  found = last(done.stdout)
  if done.returncode or not found:
    why = done.stderr.strip().splitlines()[-1:] or [f'status {done.returncode}']
    return found | {'failed': why}
  return found


def last(output: str) -> dict:
  """The figures that a part told last; {} for none."""
  told = [line for line in output.splitlines() if line.startswith(MARK)]
  return json.loads(told[-1].removeprefix(MARK)) if told else {}


def main(_):
  """Measures the parts that FILE lacks, as time allows."""
  unknown = set(ONLY.value) - PARTS.keys()
  if unknown:
    raise app.UsageError(f'--only={sorted(unknown)[0]}: use some of {", ".join(PARTS)}')
  path, end = pathlib.Path(JSON.value), time.monotonic() + 60 * MINUTES.value
  found = json.loads(path.read_text()) if path.exists() else {}
  for name in ONLY.value or PARTS:
    left = end - time.monotonic()
    if name in found and not found[name].keys() & {'stopped', 'failed'}:
      continue
    if left < 20:
      print(f'{name}: left for the next call')
      continue
    began = time.monotonic()
    found[name] = measure(name, min(left, LIMIT)) | {
      'seconds_of_the_part': round(time.monotonic() - began, 1)
    }
    path.write_text(json.dumps(found, indent=1) + '\n')
    print(f'{name}: {json.dumps(found[name])}', flush=True)


if __name__ == '__main__':
  app.run(main)
