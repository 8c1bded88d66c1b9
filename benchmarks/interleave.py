"""Contestants in processes of their own, run in turn, so that each has both cores and its peak.

A contestant is a function that returns a step; the step does its work, waits for it and
returns nothing.
"""

import multiprocessing
import os
import pathlib
import signal
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

from benchmarks import machine


class Contestant(NamedTuple):
  """What is timed: `build(*arguments)` gives the step, in a process of its own."""

  build: Callable
  arguments: tuple


def run(contestants: dict[str, Contestant], *, rounds: int, steps: int) -> dict[str, dict]:
  """Times the contestants in turn.

  Args:
    contestants: contestants by name; the first is compared with the others.
    rounds: rounds of each; a first one, which warms up, is not counted.
    steps: steps of each in a round.

  Returns:
    Per name `seconds` (a step, a round), `peak_mb` (memory while stepping, after the start)
    and `first_step` (seconds from nothing to the first step done, compilation included).
  """
  context = multiprocessing.get_context('spawn')
  ends, processes = {}, []
  results = {name: {'seconds': []} for name in contestants}
  for name, contestant in contestants.items():
    ends[name], child = context.Pipe()
    processes.append(context.Process(target=_serve, args=(child, contestant), daemon=True))
    processes[-1].start()
    child.close()  # else the end of a process that fails is not seen
    results[name]['first_step'] = ends[name].recv()
    os.kill(processes[-1].pid, signal.SIGSTOP)  # threads of one that waits may spin
  for turn in range(rounds + 1):
    for (name, end), process in zip(ends.items(), processes, strict=True):
      os.kill(process.pid, signal.SIGCONT)
      end.send(steps)
      seconds, results[name]['peak_mb'] = end.recv()
      os.kill(process.pid, signal.SIGSTOP)
      if turn:
        results[name]['seconds'].append(seconds)
        print(f'round {turn} of {rounds}, {name}: {seconds:.3f} s a step', flush=True)
  for end, process in zip(ends.values(), processes, strict=True):
    os.kill(process.pid, signal.SIGCONT)
    end.send(0)
    process.join()
  return results


def _serve(pipe, contestant):
  began = time.perf_counter()
  step = contestant.build(*contestant.arguments)
  step()
  pipe.send(time.perf_counter() - began)
  step()
  pathlib.Path('/proc/self/clear_refs').write_text('5')  # resets the peak
  while steps := pipe.recv():
    began = time.perf_counter()
    for _ in range(steps):
      step()
    pipe.send(((time.perf_counter() - began) / steps, _peak_mb()))


def _peak_mb() -> float:
  lines = pathlib.Path('/proc/self/status').read_text().splitlines()
  return next(int(line.split()[1]) for line in lines if line.startswith('VmHWM')) * 1024 / 1e6


def report(results: dict[str, dict], images: int, about: str, path: str) -> None:
  """Prints the table, the first contestant over each of the others; writes it as JSON.

  Args:
    results: result of `run`.
    images: images in a step.
    about: the machine, versions and threads.
    path: file, or ''.
  """
  first = next(iter(results.values()))
  rows = {}
  for name, result in results.items():
    speeds = [images / seconds for seconds in result['seconds']]
    ratios = [b / a for a, b in zip(first['seconds'], result['seconds'], strict=True)]
    rows[name] = {
      'images_per_second': statistics.median(speeds),
      'range': (min(speeds), max(speeds)),
      'first_over_it': statistics.median(ratios),
      'first_over_it_range': (min(ratios), max(ratios)),
      'peak_mb': result['peak_mb'],
      'first_step_seconds': result['first_step'],
    }
  rounds = len(first['seconds'])
  print(f'\n{about}; {rounds} interleaved rounds, median (range)')
  for name, row in rows.items():
    print(
      f'{name:<20} {row["images_per_second"]:6.1f} ({row["range"][0]:.1f} to '
      f'{row["range"][1]:.1f}) images/s; the first over it {row["first_over_it"]:.2f} '
      f'({row["first_over_it_range"][0]:.2f} to {row["first_over_it_range"][1]:.2f}); peak '
      f'{row["peak_mb"]:,.0f} MB; first step after {row["first_step_seconds"]:.1f} s'
    )
  machine.save(path, about, rows, rounds=rounds)
