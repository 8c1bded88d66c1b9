"""Every field of a config: the table that defaults, checks, help and docs/config.md come from.

`python -m googlenet_jax.schema > docs/config.md` writes the page anew.
"""

import json
import re
import textwrap
from collections.abc import Mapping
from typing import Any, NamedTuple

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from googlenet_jax import nonfinite, schedules, train_state
from googlenet_jax.data import boxes, decode
from googlenet_jax.data.augmentations import AUGMENTATIONS
from googlenet_jax.errors import InputError, hint
from googlenet_jax.losses import LOSSES
from googlenet_jax.metrics import METRICS
from googlenet_jax.models import MODELS, layers
from googlenet_jax.models.googlenet import CHOICES, MODULES
from googlenet_jax.optimizers import OPTIMIZERS
from googlenet_jax.rules import (
  BELOW_1,
  DURATION,
  DURATIONS,
  KEYWORDS,
  SHARE,
  TRACED,
  TRAINING,
  Rule,
  above,
  all_named,
  at_least,
  named,
  one_of,
)
from googlenet_jax.writers import WRITERS

COLUMNS = 100  # width of a terminal


class Field(NamedTuple):
  """A row of the table.

  Attributes:
    default: value when no file or flag sets it; None leaves it to the network.
    meaning: what it is, a noun first.
    rule: what it may be.
    unit: unit of a number.
    kind: type of its values, where the default is None.
    free: whether a run may go on with another value: one that does not change what is trained.
  """

  default: Any
  meaning: str
  rule: Rule | None = None
  unit: str = ''
  kind: type | None = None
  free: bool = False

  @property
  def text(self) -> str:
    """Meaning, unit and allowed values in one phrase."""
    allowed = self.rule.text.removeprefix('a number ') if self.rule else ''
    if self.rule is DURATION:
      allowed = 'a duration'
    about = ', '.join(filter(None, (self.unit, allowed)))
    return f'{self.meaning} ({about})' if about else self.meaning


def _of_network(name: str) -> Rule:
  return Rule(*layers.FIELDS[name]) if name in layers.FIELDS else one_of(*CHOICES[name])


# What the fields of a group are about; '' is the group of those without one.
GROUPS = {
  '': 'The run',
  'model': 'The network; None keeps its default; leave fields that it lacks at None',
  'init': 'What training starts from',
  'dataset': 'The images and their splits',
  'augment': 'Steps on training images, in this order; 0 or () leaves one out',
  'train': 'The training',
  'optimizer': 'The optimizer',
  'schedule': 'The learning rate over time, as shares of optimizer.lr',
  'average': 'An average of the parameters, evaluated beside the last ones',
  'eval': 'Evaluations',
  'log': 'Training records',
  'checkpoint': 'Checkpoints, beside those after evaluations',
}

FIELDS: dict[str, Field] = {
  'seed': Field(
    0, 'Seed of initial parameters, data order, augmentation and dropout', at_least(0, 2**31 - 1)
  ),
  'distributed': Field(
    'auto',
    'Cluster: auto joins one if found, on requires one, off joins none',
    one_of('auto', 'on', 'off'),
    free=True,
  ),
  'on_nonfinite': Field(
    'stop',
    'Answer to a loss, gradients or parameters that are not finite: stop ends the run, skip leaves '
    'the step out, rollback goes back to the last checkpoint',
    one_of(*nonfinite.ON_NONFINITE),
    free=True,
  ),
  'model.name': Field('googlenet', 'Name of the network', named(MODELS)),
  'model.width': Field(None, 'Multiplier of the channels', _of_network('width'), kind=float),
  'model.module': Field(None, 'Form of the modules', _of_network('module'), kind=str),
  'model.norm': Field(None, 'Normalisation', _of_network('norm'), kind=str),
  'model.kernel_5x5': Field(
    None, 'Window of the "5x5" branch', _of_network('kernel_5x5'), 'pixels', int
  ),
  'model.stem': Field(None, 'Layers before the first module', _of_network('stem'), kind=str),
  'model.aux_heads': Field(
    None,
    'Modules that an auxiliary head follows; () for none',
    Rule(
      lambda x: not isinstance(x, str) and all(isinstance(name, str) for name in x),
      f'some of {", ".join(MODULES)}, or Mixed_6e (Inception v3), Mixed_6h (v4), block17_20 '
      '(Inception-ResNet-v2)',
    ),
    kind=tuple,
  ),
  'model.classifier': Field(None, 'Form of the classifier', _of_network('classifier'), kind=str),
  'model.dropout': Field(
    None, 'Share dropped before the classifier', _of_network('dropout'), kind=float
  ),
  'model.aux_dropout': Field(
    None, 'Share dropped in the auxiliary heads', _of_network('aux_dropout'), kind=float
  ),
  'model.pool_rounding': Field(
    None, "Rounding of the max pools' sizes", _of_network('pool_rounding'), kind=str
  ),
  'model.last_pool': Field(
    None, 'Window of the pool before stage 5', _of_network('last_pool'), 'pixels', int
  ),
  'model.aux_pool': Field(None, 'Pool of the auxiliary heads', _of_network('aux_pool'), kind=str),
  'model.transform_input': Field(
    None, 'Input normalised once more, as torchvision does', kind=bool
  ),
  'model.dtype': Field(None, 'Type of the computation', _of_network('dtype'), kind=str),
  'model.kernel_init': Field(None, 'Initial weights', one_of(*layers.KERNEL_INITS), kind=str),
  'model.bias_init': Field(None, 'Initial biases, a constant', kind=float),
  'model.fields': Field({}, 'More fields of the network', KEYWORDS),
  'init.run': Field(
    '', "Workdir of a run whose state training goes on from, optimizer and step too; '' for none"
  ),
  'init.weights': Field('', "File or workdir of the weights training starts from; '' for none"),
  'init.allow_head': Field(
    False, 'Permission for weights of other classes; the classifier is new', free=True
  ),
  'init.frozen': Field((), "Name prefixes of frozen layers, statistics included, like 'conv'"),
  'init.backbone_lr': Field(1.0, 'Factor on the learning rate of all but the classifiers', SHARE),
  'dataset.name': Field(
    'digits',
    'Set: digits, folder (of photos), npz (arrays), a TFDS classification set, or '
    'module:attribute of your own',
  ),
  'dataset.data_dir': Field(
    '', "Folder of the photos or TFDS sets, or the .npz file; '' for TFDS's own folder", free=True
  ),
  'dataset.classes': Field(
    '', "File like synset_words.txt that orders a folder's classes; '' for by name"
  ),
  'dataset.in_memory': Field(
    True, 'Images decoded once and kept on the devices; False decodes while training'
  ),
  'dataset.train': Field('train', "Split trained on: 'train[:45000]', of a folder 'all[:80%]'"),
  'dataset.validation': Field('', "Split that the best checkpoint is chosen on; '' for none"),
  'dataset.test': Field('test', "Split scored once, at the end; '' for none", free=True),
  'dataset.mean': Field(
    (127.5,),
    'Mean of each channel; one value serves all',
    Rule(lambda x: len(x) and all(0 <= v <= 255 for v in x), 'numbers in [0, 255]'),
  ),
  'dataset.std': Field(
    (63.75,),
    'Standard deviation of each channel; one value serves all',
    Rule(lambda x: len(x) and all(v > 0 for v in x), 'numbers above 0'),
  ),
  'dataset.image_size': Field(
    0, 'Side that images are resized to; 0 keeps theirs', at_least(0), 'pixels'
  ),
  'dataset.channels': Field(0, 'Channels; 3 repeats a gray one, 0 keeps theirs', one_of(0, 3)),
  'dataset.threads': Field(
    0, 'Threads that decode while training; 0 for one a core', at_least(0), free=True
  ),
  'dataset.workers': Field(
    0, 'Processes that the threads are spread over; 0 for none', at_least(0), free=True
  ),
  'dataset.prefetch': Field(
    2, 'Batches decoded ahead; a worker holds its share twice, and two more', at_least(1), free=True
  ),
  'dataset.max_bad_share': Field(
    0.01, 'Greatest unreadable share of a split, rounded up', SHARE, free=True
  ),
  'dataset.allow_overlap': Field(
    False, 'Permission for test examples in the other splits', free=True
  ),
  'dataset.fields': Field({}, 'More fields of the set', KEYWORDS),
  'augment.area': Field(
    (),
    "Area of a crop made while decoding, as shares of the photo's",
    Rule(
      lambda x: not x or (len(x) == 2 and 0 < x[0] <= x[1] <= 1),
      '() or two shares in ascending order, like (0.08, 1.0)',
    ),
  ),
  'augment.aspect': Field(
    (3 / 4, 4 / 3),
    'Width over height of that crop, log-uniform',
    Rule(
      lambda x: len(x) == 2 and 0 < x[0] <= x[1],
      'two ratios above 0 in ascending order, like (0.75, 1.33)',
    ),
  ),
  'augment.interpolation': Field(
    ('area',),
    'Interpolations; each crop draws one of them',
    Rule(
      lambda x: len(x) and set(x) <= set(decode.INTERPOLATIONS),
      f'some of {", ".join(decode.INTERPOLATIONS)}',
    ),
  ),
  'augment.pad': Field(
    0, 'Border reflected before a crop of the original size', at_least(0), 'pixels'
  ),
  'augment.flip': Field(False, 'Half of the images mirrored'),
  'augment.alternate': Field(
    False, 'Mirroring of each image in every second epoch, in place of by chance'
  ),
  'augment.color': Field(
    0.0, 'Greatest change of brightness, contrast and saturation, each a factor 1 +- this', SHARE
  ),
  'augment.hue': Field(
    0.0, 'Greatest turn of the colours, as a share of the circle', at_least(0, 0.5)
  ),
  'augment.lighting': Field(
    0.0, "Standard deviation along ImageNet's principal colours", at_least(0)
  ),
  'augment.extra': Field(
    (), 'Further steps, after lighting and at the size of the network', all_named(AUGMENTATIONS)
  ),
  'augment.extra_fields': Field(
    {}, "Fields of these by name: {'rand_augment': {'magnitude': 7}}", KEYWORDS
  ),
  'augment.cutout': Field(0, 'Side of a zeroed square', at_least(0), 'pixels'),
  'augment.mixup': Field(0.0, 'Alpha of mixup', at_least(0)),
  'augment.cutmix': Field(0.0, 'Alpha of CutMix', at_least(0)),
  'train.duration': Field('10 epochs', 'Duration of the whole training', TRAINING),
  'train.batch_size': Field(128, 'Examples in a step, over all devices', at_least(1)),
  'train.loss': Field('cross_entropy', 'Name of the loss', named(LOSSES)),
  'train.loss_fields': Field({}, "Fields of the loss: {'gamma': 1.0}", KEYWORDS),
  'train.aux_weight': Field(0.3, 'Weight of each auxiliary loss', at_least(0)),
  'train.aux_until': Field('100%', 'Time from which on auxiliary losses count nothing', DURATION),
  'train.label_smoothing': Field(0.0, 'Share of the label spread over all classes', BELOW_1),
  'train.sync_batch_norm': Field(False, 'Batch statistics over all devices, not per device'),
  'train.steps_per_call': Field(
    1, 'Steps dispatched at once, for small models; on a CPU more is slower', at_least(1)
  ),
  'optimizer.name': Field('sgd', 'Name of the optimizer', named(OPTIMIZERS)),
  'optimizer.lr': Field(0.01, 'Peak learning rate', above(0)),
  'optimizer.momentum': Field(0.9, "Momentum of SGD; b1 of Adam, and of Muon's AdamW", BELOW_1),
  'optimizer.nesterov': Field(False, "Nesterov's momentum"),
  'optimizer.weight_decay': Field(0.0, 'Weight decay', at_least(0)),
  'optimizer.decay_all': Field(False, 'Weight decay of biases and norms too'),
  'optimizer.clip_norm': Field(0.0, "Bound on the gradient's global norm; 0 for none", at_least(0)),
  'optimizer.accumulate': Field(1, 'Steps whose gradients make one update', at_least(1)),
  'optimizer.fields': Field({}, 'More fields of the optimizer', KEYWORDS),
  'schedule.name': Field('exponential', 'Name of the schedule', named(schedules.SCHEDULES)),
  'schedule.warmup': Field('0 epochs', 'Duration of a linear rise from 0', DURATION),
  'schedule.decay_rate': Field(0.96, 'Factor of exponential after each decay_every', above(0, 1)),
  'schedule.decay_every': Field('8 epochs', 'Duration between two decays of exponential', DURATION),
  'schedule.power': Field(0.5, 'Exponent of polynomial: (1 - t) ** power', above(0)),
  'schedule.final': Field(0.0, 'Share at the end of polynomial and cosine', SHARE),
  'schedule.points': Field(
    (),
    'Corners of piecewise_linear',
    Rule(
      lambda x: all(len(p) == 2 and DURATION.test(p[0]) and p[1] >= 0 for p in x),
      'pairs like ("25%", 1.0): a duration and a share of optimizer.lr',
    ),
  ),
  'schedule.fields': Field({}, 'More fields of the schedule', KEYWORDS),
  'average.name': Field('none', 'Name of the average', one_of(*train_state.AVERAGES)),
  'average.decay': Field(0.999, 'Decay of ema per update', BELOW_1),
  'average.begin': Field('0 epochs', 'Time at which averaging begins', DURATION),
  'eval.every': Field(
    '1 epochs', 'Time between evaluations on validation, each with a checkpoint', DURATION
  ),
  'eval.patience': Field(
    0,
    'Evaluations without a better top-1 on validation after which the training ends; 0 for none. '
    'Schedules do not take it into account',
    at_least(0),
  ),
  'eval.batch_size': Field(
    500,
    'Examples in a batch over all devices, rounded up to a multiple of them',
    at_least(1),
    free=True,
  ),
  'eval.metrics': Field(
    ('loss', 'top1', 'top5', 'confusion'),
    'Names of the metrics; loss and top1 are always needed',
    all_named(METRICS, 'loss'),
    free=True,
  ),
  'eval.metric_fields': Field(
    {}, "Fields of these by name: {'top5': {'k': 3}}", KEYWORDS, free=True
  ),
  'eval.resize': Field(
    0, 'Shorter side of photos before the centre crop; 0 for 8/7 of the crop', at_least(0), 'pixels'
  ),
  'eval.flip': Field(
    False,
    'Softmax averaged over an image and its mirror image; scored without it too. Fixed from the '
    'start for a run with a validation split',
    free=True,
  ),
  'eval.shifts': Field(
    (),
    'Shifts to the right at which top-1 is scored too, when a split is scored at the end or by '
    '--mode=evaluate',
    Rule(lambda x: all(isinstance(n, int) and n > 0 for n in x), 'whole numbers above 0, (2, 4)'),
    'pixels',
    free=True,
  ),
  'eval.crops': Field(1, 'Crops of a photo, with --weights', one_of(*boxes.CROPS), free=True),
  'eval.split': Field(
    'test', 'Split of --mode=evaluate', one_of('test', 'validation', 'train'), free=True
  ),
  'eval.checkpoint': Field(
    'best',
    'Checkpoint that is scored; best means best on validation',
    one_of('best', 'last'),
    free=True,
  ),
  'log.every': Field(
    '50 steps',
    'Time between records; a GPU or TPU waits for the host at each',
    DURATION,
    free=True,
  ),
  'log.norms': Field(False, 'Norms of gradients and parameters, of each group of layers'),
  'log.head_norms': Field(
    False, "Norms of each head's part of the gradients, at the price of a pass back for each head"
  ),
  'log.pictures': Field(True, 'Whether curves and confusion matrices are drawn', free=True),
  'log.writers': Field(
    ('tensorboard',), 'Writers of the records, beside metrics.jsonl', all_named(WRITERS), free=True
  ),
  'log.writer_fields': Field({}, 'Fields of these by name', KEYWORDS, free=True),
  'checkpoint.keep': Field(
    2, 'Number of latest checkpoints kept, besides the best', at_least(1), free=True
  ),
  'checkpoint.minutes': Field(
    15.0,
    'Longest time between checkpoints, checked at training records',
    above(0),
    'minutes',
    free=True,
  ),
  'profile': Field('', "Steps that are traced into the workdir; '' for none", TRACED, free=True),
}


def config() -> ConfigDict:
  """A config with every field at its default; config files start from it."""
  result = ConfigDict()
  for name, field in FIELDS.items():
    group, _, last = name.rpartition('.')
    if group and group not in result:
      result[group] = ConfigDict()
    value = ConfigDict(field.default) if isinstance(field.default, dict) else field.default
    (result[group] if group else result)[last] = placeholder(field.kind) if value is None else value
  return result


def flat(fields: dict, prefix: str = '') -> dict:
  """`{'optimizer.lr': 0.1, ...}` of nested fields; a field that is a dict by itself stays one."""
  result = {}
  for name, value in fields.items():
    path = prefix + name
    of_its_own = path in FIELDS and isinstance(FIELDS[path].default, dict)
    nested = isinstance(value, dict) and not of_its_own
    result |= flat(value, f'{path}.') if nested else {path: value}
  return result


def update(config: ConfigDict, values: Mapping[str, Any], where: str = '') -> None:
  """Sets fields of a config, `{'optimizer.lr': 0.1, ...}`.

  Args:
    config: config to change.
    values: values by field name.
    where: beginning of the errors.

  Raises:
    InputError: there is no such field, or its value is of another type.
  """
  for name, value in values.items():
    if name not in FIELDS:
      raise InputError(f'{where}config.{name}: no such field{hint(name, FIELDS, "config.")}')
    try:
      config.update_from_flattened_dict({name: value})
    except (TypeError, ValueError) as error:
      raise InputError(f'{where}config.{name}={value!r}: {error}') from error


def check(config: ConfigDict) -> None:
  """Raises InputError, naming the field, unless each has a value that it may have."""
  given = flat(config.to_dict())
  for name in given.keys() - FIELDS.keys():
    raise InputError(f'config.{name}: no such field{hint(name, FIELDS, "config.")}')
  for name in FIELDS.keys() - given.keys():
    raise InputError(f'config.{name} is missing: start from googlenet_jax.schema.config()')
  for name, field in FIELDS.items():
    if not field.rule or (given[name] is None and field.default is None):
      continue  # None is left to the network
    try:
      fine = field.rule.test(given[name])
    except (TypeError, ValueError, KeyError, AttributeError):  # another type than the rule's
      fine = False
    if not fine:
      raise InputError(f'config.{name}={given[name]!r}: use {field.rule.text}')


def to_json(config: ConfigDict) -> str:
  """The text of `config.json`."""
  return json.dumps(config.to_dict(), indent=2) + '\n'


def differences(earlier: dict, now: ConfigDict) -> list[str]:
  """Fields that forbid going on with a run, as 'optimizer.lr: 0.1 there, 0.2 here'.

  Args:
    earlier: the run's fields, flat; one that it has not counts as its default.
    now: the config that it is to go on with.
  """
  defaults, new = (flat(json.loads(to_json(fields))) for fields in (config(), now))
  old = defaults | earlier
  return [
    f'{name}: {old.get(name)!r} there, {new.get(name)!r} here'
    for name in sorted(old.keys() | new.keys())
    if old.get(name) != new.get(name) and not (name in FIELDS and FIELDS[name].free)
  ]


def groups() -> dict[str, dict[str, Field]]:
  """The rows of the table by group."""
  return {
    group: {name: field for name, field in FIELDS.items() if name.rpartition('.')[0] == group}
    for group in GROUPS
  }


def _default(field: Field) -> str:
  shown = repr(field.default)
  return re.sub(r'\d+\.\d{4,}', lambda match: f'{float(match[0]):.4g}', shown)


def help_text() -> str:
  """The fields by group, each with default, meaning and allowed values, for a terminal."""
  lines = [
    'Fields of a config; --config.FIELD=VALUE sets one.',
    f'A duration is written {DURATIONS}.',
  ]
  for group, fields in groups().items():
    lines += ['', f'{group}: {GROUPS[group]}' if group else GROUPS[group]]
    for name, field in fields.items():
      start = f'  {name}={_default(field)}  '.ljust(32)
      lines += textwrap.wrap(f'{start}{field.text}', COLUMNS, subsequent_indent=32 * ' ')
  return '\n'.join(lines)


def page() -> str:
  """The text of docs/config.md."""
  lines = [
    '# Fields of a config',
    '',
    'Written by `python -m googlenet_jax.schema > docs/config.md`. A config file begins with',
    '`schema.config()`; on the command line `--config.FIELD=VALUE` sets a field. Fields marked *',
    f'may change when a run resumes. A duration is written {DURATIONS}.',
  ]
  for group, fields in groups().items():
    lines += ['', f'## {GROUPS[group]}', '', '| field | default | meaning |', '| --- | --- | --- |']
    for name, field in fields.items():
      text = field.text.replace('|', r'\|')
      lines += [f'| `{name}`{" *" if field.free else ""} | `{_default(field)}` | {text} |']
  return '\n'.join(lines) + '\n'


if __name__ == '__main__':
  print(page(), end='')
