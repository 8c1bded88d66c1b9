"""The site: `python -m sphinx -W docs site` after `pip install -r requirements-docs.txt`."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import googlenet_jax

project = 'googlenet_jax'
release = googlenet_jax.__version__
extensions = ['myst_nb', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon', 'sphinx.ext.viewcode']
html_theme = 'furo'
html_title = f'googlenet_jax {release}'
html_show_copyright = False
myst_heading_anchors = 3
nb_execution_mode = 'off'  # the tour is kept with its outputs; the tests run it
autodoc_member_order = 'bysource'
autodoc_typehints = 'signature'
default_role = 'code'
