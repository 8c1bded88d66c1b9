"""All defaults: GoogLeNet on the digits; docs/config.md lists the fields.

python main.py --help=config
"""

from googlenet_jax import schema


def get_config():
  """See the module's docstring."""
  return schema.config()
