"""Fields without effect: an error where the command line sets them, a warning where a file does."""

import logging
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from googlenet_jax import parallel, schedules, schema
from googlenet_jax.errors import InputError
from googlenet_jax.models import create

LOG = logging.getLogger('googlenet_jax')


class Needs(NamedTuple):
  """What some fields need to have an effect.

  Attributes:
    fields: their names.
    met: `(config, mode) -> bool`.
    text: the same for a person.
  """

  fields: tuple[str, ...]
  met: Callable[[Any, str], bool]
  text: str


def _schedule(*names: str) -> tuple[Callable[[Any, str], bool], str]:
  return lambda c, mode: c.schedule.name in names, f'config.schedule.name={" or ".join(names)}'


NEEDS = (
  Needs(
    ('optimizer.nesterov',),
    lambda c, mode: c.optimizer.name == 'sgd',
    'config.optimizer.name=sgd',
  ),
  Needs(
    ('optimizer.decay_all',),
    lambda c, mode: c.optimizer.weight_decay,
    'config.optimizer.weight_decay',
  ),
  Needs(('schedule.decay_rate', 'schedule.decay_every'), *_schedule('exponential')),
  Needs(('schedule.power',), *_schedule('polynomial')),
  Needs(('schedule.final',), *_schedule('polynomial', 'cosine')),
  Needs(('schedule.points',), *_schedule('piecewise_linear')),
  Needs(('average.decay',), lambda c, mode: c.average.name == 'ema', 'config.average.name=ema'),
  Needs(
    ('average.begin',),
    lambda c, mode: c.average.name != 'none',
    'config.average.name=ema or polyak',
  ),
  Needs(('augment.aspect',), lambda c, mode: c.augment.area, 'config.augment.area'),
  Needs(
    ('augment.interpolation', 'dataset.threads', 'dataset.prefetch', 'eval.resize'),
    lambda c, mode: not c.dataset.in_memory,
    'config.dataset.in_memory=False',
  ),
  Needs(
    ('dataset.classes',),
    lambda c, mode: c.dataset.name == 'folder',
    'config.dataset.name=folder',
  ),
  Needs(
    ('dataset.data_dir',),
    lambda c, mode: c.dataset.name != 'digits',
    'another config.dataset.name than digits',
  ),
  Needs(
    ('train.aux_weight', 'model.aux_dropout', 'model.aux_pool'),
    lambda c, mode: c.init.weights or getattr(create(**c.model), 'aux_heads', ()),
    'a network with auxiliary heads',
  ),
  Needs(('init.allow_head',), lambda c, mode: c.init.weights, 'config.init.weights=FILE'),
  Needs(('eval.crops',), lambda c, mode: mode == 'evaluate', '--mode=evaluate with --weights'),
  Needs(('eval.split',), lambda c, mode: mode == 'evaluate', '--mode=evaluate'),
)
# What counts beside fields of the network where weights are given, by mode; they bring the rest.
BESIDE_WEIGHTS = {
  'predict': (),
  'explain': (),
  'export': (),
  'evaluate': (
    'distributed',
    *(f'dataset.{x}' for x in ('name', 'data_dir', 'classes', 'train', 'validation', 'test')),
    *(f'dataset.{x}' for x in ('in_memory', 'threads', 'max_bad_share')),
    *(f'eval.{x}' for x in ('split', 'crops', 'batch_size')),
  ),
}


def check(
  config: ConfigDict,
  mode: str,
  given: Collection[str],
  *,
  weights: bool = False,
) -> None:
  """Tells of the fields that have no effect.

  Args:
    config: checked (`checks.check`).
    mode: of the program; a file's fields are told of in training only.
    given: fields that were set on the command line.
    weights: whether a network with its weights is.

  Raises:
    InputError: one of the fields was given.
  """
  for field in given if weights and mode in BESIDE_WEIGHTS else ():
    of_network = field.startswith('model.') and field != 'model.name'
    if not of_network and field not in BESIDE_WEIGHTS[mode]:
      raise InputError(f'--config.{field} has no effect in --mode={mode}: the weights decide')
  values, defaults = schema.flat(config.to_dict()), schema.flat(schema.config().to_dict())
  for fields, met, text in NEEDS:
    for field in fields:
      set_by_file = mode == 'train' and values[field] != defaults[field]
      if (field in given or set_by_file) and not met(config, mode):
        _tell(field, values[field], f'it needs {text}', given)


def check_times(config: ConfigDict, clock: schedules.Clock, given: Collection[str]) -> None:
  """The same of what would begin after the end of the training."""
  end = f'the training ends at step {clock.total_steps}'
  if config.average.name != 'none' and clock.round(config.average.begin) >= clock.total_steps:
    _tell('average.begin', config.average.begin, end, given)
  if config.profile and int(config.profile.split(':')[0]) >= clock.total_steps:
    _tell('profile', config.profile, end, given)


def _tell(field, value, why, given):
  text = f'config.{field}={value!r} has no effect: {why}'
  if field in given:
    raise InputError(f'--{text}')
  if parallel.is_main():
    LOG.warning('WARNING: %s', text)
