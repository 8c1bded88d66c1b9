"""Imports within the package go one way, those inside of functions too."""

import ast
import graphlib
import pathlib

import googlenet_jax

PACKAGE = pathlib.Path(googlenet_jax.__file__).parent


def part(path):
  """The file or folder of the package that holds a path."""
  return path.relative_to(PACKAGE).parts[0].removesuffix('.py')


def test_imports_go_one_way():
  files = list(PACKAGE.rglob('*.py'))
  parts = {part(file) for file in files}
  used = {name: set() for name in parts}
  for file in files:
    for node in ast.walk(ast.parse(file.read_text())):
      if isinstance(node, ast.ImportFrom) and (node.module or '').startswith('googlenet_jax'):
        inside = node.module.split('.')[1:2] or [name.name for name in node.names]
        used[part(file)] |= parts & set(inside) - {part(file)}
  assert len(used['cli']) > 3
  order = list(graphlib.TopologicalSorter(used).static_order())  # raises, and names a circle
  assert order.index('errors') < order.index('models') < order.index('training')
