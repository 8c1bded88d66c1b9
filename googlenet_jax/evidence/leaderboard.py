"""Any runs side by side: what differs between them, and how well they do."""

import hashlib
import html
import json
from collections.abc import Sequence

import numpy as np
from etils import epath

from googlenet_jax import files, schema
from googlenet_jax.errors import InputError
from googlenet_jax.evidence import design, page, report
from googlenet_jax.run import workdirs
from googlenet_jax.tools import tables
from googlenet_jax.tools.tables import Table


def save(folders: Sequence[epath.Path], output: epath.Path) -> None:
  """Writes the leaderboard of the runs in folders as a page, Markdown, CSV and JSON.

  Raises:
    InputError: there is no finished run, or one cannot be read.
  """
  board = table(folders)
  files.make_folder(output)
  for ending, text in tables.WRITERS.items():
    files.write(output / f'table{ending}', text(board))
  parts = [f'<h1>{html.escape(board.title)}</h1>', page.table(board)]
  parts += [f'<p class="notes">{html.escape(note)}</p>' for note in board.notes]
  files.write(output / 'index.html', page.document(board.title, parts))


def table(folders: Sequence[epath.Path]) -> Table:
  """A row for all runs of the same examples and of the same fields but the seed; best mean first.

  Args:
    folders: folders of runs, or folders that hold some.
  """
  runs = list(dict.fromkeys(run for folder in folders for run in _finished(folder)))
  if not runs:
    raise InputError(f'--runs={",".join(map(str, folders))}: no finished run is there')
  configs = [schema.flat(workdirs.config(run).to_dict()) for run in runs]
  summaries = [files.read_json(run / workdirs.SUMMARY) for run in runs]
  varied = [
    name
    for name, value in configs[0].items()
    if name != 'seed' and design.counts(name) and any(x[name] != value for x in configs)
  ]
  digests = {pair for x in summaries for pair in _data(x).items()}
  same_data = len(digests) == len({split for split, _ in digests})  # one digest for each split
  groups = {}
  for config, summary in zip(configs, summaries, strict=True):
    differs = [f'{name}={config[name]!r}' for name in varied]
    differs += [] if same_data else [f'data {_digest(_data(summary))}']
    groups.setdefault(', '.join(differs), []).append(summary)
  rows = [_row(differs, group) for differs, group in groups.items()]
  rows.sort(key=lambda row: -(row[3] if row[3] is not None else -1))
  columns = (
    'what differs', 'runs', 'test top-1 (%)', 'mean', 'standard deviation', 'validation top-1',
    'parameters', 'images/s', 'minutes',
  )  # fmt: skip
  notes = ('Runs of the same fields, but the seed, and of the same examples are one row.',)
  return Table('Runs', columns, rows, digits=2, notes=notes)


def _data(summary):
  """Digests of a run's splits; none of one before these were written."""
  return summary.get('data', {})


def _digest(data):
  """One short name for the digests of all splits."""
  return hashlib.blake2b(json.dumps(data).encode(), digest_size=4).hexdigest()


def _finished(folder):
  """The finished runs in a folder: itself, and folders in it and in those."""
  paths = [path for form in ('', '*/', '*/*/') for path in folder.glob(f'{form}summary.json')]
  return sorted(path.parent for path in paths)


def _row(differs, summaries):
  tests = [100 * x['test_top1'] for x in summaries if x['test_top1'] is not None]
  validated = [100 * x['validation_top1'] for x in summaries if x['validation_top1'] is not None]
  return (
    differs or 'nothing',
    len(summaries),
    ' '.join(f'{x:.2f}' for x in tests),
    round(float(np.mean(tests)), 2) if tests else None,
    round(float(np.std(tests, ddof=1)), 2) if len(tests) > 1 else None,
    round(float(np.mean(validated)), 2) if validated else None,
    summaries[0]['parameters'],
    report.median(x['images_per_second'] for x in summaries),
    report.median(x['seconds'] / 60 for x in summaries),
  )
