"""The networks of `configs/experiments/family.py` at equal time: their curves by their speeds.

    python -m benchmarks.equal_time [--rounds=N] [--json=FILE] [--records=DIR] [--svg=FILE]

First the training step of each arm, with augmentation, on noise of 32 pixels, each in a process of
its own, in turn; the flags are those of `benchmarks.step`. Then the curves of the finished runs
under `--records` over minutes at these speeds, evaluation left out. About ten minutes on two cores.
"""

import pathlib
import statistics

import numpy as np
from absl import app, flags
from etils import epath

from benchmarks import interleave, machine, step
from benchmarks.noise import workload
from configs.experiments import family
from googlenet_jax import schema, startup
from googlenet_jax.evidence import charts, design, report, result
from googlenet_jax.tools import tables

RECORDS = flags.DEFINE_string('records', 'results/experiments', 'folder of the runs')
SVG = flags.DEFINE_string('svg', '', 'file for the picture')

EXAMPLES = 20_000  # of `base.proxy()`


def build(arm: str):
  """The training step of an arm."""
  startup.prepare()
  step.keep_compiled()
  config = family.get_config()
  schema.update(config, family.ARMS[arm])
  return workload(config, 32, 10, examples=EXAMPLES, augmented=True).steps()


def measure() -> dict[str, float]:
  """Images/s of each arm."""
  contestants = {arm: interleave.Contestant(build, (arm,)) for arm in family.ARMS}
  results = interleave.run(contestants, rounds=step.ROUNDS.value, steps=step.STEPS.value or 5)
  batch = family.get_config().train.batch_size
  interleave.report(results, batch, machine.describe('flax'), step.JSON.value)
  return {arm: batch / statistics.median(found['seconds']) for arm, found in results.items()}


def epoch_minutes(speeds: dict[str, float]) -> dict[str, float]:
  """Minutes of an epoch, by arm."""
  return {arm: EXAMPLES / speed / 60 for arm, speed in speeds.items()}


def table(comparison: report.Comparison, speeds: dict[str, float]) -> tables.Table:
  """A row for each arm: what it has learnt when the base ends, and when it ends itself."""
  minutes = epoch_minutes(speeds)
  runs = {
    name: np.array([np.array(x.content['curve'])[:, (1, 3)] for x in arm.results])
    for name, arm in comparison.arms.items()
  }  # [runs, records, 2]: epoch, and top-1 since the record before
  end = minutes[design.BASE] * runs[design.BASE][0, -1, 0]
  rows = []
  for name, found in runs.items():
    epochs, top1 = found[0, :, 0], 100 * found[..., 1].mean(0)
    rows.append(
      (
        name,
        speeds[name],
        float(minutes[name] * epochs[-1]),
        float(np.interp(end / minutes[name], epochs, top1)),
        float(top1[-1]),
        float(np.mean(comparison.arms[name].values('test_top1'))),
      )
    )
  columns = (
    'arm', 'images/s', 'minutes', f'training top-1 (%) after {end:.1f} minutes',
    'at its own end', 'test top-1 (%) then',
  )  # fmt: skip
  notes = ('Training top-1 is of the last quarter of an epoch; who has ended stays where it is.',)
  return tables.Table(comparison.experiment.title, columns, rows, notes, digits=1)


def main(_):
  """Prints the table, and draws the picture."""
  experiment = design.load(family.__file__, family.get_config())
  comparison = report.compare(experiment, result.read(epath.Path(RECORDS.value)))
  if missing := [name for name, arm in comparison.arms.items() if not arm.results]:
    raise SystemExit(f'{RECORDS.value} holds no finished run of {", ".join(missing)}')
  speeds = measure()
  print(f'\n{tables.text(table(comparison, speeds))}')
  if SVG.value:
    picture = charts.alone(charts.curves(comparison, epoch_minutes(speeds)))
    pathlib.Path(SVG.value).write_text(picture)


if __name__ == '__main__':
  app.run(main)
