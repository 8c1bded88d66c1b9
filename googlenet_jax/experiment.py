"""Makes the parts of a run from its config; the modules they come from take plain arguments."""

import functools
import logging

import flax
import jax
import numpy as np
from ml_collections import ConfigDict

from googlenet_jax import (
  contracts,
  losses,
  metrics,
  models,
  optim,
  parallel,
  registry,
  schedules,
  schema,
  steps,
  train_state,
  weights,
  writers,
)
from googlenet_jax.data import class_lists, pipeline
from googlenet_jax.errors import InputError
from googlenet_jax.inputs import resize_shorter

LOG = logging.getLogger('googlenet_jax')


def describe(
  config: ConfigDict,
  data: pipeline.Pipeline,
  theirs: weights.Description | None = None,
  source: str = '',
) -> weights.Description:
  """What the network of a run is.

  Args:
    config: checked.
    data: the pipeline that it trains on.
    theirs: description of the network that training starts from: of weights, or of another run.
    source: place of that network, for errors.

  Raises:
    InputError: the images are neither gray nor RGB, or are normalised otherwise than those that
      the weights were trained on.
  """
  size, _, channels = data.image_shape
  if channels not in (1, 3):
    raise InputError(f'images of {channels} channels: use gray images, or RGB')
  preprocessing = weights.Preprocessing(
    size, resize_shorter(config, size), config.dataset.mean, config.dataset.std, channels
  )
  fields = model_fields(config)
  names = class_lists.display_names(data.class_names)
  if theirs is None:
    return weights.Description(config.model.name, {}, preprocessing, names).override(fields)
  if config.model.name not in (theirs.model, schema.FIELDS['model.name'].default):
    raise InputError(
      f'config.model.name={config.model.name!r}, but {source} is of {theirs.model!r}: leave '
      'the name out'
    )
  wanted = {name: getattr(theirs.preprocessing, name) for name in ('mean', 'std')}
  if any(tuple(config.dataset[name]) != tuple(value) for name, value in wanted.items()):
    flags = ' '.join(f"--config.dataset.{name}='{value}'" for name, value in wanted.items())
    raise InputError(
      f'config.dataset.mean={config.dataset.mean} and std={config.dataset.std}, but '
      f'{source} was trained with {flags}'
    )
  if theirs.preprocessing.size != size:
    LOG.info(
      '%s was trained on images of %d pixels, these have %d (--config.dataset.image_size)',
      source,
      theirs.preprocessing.size,
      size,
    )
  return theirs._replace(preprocessing=preprocessing, class_names=names).override(fields)


def model_fields(config: ConfigDict) -> dict:
  """The fields of the network that a config sets."""
  fields = {
    field: value
    for field, value in config.model.items()
    if field not in ('name', 'fields') and value is not None
  }
  return fields | config.model.fields.to_dict()


def loss(config: ConfigDict) -> losses.Loss:
  """The training loss; InputError where there is none of that name."""
  function = registry.find(config.train.loss, losses.LOSSES, 'train.loss')
  return registry.bind(function, 'train.loss_fields', config.train.loss_fields)


def scored(config: ConfigDict) -> dict[str, metrics.Metric]:
  """The metrics of an evaluation; InputError where there are none of these names."""
  fields = config.eval.metric_fields.to_dict()
  return metrics.create(config.eval.metrics, fields, loss(config))


def network(config: ConfigDict, description: weights.Description):
  """The network of a run."""
  axis = {'bn_axis': parallel.AXIS} if config.train.sync_batch_norm else {}
  return description.create(**axis)


def clock(config: ConfigDict, data: pipeline.Pipeline) -> schedules.Clock:
  """Converts a run's durations to steps.

  Raises:
    InputError: the batch does not divide over the devices, or the training is too long.
  """
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
  """Layers for a log line, by path: '; new: aux1/linear, linear (2 layers, 20,500 parameters)'.

  '' for none.
  """
  if not names:
    return ''
  inside = tuple(f'{name}/' for name in names)
  arrays = flax.traverse_util.flatten_dict(params, sep='/')
  size = sum(x.size for path, x in arrays.items() if path.startswith(inside))
  some = ', '.join(names[:4]) + (', ...' if names[4:] else '')
  layers = 'layer' if len(names) == 1 else 'layers'
  return f'; {what}: {some} ({len(names)} {layers}, {size:,} parameters)'


def _trainable(params: dict, frozen: tuple[str, ...]) -> tuple[str, ...]:
  """Names of the layers that are trained; InputError for none, or for a prefix of no layer."""
  unmatched = [x for x in frozen if not any(layer.startswith(x) for layer in params)]
  if unmatched:
    names = ', '.join(params)
    raise InputError(f'config.init.frozen: no layer begins with {unmatched[0]!r} ({names})')
  trainable = tuple(train_state.trainable(params, frozen))
  if not trainable:
    raise InputError(f'config.init.frozen={frozen}: no layer is left to train')
  return trainable


class Run:
  """The parts of a training run.

  Args:
    config: checked.
    data: the pipeline that it trains on.
    resume_from: description of the network of a resumed run; None for a new one.
    branch_from: the same of the run that a new one branches from; None for none.

  Attributes:
    description: what the network is.
    clock, model, schedule: parts of the run.
    heads: names of the network's heads, 'main' first.
    head_titles: the same for a person, by name: 'aux1 (4a)'.
    batch_size: examples a step, over all devices.
    parameters: their number, auxiliary heads included.
    frozen_text: the layers that are not trained, for a person; '' for none.
    metrics: metrics of an evaluation, by name.
    writers: makers of what is told of every record.
    pictures: whether curves are drawn.
    key: key of data order, augmentation and dropout.
    one_device: the training step as one device does it (`steps.make_train_step`).
    step: the same over all devices.
  """

  def __init__(
    self,
    config: ConfigDict,
    data: pipeline.Pipeline,
    *,
    resume_from: weights.Description | None = None,
    branch_from: weights.Description | None = None,
  ):
    if config.init.frozen and not (config.init.weights or config.init.run):
      raise InputError(
        'config.init.frozen needs config.init.weights: give --config.init.weights=FILE'
      )
    self.clock, self.batch_size = clock(config, data), config.train.batch_size
    self._start, theirs, source = None, branch_from, config.init.run
    if config.init.weights and resume_from is None:
      own = config.model.name if ':' in config.model.name else ''
      self._start = weights.load(config.init.weights, flag='--config.init.weights', model=own)
      theirs, source = self._start.description, self._start.source
    self._allow_head = config.init.allow_head
    self.description = resume_from or describe(config, data, theirs, source)
    self.model = network(config, self.description)
    self.schedule = schedules.learning_rate(
      self.clock, peak=config.optimizer.lr, **config.schedule.to_dict()
    )
    fields = {name: x for name, x in config.optimizer.to_dict().items() if name != 'lr'}
    self._optimizer = optim.create(backbone_lr=config.init.backbone_lr, **fields)
    self.metrics = scored(config)
    self.writers = writers.create(config.log.writers, config.log.writer_fields.to_dict())
    self.pictures = config.log.pictures
    key_params, self.key = jax.random.split(jax.random.key(config.seed))

    self._loss, self._frozen = loss(config), tuple(config.init.frozen)
    outputs, variables = self._probe(config, data)
    self.heads = tuple(losses.heads(outputs))
    titles = losses.head_titles(self.model)
    self.head_titles = {head: titles.get(head, head) for head in self.heads}
    self.parameters = sum(x.size for x in jax.tree.leaves(variables['params']))
    layers, trainable = tuple(variables['params']), _trainable(variables['params'], self._frozen)
    frozen = [layer for layer in layers if layer not in trainable]
    self.frozen_text = _layers('frozen', frozen, variables['params'])
    sums = steps.train_metrics(
      self.heads,
      parameter_norms=layers if config.log.norms else (),
      gradient_norms=trainable if config.log.norms else (),
      head_norms=trainable if config.log.head_norms else (),
    )
    self._create = functools.partial(
      train_state.create,
      self.model,
      key_params,
      data.image_shape,
      self._optimizer,
      average=config.average.name,
      sums=sums,
      heads=self.heads,
      frozen=self._frozen,
    )
    self.one_device = self._one_device(config, data.make_batch)
    self.step = parallel.MappedStep(self.one_device, arguments=3)

  def _probe(self, config: ConfigDict, data: pipeline.Pipeline):
    """Shapes of the outputs and variables; InputError where a part breaks its contract."""
    classes = len(self.description.class_names)
    outputs, variables = contracts.network(
      config.model.name, models.with_zero_kernels(self.model), data.image_shape, classes
    )
    contracts.loss(config.train.loss, self._loss, classes)
    contracts.metrics(self.metrics, classes)
    contracts.schedule(config.schedule.name, self.schedule)
    trainable = train_state.trainable(variables['params'], self._frozen)
    contracts.optimizer(config.optimizer.name, self._optimizer, trainable)
    return outputs, variables

  def _one_device(self, config: ConfigDict, make_batch):
    until, total = self.clock.round(config.train.aux_until), self.clock.total_steps
    gradients = steps.make_gradients(
      self.model,
      loss=self._loss,
      aux_weight=config.train.aux_weight,
      label_smoothing=config.train.label_smoothing,
      aux_until=until if until < total else None,
      frozen=self._frozen,
      head_norms=config.log.head_norms,
    )
    update = steps.make_update(
      self._optimizer, self.schedule, total_steps=total, frozen=self._frozen
    )
    chosen = config.average
    average = steps.make_average(chosen.name, chosen.decay, self.clock.round(chosen.begin))
    return steps.make_train_step(
      gradients,
      update,
      average,
      make_batch,
      batch_size=self.batch_size,
      log_norms=config.log.norms,
      looped=config.train.steps_per_call > 1,
      on_nonfinite=config.on_nonfinite,
    )

  def compile_ahead(self, data: pipeline.Pipeline) -> None:
    """Begins to compile the step in a thread, in a single process whose data is on the devices.

    What the host feeds a step is known with its first batch. Several processes have to compile in
    the same order.

    Args:
      data: the pipeline that it trains on.
    """
    if data.device_data and not parallel.several_processes():
      state, device_data = parallel.replicated_shapes((self.shapes(), data.device_data))
      self.step.compile_ahead(state, device_data, self.key, np.int32(1))

  def shapes(self) -> train_state.TrainState:
    """Shapes and types of the state."""
    return jax.eval_shape(self._create)

  def initial_state(self) -> train_state.TrainState:
    """The state before the first step, replicated.

    Raises:
      InputError: the weights to start from do not fit the network.
    """
    state = parallel.run_once(self._create)
    if self._start:
      initial = {'params': state.params, 'batch_stats': state.batch_stats}
      names = self.description.class_names
      loaded, new = weights.assign(initial, self._start, names, self._allow_head)
      LOG.info('starting from %s%s', self._start.source, _layers('new', new, state.params))
      average = {**state.average, **loaded} if state.average else state.average
      trainable = train_state.trainable(loaded['params'], self._frozen)
      # Some optimizers keep the parameters that they start from (optax.contrib.dog).
      opt_state = parallel.run_once(self._optimizer.init, trainable)
      state = state.replace(average=average, opt_state=opt_state, **loaded)
    return parallel.replicate(state)
