"""The pages: links lead somewhere, commands name what there is."""

import json
import pathlib
import re
import shlex

import pytest

from googlenet_jax import schema
from googlenet_jax.command_line import FLAGS
from googlenet_jax.modes import MODES

ROOT = pathlib.Path(__file__).parents[1]
PAGES = [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *sorted((ROOT / 'docs').glob('*.md'))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


def anchors(page):
  """Anchors of a page's headings."""
  titles = re.findall(r'^#+ (.*)$', page.read_text(), re.MULTILINE)
  return {re.sub(r'[^\w -]', '', title).lower().replace(' ', '-') for title in titles}


@pytest.mark.parametrize('name', NAMES)
def test_links_lead_somewhere(name):
  page = ROOT / name
  links = re.findall(r'\]\(([^)\s]+)\)', page.read_text())
  for link in links:
    if link.startswith('https://'):
      continue
    path, _, anchor = link.partition('#')
    there = (page.parent / path).resolve() if path else page
    assert there.exists() and there.is_relative_to(ROOT), link
    assert not anchor or anchor in anchors(there), link


def commands(page):
  """Command lines of the program in a page's blocks, as words."""
  blocks = re.findall(r'^```(?:bash)?\n(.*?)^```', page.read_text(), re.MULTILINE | re.DOTALL)
  lines = '\n'.join(blocks).replace('\\\n', ' ').splitlines()
  return [shlex.split(line, comments=True) for line in lines if line.startswith('python ')]


def test_commands_name_what_there_is():
  seen = 0
  for page in PAGES:
    for _, *words in commands(page):
      program, *arguments = words
      if program == '-m':
        module = arguments[0].replace('.', '/')
        where = (ROOT / f'{module}.py').exists() or (ROOT / module / '__init__.py').exists()
        assert where or module in ('pytest', 'build', 'venv'), words
        continue
      assert program == 'main.py', words
      for argument in arguments:
        flag, _, value = argument.removeprefix('--').partition('=')
        seen += 1
        if flag == 'config':
          assert (ROOT / value).exists() or value.startswith('mine'), words
        elif flag == 'mode':
          assert value in MODES, words
        elif flag.startswith('config.'):
          assert flag.removeprefix('config.') in schema.FIELDS, words
        else:
          assert flag.removeprefix('no') in FLAGS or flag in FLAGS, words
  assert seen > 50


def test_the_tour_is_kept_with_what_it_shows():
  cells = json.loads((ROOT / 'docs' / 'tour.ipynb').read_text())['cells']
  outputs = [output for cell in cells for output in cell.get('outputs', ())]
  assert sum('image/png' in output.get('data', ()) for output in outputs) == 2
  assert not [output for output in outputs if output['output_type'] == 'error']
