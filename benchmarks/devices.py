"""The host's part in a training step on 1 to 8 devices: what a call of the step takes.

    python -m benchmarks.devices [--json=FILE]

CIFAR-10's network with few channels, its state of as many arrays as ever, on virtual CPU devices:
the time of the thread that calls is the host's own, however the devices share the cores. Each
number of devices in a process of its own, in turn. About ten minutes on two cores.
"""

import json
import os
import statistics
import subprocess
import sys
import time

import jax
from absl import app, flags

from benchmarks import machine
from benchmarks.noise import workload
from configs import cifar10
from googlenet_jax import startup

ROUNDS = flags.DEFINE_integer('rounds', 3, 'processes of each number of devices')
JSON = flags.DEFINE_string('json', '', 'file for the figures')
ONE = flags.DEFINE_bool('one', False, 'measures the devices that are here, for the process above')

COUNTS, STEPS = (1, 2, 4, 8), 50


def measure() -> dict:
  """Milliseconds of a call, by its thread; and the number of arrays of the state."""
  config = cifar10.get_config()
  config.model.width, config.train.batch_size = 0.0625, 8 * jax.device_count()
  work = workload(config, 32, 10)
  state = work.step(work.state, 1)
  calls = []
  for _ in range(STEPS):
    jax.block_until_ready(state)
    began = time.thread_time()
    state = work.step(state, 1)
    calls.append(1e3 * (time.thread_time() - began))
  return {'ms': statistics.median(calls), 'arrays': len(jax.tree.leaves(state))}


def main(_):
  """Prints a line a number of devices."""
  if ONE.value:
    print(json.dumps(measure()))
    return
  found = {count: [] for count in COUNTS}
  for _ in range(ROUNDS.value):
    for count in COUNTS:
      env = os.environ | {'JAX_PLATFORMS': 'cpu', 'JAX_NUM_CPU_DEVICES': str(count)}
      command = [sys.executable, '-m', 'benchmarks.devices', '--one']
      done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True)
      found[count].append(json.loads(done.stdout))
  rows = {}
  for count, each in found.items():
    times = [one['ms'] for one in each]
    row = {'host_ms': statistics.median(times), 'range': (min(times), max(times))}
    name = f'{count} device{"s" * (count > 1)}'
    rows[name] = row | {'arrays': each[0]['arrays']}
    print(f'{name}: {row["host_ms"]:.2f} ms a step ({min(times):.2f} to {max(times):.2f})')
  about = machine.describe()
  print(f'a state of {each[0]["arrays"]} arrays; {about}; median (range) of {ROUNDS.value}')
  machine.save(JSON.value, about, rows, rounds=ROUNDS.value)


if __name__ == '__main__':
  startup.prepare()
  # The step in a thread of jax's: this one's time is then the host's own.
  jax.config.update('jax_cpu_enable_async_dispatch', True)
  app.run(main)
