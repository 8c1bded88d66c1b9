"""Checks a config before anything is started, and compares it with an earlier one."""

import json
import re
import runpy

from ml_collections import ConfigDict

from googlenet_jax import nonfinite, optim, schedules, train_state
from googlenet_jax.data import boxes, decode
from googlenet_jax.errors import InputError, hint
from googlenet_jax.models import MODELS, create, inception_v3
from googlenet_jax.models.googlenet import CHOICES, MODULES
from googlenet_jax.models.layers import FIELDS, KERNEL_INITS


def _one_of(*values):
  return lambda x: x in values, f'one of {", ".join(map(str, values))}'


def _within(low, high, *, open_low=False, open_high=False):
  text = f'{"above" if open_low else "at least"} {low}'
  if high is not None:
    text += f' and {"below" if open_high else "at most"} {high}'

  def test(x):
    above = x > low if open_low else x >= low
    return above and (high is None or (x < high if open_high else x <= high))

  return test, f'a number {text}'


POSITIVE = _within(0, None, open_low=True)
NOT_NEGATIVE = _within(0, None)
AT_LEAST_1 = _within(1, None)
SHARE = _within(0, 1)
BELOW_1 = _within(0, 1, open_high=True)
DURATION = (
  lambda x: re.fullmatch(schedules.DURATION, x),
  'a duration like "12 epochs", "300 steps" or "25%"',
)

# What a field may be, where its type alone does not say it.
RULES = {
  'seed': _within(0, 2**31 - 1),
  'distributed': _one_of('auto', 'on', 'off'),
  'on_nonfinite': _one_of(*nonfinite.ON_NONFINITE),
  'model.name': _one_of(*MODELS),
  **{f'model.{field}': rule for field, rule in FIELDS.items() if field != 'num_classes'},
  **{f'model.{field}': _one_of(*values) for field, values in CHOICES.items()},
  'model.aux_heads': (
    lambda x: set(x) <= {*MODULES, inception_v3.AUX},
    f'some of {", ".join(MODULES)}, or {inception_v3.AUX} of Inception v3',
  ),
  'model.kernel_init': _one_of(*KERNEL_INITS),
  'init.backbone_lr': SHARE,
  'dataset.mean': (lambda x: len(x) and all(0 <= v <= 255 for v in x), 'numbers in [0, 255]'),
  'dataset.std': (lambda x: len(x) and all(v > 0 for v in x), 'numbers above 0'),
  'dataset.image_size': NOT_NEGATIVE,
  'dataset.channels': _one_of(0, 3),
  'dataset.threads': NOT_NEGATIVE,
  'dataset.prefetch': AT_LEAST_1,
  'dataset.max_bad_share': SHARE,
  'augment.area': (
    lambda x: not x or (len(x) == 2 and 0 < x[0] <= x[1] <= 1),
    '() or two shares in ascending order, like (0.08, 1.0)',
  ),
  'augment.aspect': (
    lambda x: len(x) == 2 and 0 < x[0] <= x[1],
    'two ratios above 0 in ascending order, like (0.75, 1.33)',
  ),
  'augment.interpolation': (
    lambda x: len(x) and set(x) <= set(decode.INTERPOLATIONS),
    f'some of {", ".join(decode.INTERPOLATIONS)}',
  ),
  'augment.pad': NOT_NEGATIVE,
  'augment.color': SHARE,
  'augment.hue': _within(0, 0.5),
  'augment.lighting': NOT_NEGATIVE,
  'augment.cutout': NOT_NEGATIVE,
  'augment.mixup': NOT_NEGATIVE,
  'augment.cutmix': NOT_NEGATIVE,
  'train.duration': (
    lambda x: (match := DURATION[0](x)) and match[2] != '%' and float(match[1]) > 0,
    'a duration above 0 like "12 epochs" or "300 steps"',
  ),
  'train.batch_size': AT_LEAST_1,
  'train.aux_weight': NOT_NEGATIVE,
  'train.label_smoothing': BELOW_1,
  'train.steps_per_call': AT_LEAST_1,
  'optimizer.name': _one_of(*optim.NAMES),
  'optimizer.lr': POSITIVE,
  'optimizer.momentum': BELOW_1,
  'optimizer.weight_decay': NOT_NEGATIVE,
  'optimizer.clip_norm': NOT_NEGATIVE,
  'optimizer.accumulate': AT_LEAST_1,
  'schedule.name': _one_of(*schedules.NAMES),
  'schedule.warmup': DURATION,
  'schedule.decay_rate': _within(0, 1, open_low=True),
  'schedule.decay_every': DURATION,
  'schedule.power': POSITIVE,
  'schedule.final': SHARE,
  'schedule.points': (
    lambda x: all(len(p) == 2 and DURATION[0](p[0]) and p[1] >= 0 for p in x),
    'pairs like ("25%", 1.0): a duration and a share of optimizer.lr',
  ),
  'average.name': _one_of(*train_state.AVERAGES),
  'average.decay': BELOW_1,
  'average.begin': DURATION,
  'eval.every': DURATION,
  'eval.batch_size': AT_LEAST_1,
  'eval.resize': NOT_NEGATIVE,
  'eval.crops': _one_of(*boxes.CROPS),
  'eval.split': _one_of('test', 'validation', 'train'),
  'eval.checkpoint': _one_of('best', 'last'),
  'log.every': DURATION,
  'checkpoint.keep': AT_LEAST_1,
  'checkpoint.minutes': POSITIVE,
  'profile': (
    lambda x: (
      not x or (re.fullmatch(r'\d+:\d+', x) and int(x.split(':')[0]) < int(x.split(':')[1]))
    ),
    "'FIRST:LAST' steps, FIRST below LAST",
  ),
}

# Fields that may differ between a run and its resumption: they change nothing that is learnt.
FREE = (
  'distributed',
  'on_nonfinite',
  'dataset.data_dir',
  'dataset.test',
  'dataset.threads',
  'dataset.prefetch',
  'dataset.max_bad_share',
  'dataset.allow_overlap',
  'eval.batch_size',
  'eval.crops',
  'eval.split',
  'eval.checkpoint',
  'log.every',
  'checkpoint',
  'profile',
)


def flat(fields: dict, prefix: str = '') -> dict:
  """`{'optimizer.lr': 0.1, ...}` of nested fields."""
  result = {}
  for name, value in fields.items():
    nested = isinstance(value, dict)
    result |= flat(value, f'{prefix}{name}.') if nested else {prefix + name: value}
  return result


def check(config: ConfigDict, schema: ConfigDict) -> None:
  """Raises InputError, naming the field, unless the config is usable.

  Args:
    config: of a run.
    schema: `configs/default.py`'s, which has every field.
  """
  known = flat(schema.to_dict())
  given = flat(config.to_dict())
  for field in given.keys() - known.keys():
    raise InputError(f'config.{field}: no such field{hint(field, known, "config.")}')
  for field in known.keys() - given.keys():
    raise InputError(f'config.{field} is missing: start from configs/default.py')
  for field, (test, text) in RULES.items():
    if given[field] is None and flat(schema.to_dict())[field] is None:
      continue  # left to the network
    try:
      fine = test(given[field])
    except (TypeError, ValueError, KeyError, AttributeError):  # of another type than the rule's
      fine = False
    if not fine:
      raise InputError(f'config.{field}={given[field]!r}: use {text}')
  _check_together(config)


def _check_together(config: ConfigDict) -> None:
  if config.eval.split == 'validation' and not config.dataset.validation:
    raise InputError('config.eval.split="validation", but config.dataset.validation is empty')
  model = create(**config.model)  # refuses fields that it has not
  norm = getattr(model, 'norm', 'batch')  # networks without the field have batch norm
  if config.train.sync_batch_norm and not config.init.weights and norm != 'batch':
    raise InputError(f'config.train.sync_batch_norm needs config.model.norm="batch", not {norm!r}')
  if config.schedule.name == 'piecewise_linear' and not config.schedule.points:
    raise InputError('config.schedule.points is empty: "piecewise_linear" needs at least one')
  _check_input(config)


def _check_input(config: ConfigDict) -> None:
  fields, augment = config.dataset, config.augment
  if fields.name == 'folder' and fields.in_memory:
    raise InputError('config.dataset.name="folder" needs config.dataset.in_memory=False')
  if fields.name == 'digits' and not fields.in_memory:
    raise InputError('config.dataset.name="digits" needs config.dataset.in_memory=True')
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


def sweep(path: str) -> list[dict]:
  """The points of a config file's `sweep()`: `[{'optimizer.lr': 0.1, ...}, ...]`.

  Raises:
    InputError: it has none, or none that is of this form.
  """
  made = runpy.run_path(path).get('sweep')
  if made is None:
    raise InputError(f'--config={path} has no sweep(): a function that returns [{{FIELD: VALUE}}]')
  try:
    points = list(made())
  except Exception as error:  # raised by the user's function
    raise InputError(f'--config={path}: sweep(): {type(error).__name__}: {error}') from error
  if not points or not all(isinstance(point, dict) and point for point in points):
    raise InputError(f'--config={path}: sweep() must return some {{FIELD: VALUE}}, not {points!r}')
  return points


def take_point(config: ConfigDict, point: dict) -> None:
  """Puts the values of a point of a sweep into a config; InputError where they do not fit."""
  known = flat(config.to_dict())
  for field, value in point.items():
    if field not in known:
      raise InputError(f'sweep(): config.{field}: no such field{hint(field, known, "config.")}')
    try:
      config.update_from_flattened_dict({field: value})
    except (TypeError, ValueError) as error:
      raise InputError(f'sweep(): config.{field}={value!r}: {error}') from error


def to_json(config: ConfigDict) -> str:
  """The text of `config.json`."""
  return json.dumps(config.to_dict(), indent=2) + '\n'


def differences(earlier: dict, config: ConfigDict) -> list[str]:
  """Fields that forbid going on with a run, as 'optimizer.lr: 0.1 there, 0.2 here'.

  Args:
    earlier: the run's fields, flat.
    config: that it is to go on with.
  """
  old, new = earlier, flat(json.loads(to_json(config)))
  return [
    f'{field}: {old.get(field)!r} there, {new.get(field)!r} here'
    for field in sorted(old.keys() | new.keys())
    if old.get(field) != new.get(field)
    and not any(field == free or field.startswith(f'{free}.') for free in FREE)
  ]
