"""Checks of a config before anything is started: each field, and fields together."""

from ml_collections import ConfigDict

from googlenet_jax import schema
from googlenet_jax.errors import InputError
from googlenet_jax.models import create


def check(config: ConfigDict, *, weights: bool = False) -> None:
  """Raises InputError, naming the field, unless the config is usable.

  Args:
    config: any config.
    weights: whether a network with its weights is given, which the network's fields are for.
  """
  schema.check(config)
  # Refuses fields that it has not.
  model = None if weights else create(**config.model.to_dict())
  norm = getattr(model, 'norm', 'batch')  # networks without the field have batch norm
  own = not (config.init.weights or config.init.run)
  if config.train.sync_batch_norm and own and norm != 'batch':
    raise InputError(f'config.train.sync_batch_norm needs config.model.norm="batch", not {norm!r}')
  if config.init.run and config.init.weights:
    raise InputError('config.init.run and config.init.weights: give one of them to start from')
  _check_input(config)


def _check_input(config: ConfigDict) -> None:
  fields, augment = config.dataset, config.augment
  if not fields.in_memory and not fields.image_size:
    raise InputError('config.dataset.in_memory=False needs config.dataset.image_size, like 224')
  if fields.in_memory and augment.area:
    raise InputError(
      'config.augment.area crops photos while they are decoded: it needs '
      'config.dataset.in_memory=False (augment.pad crops what is in memory)'
    )
  if 0 < config.eval.resize < fields.image_size:
    raise InputError(
      f'config.eval.resize={config.eval.resize} is below the crop, '
      f'config.dataset.image_size={fields.image_size}'
    )
