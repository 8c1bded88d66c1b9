"""One page that shows a comparison: HTML without scripts or links to other files."""

import html
import itertools
from collections.abc import Sequence
from typing import NamedTuple

from etils import epath

from googlenet_jax import files
from googlenet_jax.evidence import charts, report
from googlenet_jax.evidence.outcomes import OUTCOMES
from googlenet_jax.evidence.report import Comparison, Finding
from googlenet_jax.tools import tables
from googlenet_jax.tools.tables import Table

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
figure { margin: 1rem 0; } svg { max-width: 100%; height: auto; }
figcaption, .notes { color: color-mix(in srgb, currentColor 75%, transparent); font-size: 0.9rem; }
table { border-collapse: collapse; font-size: 0.85rem; }
.wide { overflow-x: auto; }
th, td { border-bottom: 1px solid color-mix(in srgb, currentColor 20%, transparent);
  padding: 0.25rem 0.6rem; text-align: left; vertical-align: top; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.verdict { font-weight: 600; }
@media print { body { max-width: none; margin: 0; } .wide { overflow: visible; }
  section, figure { break-inside: avoid; } }
"""


class Picture(NamedTuple):
  """A picture, as SVG; `name` is that of its file."""

  name: str
  svg: str
  caption: str


def index(comparison: Comparison, pictures: Sequence[Picture]) -> str:
  """The text of `index.html`."""
  parts = [f'<h1>{html.escape(comparison.experiment.title)}</h1>', _summary(comparison)]
  if comparison.findings:
    parts += ['<h2>Claims</h2>', *map(_claim, itertools.count(1), comparison.findings)]
  if pictures:
    parts += ['<h2>Pictures</h2>', *map(_figure, pictures)]
  parts += ['<h2>Arms</h2>', table(report.table(comparison))]
  parts += ['<h2>What the figures rest on</h2>', '<ul class="notes">']
  parts += [f'<li>{html.escape(note)}</li>' for note in report.notes(comparison)] + ['</ul>']
  return document(comparison.experiment.title, parts)


def document(title: str, parts: Sequence[str]) -> str:
  """A page of its own."""
  return (
    '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    f'<title>{html.escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n'
    + '\n'.join(parts)
    + '\n</body>\n</html>\n'
  )


def _summary(comparison: Comparison) -> str:
  planned = sum(arm.planned for arm in comparison.arms.values())
  found = len(comparison.finished())
  return f'<p>{len(comparison.arms)} arms, {found} of {planned} runs finished.</p>'


def sentence(finding: Finding) -> str:
  """A finding for a person: 'refuted: -0.4 points (-0.9 to -0.1)'."""
  claim, difference, images, verdict = finding
  if difference is None:
    return verdict
  about = OUTCOMES[claim.outcome]
  value, low, high = (f'{x:+.{about.digits}f}' for x in difference[:3])
  text = f'{verdict}: {value} {about.unit.replace("%", "points")} ({low} to {high})'
  if verdict not in ('supported', 'refuted', 'equivalent'):
    text += f'; a difference of {report.findable(finding):.{about.digits}f} could have been found'
  if images is not None:
    text += f'; ±{images:.2f} more by the choice of test images'
  return text


def _claim(number: int, finding: Finding) -> str:
  claim = finding.claim
  color = charts.VERDICTS[finding.verdict]
  word = {'equal': 'no different from', 'higher': 'higher than', 'lower': 'lower than'}
  tested = (
    f'Tested: {OUTCOMES[claim.outcome].title} of “{claim.a}” is {word[claim.direction]} that of '
    f'“{claim.b}”; up to {claim.margin:g} counts as none. Source: {claim.source}.'
  )
  return (
    f'<section><p><strong>{number}. {html.escape(claim.text)}</strong><br>\n'
    f'<span class="verdict" style="color: {color}">{html.escape(sentence(finding))}</span><br>\n'
    f'<span class="notes">{html.escape(tested)}</span></p></section>'
  )


def draw(comparison: Comparison) -> list[Picture]:
  """The pictures of a comparison; none before a run has finished."""
  if not comparison.finished():
    return []
  caption = 'Diamond and line: difference with its interval. Dots: runs. Band: counts as none.'
  found = [
    Picture(outcome, charts.differences(comparison, outcome), caption)
    for outcome in comparison.outcomes
    if any(x.claim.outcome == outcome and x.difference for x in comparison.findings)
  ]
  if len({x.content['multiply_adds'] for x in comparison.finished()}) > 1:
    caption = 'Accuracy against arithmetic. Diamonds: means. Dots: runs.'
    found.append(Picture('multiply_adds', charts.against_cost(comparison), caption))
  caption = 'Mean training loss; the band holds all runs of an arm.'
  found.append(Picture('curves', charts.curves(comparison), caption))
  if gradients := charts.gradients(comparison):
    caption = 'What reaches each layer: norm of the gradient over that of the parameters.'
    found.append(Picture('gradients', gradients, caption))
  return found


def _figure(picture: Picture) -> str:
  return f'<figure>{picture.svg}<figcaption>{html.escape(picture.caption)}</figcaption></figure>'


def table(shown: Table) -> str:
  """A table as HTML."""
  head = ''.join(f'<th>{html.escape(column)}</th>' for column in shown.columns)
  rows = [''.join(_cell(x, shown.digits) for x in row) for row in shown.rows]
  body = '\n'.join(f'<tr>{row}</tr>' for row in rows)
  return f'<div class="wide"><table>\n<tr>{head}</tr>\n{body}\n</table></div>'


def _cell(x, digits) -> str:
  kind = ' class="number"' if isinstance(x, int | float) else ''
  return f'<td{kind}>{html.escape(tables.shown(x, digits))}</td>'


def save(comparison: Comparison, folder: epath.Path) -> None:
  """Writes `index.html`, its pictures, and `table` and `claims` as Markdown, CSV and JSON.

  Raises:
    InputError: the folder cannot be written.
  """
  files.make_folder(folder)
  named = {'table': report.table(comparison)}
  named |= {'claims': report.claims(comparison)} if comparison.findings else {}
  for name, shown in named.items():
    for ending, text in tables.WRITERS.items():
      files.write(folder / f'{name}{ending}', text(shown))
  pictures = draw(comparison)
  for picture in pictures:
    files.write(folder / f'{picture.name}.svg', charts.alone(picture.svg))
  files.write(folder / 'index.html', index(comparison, pictures))
