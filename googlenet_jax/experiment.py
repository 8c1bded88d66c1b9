"""From a config to the parts of a run: the config goes no deeper than here."""

import itertools
import logging
import math
from collections.abc import Mapping

import flax
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from googlenet_jax import losses, optim, parallel, schedules, steps, train_state, weights
from googlenet_jax.data import augment, folder, pipeline, sources
from googlenet_jax.errors import InputError

LOG = logging.getLogger('googlenet_jax')


Arrays = Mapping[str, sources.Split]  # by 'train', 'validation' and 'test'


def load(
  config: ConfigDict, split: str, *, evaluating: bool = False, arrays: Arrays | None = None
) -> pipeline.Pipeline:
  """The pipeline of 'train', 'validation' or 'test'; 'train' is for training.

  Args:
    evaluating: give the training split as it is, in order and not augmented.
    arrays: data in place of what the config names.
  """
  fields = config.dataset
  if not fields[split]:
    raise InputError(f'config.dataset.{split} is empty: name a split')
  train = split == 'train' and not evaluating
  options = {
    'train': train,
    'mean': fields.mean,
    'std': fields.std,
    'image_size': fields.image_size,
    'channels': fields.channels,
    'augment': augment.Augment(**config.augment),
  }
  if fields.in_memory:
    named = fields.name, fields[split], fields.data_dir
    data = arrays[split] if arrays else sources.load(*named)
    return pipeline.in_memory(data, max_bad=max_bad(config, len(data.labels)), **options)
  data = records(config, split, fields.classes)
  if train:
    _check_for_training(config, data)
  return pipeline.streamed(
    data,
    resize_shorter=resize_shorter(config, fields.image_size),
    seed=config.seed,
    max_bad=max_bad(config, data.count),
    threads=fields.threads,
    prefetch=fields.prefetch,
    **options,
  )


def load_splits(config: ConfigDict, arrays: Arrays | None = None) -> dict[str, pipeline.Pipeline]:
  """The pipelines of all splits that are named: what is wrong with one is told at the start."""
  others = [name for name in ('validation', 'test') if config.dataset[name]]
  return {name: load(config, name, arrays=arrays) for name in ('train', *others)}


def max_bad(config: ConfigDict, count: int) -> int:
  """Records of so many that may be unreadable: the share of the config, rounded up."""
  share = math.ceil(config.dataset.max_bad_share * count - 1e-9)  # 0.29 * 100 is above 29
  return min(share, count - 1)


def overlaps(config: ConfigDict) -> list[str]:
  """What the splits of a training have in common, for a person; it is warned of.

  Raises:
    InputError: the test split shares examples with another one, and the config does not allow it.
  """
  fields = config.dataset
  spans = {
    name: folder.spans(fields.data_dir, fields[name])
    if fields.name == 'folder'
    else sources.spans(fields.name, fields[name], fields.data_dir)
    for name in ('train', 'validation', 'test')
    if fields[name]
  }
  found = []
  for one, other in itertools.combinations(spans, 2):
    if shared := sources.shared(spans[one], spans[other]):
      text = (
        f'config.dataset.{one}={fields[one]!r} and config.dataset.{other}={fields[other]!r} share '
        f'{shared}'
      )
      if other == 'test' and not fields.allow_overlap:
        raise InputError(f'{text}: choose others, or --config.dataset.allow_overlap=True')
      if parallel.is_main():
        LOG.warning('WARNING: %s', text)
      found.append(text)
  return found


def records(config: ConfigDict, split: str, classes: str) -> sources.Records:
  """The encoded images of 'train', 'validation' or 'test'.

  Args:
    classes: of a folder: file that orders the classes, or ''.
  """
  fields = config.dataset
  if not fields[split]:
    raise InputError(f'config.dataset.{split} is empty: name a split')
  if fields.name == 'digits':
    raise InputError("config.dataset.name='digits' has no image files: use a folder or a TFDS set")
  if fields.name == 'folder':
    splits = (fields.train, fields.validation, fields.test)
    return folder.records(fields.data_dir, fields[split], splits, classes)
  return sources.tfds_records(fields.name, fields[split], fields.data_dir)


def _check_for_training(config, data):
  if data.counts is not None and not data.counts.all():
    empty = [data.class_names[i].split(',')[0] for i in np.flatnonzero(data.counts == 0)]
    LOG.warning(
      'WARNING: %d of %d classes have no training image in %r: %s%s',
      len(empty),
      len(data.class_names),
      config.dataset.train,
      ', '.join(empty[:5]),
      ', ...' if empty[5:] else '',
    )
  mixing = config.augment.mixup or config.augment.cutmix
  if mixing and config.train.batch_size // jax.device_count() % 2:
    raise InputError(
      f'config.train.batch_size={config.train.batch_size} gives {jax.device_count()} devices an '
      'odd number of images each: mixup and cutmix mix streamed images in pairs'
    )


def describe(
  config: ConfigDict, data: pipeline.Pipeline, start: weights.Network | None = None
) -> weights.Description:
  """What the network of a run is.

  Args:
    config: checked.
    data: the pipeline that it trains on.
    start: whose network it takes, where it starts from weights.

  Raises:
    InputError: the images are normalised otherwise than those that the weights were trained on.
  """
  size, _, channels = data.image_shape
  preprocessing = weights.Preprocessing(
    size, resize_shorter(config, size), config.dataset.mean, config.dataset.std, channels
  )
  given = {name: x for name, x in config.model.items() if name not in ('name', 'fields')}
  names = weights.display_names(data.class_names)
  if start is None:
    return weights.Description(config.model.name, {}, preprocessing, names).override(given)
  theirs = start.description
  for name in ('mean', 'std'):
    wanted = getattr(theirs.preprocessing, name)
    if tuple(config.dataset[name]) != tuple(wanted):
      raise InputError(
        f'config.dataset.{name}={config.dataset[name]}, but {start.source} was trained with '
        f'--config.dataset.{name}={wanted}'
      )
  return theirs._replace(preprocessing=preprocessing, class_names=names).override(given)


def resize_shorter(config: ConfigDict, size: int) -> int:
  """What the shorter side of a photo is resized to before a centre crop of `size` pixels."""
  return size if config.dataset.in_memory else config.eval.resize or round(size * 8 / 7)


def network(config: ConfigDict, description: weights.Description):
  """The network of a run."""
  axis = {'bn_axis': parallel.AXIS} if config.train.sync_batch_norm else {}
  return description.create(**axis)


def clock(config: ConfigDict, data: pipeline.Pipeline) -> schedules.Clock:
  """What the durations of a run are measured by."""
  batch_size = config.train.batch_size
  if batch_size % jax.device_count():
    raise InputError(
      f'config.train.batch_size={batch_size} does not divide over {jax.device_count()} devices: '
      'use a multiple of them'
    )
  result = schedules.Clock(data.size, batch_size, config.train.duration)
  if result.total_steps * batch_size >= 2**32:
    raise InputError(
      f'config.train.duration={config.train.duration!r} is {result.total_steps * batch_size} '
      'examples: positions are counted up to 2**32'
    )
  return result


def _layers(what: str, names: list[str], params: dict) -> str:
  """'; new: aux1/linear, linear (2 layers, 20,500 parameters)' of layers' paths, '' for none."""
  if not names:
    return ''
  inside = tuple(f'{name}/' for name in names)
  arrays = flax.traverse_util.flatten_dict(params, sep='/')
  size = sum(x.size for path, x in arrays.items() if path.startswith(inside))
  some = ', '.join(names[:4]) + (', ...' if names[4:] else '')
  layers = 'layer' if len(names) == 1 else 'layers'
  return f'; {what}: {some} ({len(names)} {layers}, {size:,} parameters)'


class Run:
  """The parts of a training run.

  Args:
    config: checked.
    data: the pipeline that it trains on.
    resume_from: what the network is of a run that goes on; None for one that begins.

  Attributes:
    description: what the network is.
    clock, model, schedule: of the run.
    heads: names of the network's heads, 'main' first.
    batch_size: examples a step, over all devices.
    parameters: their number, auxiliary heads included.
    frozen: the layers that are not learnt, for a person; '' for none.
    key: of data order, augmentation and dropout.
    one_device: the training step as one device does it (`steps.make_train_step`).
    step: the same compiled for all devices.
  """

  def __init__(
    self,
    config: ConfigDict,
    data: pipeline.Pipeline,
    *,
    resume_from: weights.Description | None = None,
  ):
    if config.init.frozen and not config.init.weights:
      raise InputError(
        'config.init.frozen needs config.init.weights: give --config.init.weights=FILE'
      )
    self.clock, self.batch_size = clock(config, data), config.train.batch_size
    starts = config.init.weights and resume_from is None
    self._start = None
    if starts:
      self._start = weights.load(config.init.weights, flag='--config.init.weights')
    self._allow_head = config.init.allow_head
    self.description = resume_from or describe(config, data, self._start)
    self.model = network(config, self.description)
    self.schedule = schedules.learning_rate(
      self.clock,
      peak=config.optimizer.lr,
      **{name: x for name, x in config.schedule.items() if name != 'fields'},
    )
    fields = {
      name: value for name, value in config.optimizer.items() if name not in ('lr', 'fields')
    }
    self._optimizer = optim.create(backbone_lr=config.init.backbone_lr, **fields)
    self._key_params, self.key = jax.random.split(jax.random.key(config.seed))
    self._image_shape, self._average = data.image_shape, config.average.name

    outputs, variables = jax.eval_shape(
      lambda: self.model.init_with_output(
        {'params': jax.random.key(0), 'dropout': jax.random.key(0)},
        jnp.zeros((1, *data.image_shape)),
        train=True,
      )
    )
    self.heads = tuple(losses.heads(outputs))
    layers = tuple(variables['params'])
    strays = [x for x in config.init.frozen if not any(layer.startswith(x) for layer in layers)]
    if strays:
      names = ', '.join(layers)
      raise InputError(f'config.init.frozen: no layer begins with {strays[0]!r} ({names})')
    self.parameters = sum(x.size for x in jax.tree.leaves(variables['params']))
    self._frozen = tuple(config.init.frozen)
    learnt = train_state.learnt(variables['params'], self._frozen)
    if not learnt:
      raise InputError(f'config.init.frozen={self._frozen}: no layer is left to be learnt')
    frozen = [layer for layer in layers if layer not in learnt]
    self.frozen = _layers('frozen', frozen, variables['params'])
    groups = (layers, tuple(learnt)) if config.log.norms else ((), ())
    self._sums = steps.train_metrics(self.heads, *groups)
    self.one_device = steps.make_train_step(
      self.model,
      self._optimizer,
      self.schedule,
      data.make_batch,
      total_steps=self.clock.total_steps,
      batch_size=config.train.batch_size,
      aux_weight=config.train.aux_weight,
      label_smoothing=config.train.label_smoothing,
      average=config.average.name,
      average_decay=config.average.decay,
      average_from=self.clock.round(config.average.begin),
      log_norms=config.log.norms,
      looped=config.train.steps_per_call > 1,
      frozen=self._frozen,
      on_nonfinite=config.on_nonfinite,
    )
    self.step = parallel.compile_step(self.one_device, arguments=3)

  def shapes(self) -> train_state.TrainState:
    """Shapes and types of the state."""
    return jax.eval_shape(self._create)

  def _create(self):
    return train_state.create(
      self.model,
      self._key_params,
      self._image_shape,
      self._optimizer,
      self._average,
      self._sums,
      self._frozen,
    )

  def initial_state(self) -> train_state.TrainState:
    """The state before the first step, replicated.

    Raises:
      InputError: the weights to start from do not fit the network.
    """
    state = parallel.run_once(self._create)
    if self._start:
      own = {'params': state.params, 'batch_stats': state.batch_stats}
      names = self.description.class_names
      given, new = weights.assign(own, self._start, names, self._allow_head)
      LOG.info('starting from %s%s', self._start.source, _layers('new', new, state.params))
      average = {**state.average, **given} if state.average else state.average
      state = state.replace(average=average, **given)
    return parallel.replicate(state)

  def without_sums(self, state: train_state.TrainState) -> train_state.TrainState:
    """The state with its log sums back at zero, after a record."""
    zeros = {name: np.float32(0) for name in self._sums if name != 'learning_rate'}
    return state.replace(log_sums=state.log_sums | parallel.replicate(zeros))
