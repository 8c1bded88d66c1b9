"""Tables as text, Markdown, CSV and JSON."""

import csv
import io
import json
from typing import NamedTuple


class Table(NamedTuple):
  """A table that can be shown and written.

  Attributes:
    title: name of what it shows.
    columns: titles of the columns; the first column holds text.
    rows: values of the columns: numbers, text, or None for nothing.
    notes: lines below it.
    digits: decimals of a number below 100 where a person reads it.
  """

  title: str
  columns: tuple[str, ...]
  rows: list[tuple]
  notes: tuple[str, ...] = ()
  digits: int = 1


def shown(x: str | float | None, digits: int) -> str:
  """A value of a table for a person; see `Table.digits`."""
  if x is None:
    return ''
  if isinstance(x, float):
    return f'{x:,.{digits}f}' if abs(x) < 100 else f'{x:,.0f}'
  return f'{x:,}' if isinstance(x, int) else x


def text(table: Table) -> str:
  """A table for a terminal: columns side by side, text to the left and numbers to the right."""
  cells = [table.columns, *([shown(x, table.digits) for x in row] for row in table.rows)]
  widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
  left = [all(isinstance(x, str) for x in column) for column in zip(*table.rows, strict=True)]
  lines = [
    '  '.join(
      cell.ljust(width) if to_left else cell.rjust(width)
      for cell, width, to_left in zip(row, widths, left, strict=True)
    ).rstrip()
    for row in cells
  ]
  return '\n'.join([table.title, *lines, *table.notes])


def _markdown(table: Table) -> str:
  rows = [table.columns, ['---'] * len(table.columns)]
  rows += [[shown(x, table.digits) for x in row] for row in table.rows]
  lines = [f'| {" | ".join(row)} |' for row in rows]
  return '\n'.join([*lines, '', *table.notes]) + '\n'


def _rounded(rows: list[tuple]) -> list[list]:
  """Rows with numbers of 12 digits: the last bits of a float depend on the CPU."""
  return [[float(f'{x:.12g}') if isinstance(x, float) else x for x in row] for row in rows]


def _csv(table: Table) -> str:
  buffer = io.StringIO()
  writer = csv.writer(buffer, lineterminator='\n')
  writer.writerows([table.columns, *_rounded(table.rows)])
  return buffer.getvalue()


def _json(table: Table) -> str:
  rows = [dict(zip(table.columns, row, strict=True)) for row in _rounded(table.rows)]
  return json.dumps({'title': table.title, 'rows': rows, 'notes': table.notes}, indent=2) + '\n'


# By the end of a file's name.
WRITERS = {'.json': _json, '.csv': _csv, '.md': _markdown}
