"""Fields without effect: an error where the command line sets them, a warning where a file does."""

import logging
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from googlenet_jax import models, parallel, registry, schedules, schema
from googlenet_jax.data import datasets, folder
from googlenet_jax.errors import InputError, hint
from googlenet_jax.losses import LOSSES
from googlenet_jax.optimizers import OPTIMIZERS
from googlenet_jax.schedules import SCHEDULES

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


class Part(NamedTuple):
  """A part that a config names, and whose fields it sets.

  Attributes:
    name: field that names it.
    fields: field of its free fields.
    find: `name -> part`.
    table: the project's own ones.
  """

  name: str
  fields: str
  find: Callable[[str], Callable]
  table: Mapping[str, Any]

  @classmethod
  def of(cls, name: str, fields: str, table: Mapping[str, Callable]) -> 'Part':
    """A part that is found in a table, or at 'module:attribute'."""
    return cls(name, fields, lambda x: registry.find(x, table, name), table)


OPTIMIZER = Part.of('optimizer.name', 'optimizer.fields', OPTIMIZERS)
SCHEDULE = Part.of('schedule.name', 'schedule.fields', SCHEDULES)
PARTS = (
  Part('model.name', 'model.fields', lambda name: models.find(name).module, models.MODELS),
  Part('dataset.name', 'dataset.fields', datasets.find, datasets.DATASETS),
  Part.of('train.loss', 'train.loss_fields', LOSSES),
  OPTIMIZER,
  SCHEDULE,
)


def fit(config: ConfigDict, given: Collection[str]) -> None:
  """Drops what a file sets of a part that the command line replaced, and says so.

  These are the fields that the part lacks; those of the network also where the file named it.

  Args:
    config: unchecked config; changed.
    given: fields that were set on the command line.

  Raises:
    InputError: one of the fields was given.
  """
  for name, fields, find, _ in PARTS:
    chosen = _at(config, name)
    if name in given and fields not in given:
      free, part = _at(config, fields), find(chosen)
      for field in [x for x in free if not registry.takes(part, x)]:
        LOG.warning('WARNING: config.%s of %r is dropped: %s lacks it', fields, field, chosen)
        with free.unlocked():
          del free[field]
  fit_splits(config, given)
  network = models.find(config.model.name).module
  for field in [x for x in config.model if x not in ('name', 'fields')]:
    value = config.model[field]
    if value is None or registry.takes(network, field) or (field == 'aux_heads' and not value):
      continue
    near = hint(field, registry.parameters(network))
    if f'model.{field}' in given:
      raise InputError(
        f'--config.model.{field}={value!r}: {config.model.name} has no such field{near}'
      )
    # Not `_tell`: which process this is can be asked only once all have joined.
    LOG.warning('WARNING: config.model.%s is dropped: %s lacks it', field, config.model.name)
    config.model[field] = None


def fit_to_weights(config: ConfigDict, given: Collection[str]) -> None:
  """Drops what a file sets of the network, as weights bring their own; fits the splits."""
  fit_splits(config, given)
  for field in [x for x in config.model if x not in ('name', 'fields')]:
    if f'model.{field}' not in given:
      config.model[field] = None
  if 'model.fields' not in given:
    for field in [x for x in config.model.fields if f'model.fields.{x}' not in given]:
      with config.model.fields.unlocked():
        del config.model.fields[field]


def fit_splits(config: ConfigDict, given: Collection[str]) -> None:
  """Takes the splits of a folder that is split already, where nobody named them; says so."""
  fields = config.dataset
  found = folder.layout(fields.data_dir) if fields.name == 'folder' and fields.data_dir else {}
  found = {
    split: name
    for split, name in found.items()
    if f'dataset.{split}' not in given and fields[split].startswith(f'{folder.ALL}[')
  }
  if found:
    fields.update(found)
    told = ', '.join(f'{split} {name!r}' for split, name in found.items() if name)
    LOG.info('%s is split already: %s', fields.data_dir, told)


def _at(config, field):
  group, name = field.split('.')
  return config[group][name]


def _part(part: Part, *fields: str) -> Needs:
  """Fields that count where the part has the first of them."""
  has = [name for name, known in part.table.items() if registry.takes(known, fields[0])]
  return Needs(
    tuple(f'{part.name.split(".")[0]}.{field}' for field in fields),
    lambda c, mode: registry.takes(part.find(_at(c, part.name)), fields[0]),
    f'config.{part.name}={" or ".join(has)}',
  )


NEEDS = (
  Needs(
    ('optimizer.momentum',),
    lambda c, mode: any(
      registry.takes(OPTIMIZER.find(c.optimizer.name), x) for x in ('momentum', 'b1')
    ),
    'an optimizer with momentum or b1',
  ),
  _part(OPTIMIZER, 'nesterov'),
  _part(OPTIMIZER, 'weight_decay'),
  Needs(
    ('optimizer.decay_all',),
    lambda c, mode: c.optimizer.weight_decay,
    'config.optimizer.weight_decay',
  ),
  _part(SCHEDULE, 'decay_rate', 'decay_every'),
  _part(SCHEDULE, 'power'),
  _part(SCHEDULE, 'final'),
  _part(SCHEDULE, 'points'),
  Needs(('average.decay',), lambda c, mode: c.average.name == 'ema', 'config.average.name=ema'),
  Needs(
    ('average.begin',),
    lambda c, mode: c.average.name != 'none',
    'config.average.name=ema or polyak',
  ),
  Needs(('augment.alternate',), lambda c, mode: c.augment.flip, 'config.augment.flip=True'),
  Needs(('augment.aspect',), lambda c, mode: c.augment.area, 'config.augment.area'),
  Needs(
    (
      *('augment.interpolation', 'eval.resize'),
      *('dataset.threads', 'dataset.workers', 'dataset.prefetch'),
    ),
    lambda c, mode: not c.dataset.in_memory,
    'config.dataset.in_memory=False',
  ),
  Needs(
    ('dataset.classes',),
    lambda c, mode: registry.takes(datasets.find(c.dataset.name), 'class_list'),
    'config.dataset.name=folder',
  ),
  Needs(
    ('dataset.data_dir',),
    lambda c, mode: registry.takes(datasets.find(c.dataset.name), 'data_dir'),
    'another config.dataset.name than digits',
  ),
  Needs(
    (
      *('train.aux_weight', 'train.aux_until', 'model.aux_dropout', 'model.aux_pool'),
      'log.head_norms',
    ),
    lambda c, mode: (
      c.init.weights
      or c.init.run
      or ':' in c.model.name
      or getattr(models.create(**c.model.to_dict()), 'aux_heads', ())
    ),
    'a network with auxiliary heads',
  ),
  Needs(('init.allow_head',), lambda c, mode: c.init.weights, 'config.init.weights=FILE'),
  Needs(
    ('eval.crops',),
    lambda c, mode: mode in ('evaluate', 'predict'),
    '--mode=evaluate or predict with --weights',
  ),
  Needs(('eval.patience',), lambda c, mode: c.dataset.validation, 'config.dataset.validation'),
  Needs(('eval.split',), lambda c, mode: mode == 'evaluate', '--mode=evaluate'),
)
# What counts beside fields of the network where weights are given, by mode; they bring the rest.
BESIDE_WEIGHTS = {
  'predict': ('eval.crops',),
  'explain': (),
  'export': (),
  'summarize': (),
  'draw': (),
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
    mode: mode of the program; warnings about a file's fields come in training only.
    given: fields that were set on the command line.
    weights: whether a network with its weights is given.

  Raises:
    InputError: one of the fields was given.
  """
  for field in given if weights and mode in BESIDE_WEIGHTS else ():
    if not field.startswith('model.') and field not in BESIDE_WEIGHTS[mode]:
      raise InputError(f'--config.{field} has no effect in --mode={mode}: the weights decide')
  values, defaults = schema.flat(config.to_dict()), schema.flat(schema.config().to_dict())
  for fields, met, text in NEEDS:
    for field in fields:
      if values[field] is False:  # asks for nothing
        continue
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
