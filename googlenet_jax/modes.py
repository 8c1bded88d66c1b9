"""What the program does by --mode: a row of `MODES` each.

What a mode needs is imported when it runs: a photo is classified without the imports of training.
"""

import os
import pathlib
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from googlenet_jax.errors import InputError


class Call(NamedTuple):
  """What the command line asks for.

  Attributes:
    flags: values of the flags, an `absl.flags.FlagValues`.
    config: checked.
    workdir: folder of the run, an `epath.Path`.
    given: fields of the config that the command line sets, 'optimizer.lr'.
    file: the config's file; '' for that of a run.
    point: the point of --sweep; None for none.
  """

  flags: Any
  config: Any
  workdir: Any
  given: set[str]
  file: str
  point: Any = None

  @property
  def output(self) -> str:
    """The file or folder of --output; '' for none."""
    return os.path.expanduser(self.flags.output)

  @property
  def records(self) -> Any:
    """The folder of the records of finished points, an `epath.Path`."""
    from etils import epath

    return epath.Path(self.flags.records).expanduser() if self.flags.records else self.workdir


def _train(call: Call) -> dict:
  if call.flags.weights:
    raise InputError('--mode=train starts from --config.init.weights=FILE, not from --weights')
  if call.flags.dry_run:
    if call.flags.records:
      raise InputError('--records has no effect with --dry_run')
    from googlenet_jax.tools import dry_run

    return dry_run.dry_run(call.config, call.workdir, call.given)
  from googlenet_jax.run import summary

  return summary.shown(_trained(call), call.workdir)


def _trained(call: Call) -> dict:
  """The summary of the run; a point of a sweep leaves its record."""
  if call.point is None:
    from googlenet_jax import training

    if call.flags.records:
      raise InputError('--records has no effect in --mode=train without --sweep')
    return training.train(call.config, call.workdir, given=call.given)
  from googlenet_jax.evidence import sweep

  folder = call.workdir if call.records == call.workdir else call.records / call.point.key
  name = pathlib.Path(call.file).stem
  return sweep.train(call.point, name, call.workdir, folder, given=call.given)


def _evaluate(call: Call) -> dict:
  if call.flags.weights:
    from googlenet_jax.tools import multicrop

    scores = multicrop.evaluate(call.config, _networks(call), call.workdir)
  else:
    if call.flags.preprocessing:
      raise InputError('--preprocessing has no effect without --weights')
    from googlenet_jax.run import score

    scores = score.evaluate(call.config, call.workdir)
  return scores | {'workdir': call.workdir}


def _predict(call: Call) -> dict:
  from googlenet_jax.tools import predict

  images = predict.listed(call.flags.images)
  how = {'top': _top(call.flags.top), 'crops': call.config.eval.crops}
  predict.predict(_networks(call), images, call.output, **how)
  return {}


def _explain(call: Call) -> dict:
  from googlenet_jax.tools import explain, predict

  images, network = predict.listed(call.flags.images), _only_network(call)
  how = {name: getattr(call.flags, name) for name in ('module', 'label', 'path_points')}
  return explain.explain_photos(network, images, call.workdir, **how)


def _export(call: Call) -> dict:
  from googlenet_jax.weights import export

  return {'written': export.export(_only_network(call), call.output)}


def _preview(call: Call) -> dict:
  from googlenet_jax.tools import preview

  return preview.preview(call.config, call.workdir) | {'workdir': call.workdir}


def _summarize(call: Call) -> dict:
  from googlenet_jax.tools import summarize

  text = summarize.summarize(
    call.config,
    call.flags.compare,
    call.flags.image_shape,
    num_classes=call.flags.num_classes,
    output=call.output,
    plot=os.path.expanduser(call.flags.plot),
    described=_described(call),
  )
  print(text)
  return {}


def _draw(call: Call) -> dict:
  from googlenet_jax.tools import draw

  return draw.draw(call.config, call.flags.image_shape, call.output, _described(call))


def _find_lr(call: Call) -> dict:
  from googlenet_jax.tools import find_lr

  return find_lr.find_lr(call.config, call.workdir, call.given)


def _prepare(call: Call) -> dict:
  from googlenet_jax.data import datasets

  fields = call.config.dataset
  return {'prepared': datasets.prepared(fields.name, fields.data_dir)}


def _sweep(call: Call) -> dict:
  from googlenet_jax.evidence import design, sweep

  experiment = design.load(call.file, call.config, call.given)
  return sweep.run(experiment, call.workdir, call.records, call.flags.minutes)


def list_points(flags: Any, file: str) -> None:
  """Prints the points of a config file's sweep(), one per line: --mode=sweep without --run."""
  from googlenet_jax import config_files

  for flag in ('workdir', 'minutes', 'records'):
    if flags[flag].present:
      raise InputError(f'--{flag} has no effect in --mode=sweep without --run')
  for point in config_files.points(file):
    print(*(f'{field}={value!r}' for field, value in point.items()))


def _report(call: Call) -> dict:
  from etils import epath

  name = 'runs' if call.flags.runs else pathlib.Path(call.file).stem
  folder = epath.Path(call.output or f'reports/{name}')
  if call.flags.runs:
    for flag in ('workdir', 'records'):
      if call.flags[flag].present:
        raise InputError(f'--{flag} has no effect with --runs')
    from googlenet_jax.evidence import leaderboard

    leaderboard.save([epath.Path(x).expanduser() for x in call.flags.runs], folder)
    return {'written': folder / 'index.html'}
  from googlenet_jax.evidence import design, page, report, result

  experiment = design.load(call.file, call.config, call.given)
  comparison = report.compare(experiment, result.read(call.records))
  page.save(comparison, folder)
  for finding in comparison.findings:
    print(f'{finding.claim.text}\n  {page.sentence(finding)}')
  return {'written': folder / 'index.html'}


class Mode(NamedTuple):
  """A row of `MODES`.

  Attributes:
    run: `(call) ->` what is shown, by headings.
    meaning: what it does, for --help.
    example: flags of an example.
  """

  run: Callable[[Call], dict]
  meaning: str
  example: str


MODES = {
  'train': Mode(
    _train,
    'train or resume the run in the workdir (the default)',
    '--config=configs/cifar10.py --config.dataset.data_dir=DIR --workdir=runs/mine',
  ),
  'evaluate': Mode(
    _evaluate,
    'score the run in the workdir; with --weights, networks and their ensemble on photos',
    '--mode=evaluate --workdir=runs/mine --config.eval.split=validation',
  ),
  'predict': Mode(
    _predict,
    'classify --images with --weights, the mean of several networks',
    '--mode=predict --weights=runs/mine --images=cat.jpg,holiday/',
  ),
  'explain': Mode(
    _explain,
    'draw what --weights see in --images, into the workdir',
    "--mode=explain --weights=runs/mine --images=cat.jpg --label='tiger cat'",
  ),
  'export': Mode(
    _export,
    'write --weights to --output, .safetensors or .stablehlo',
    '--mode=export --weights=runs/mine --output=network.stablehlo',
  ),
  'preview': Mode(
    _preview,
    'draw some training and evaluation images into the workdir',
    '--mode=preview --config=configs/folder.py --config.dataset.data_dir=DIR',
  ),
  'summarize': Mode(
    _summarize,
    'print what every layer of the network of the config, or --model, costs',
    '--mode=summarize --compare=alexnet,vgg16,googlenet --plot=costs.png',
  ),
  'draw': Mode(
    _draw,
    'draw the modules of the network of the config, --model or --weights, to --output (.svg)',
    '--mode=draw --model=inception_v3 --output=inception_v3.svg',
  ),
  'find_lr': Mode(
    _find_lr,
    'try learning rates around that of the config, and draw the loss, into the workdir',
    '--mode=find_lr --config=configs/cifar10.py --config.dataset.data_dir=DIR',
  ),
  'prepare': Mode(
    _prepare,
    'download and prepare, or convert, the TFDS set of the config',
    '--mode=prepare --config=configs/cifar10.py --config.dataset.data_dir=DIR',
  ),
  'sweep': Mode(
    _sweep,
    "list the points of the config's sweep(), one per line; with --run, run them",
    '--mode=sweep --config=configs/experiments/heads.py --run --minutes=60',
  ),
  'report': Mode(
    _report,
    "compare the arms of the config's sweep() by their records, or any --runs",
    '--mode=report --config=configs/experiments/heads.py',
  ),
}


def _described(call: Call) -> dict:
  """Descriptions of the networks of --weights or of the run in --workdir."""
  from googlenet_jax import experiment
  from googlenet_jax.run import workdirs

  values = call.flags
  if values.compare and (set_ := [x for x in call.given if x.startswith('model.')]):
    raise InputError(
      f'--config.{set_[0]} has no effect with --compare, which shows networks with their own fields'
    )
  if values.weights:
    return {network.source: network.description for network in _networks(call)}
  if not values.workdir:
    return {}
  if not (call.workdir / workdirs.NETWORK).exists():
    raise InputError(f'--workdir={call.workdir} holds no run: train first')
  fields = experiment.model_fields(call.config)
  return {str(call.workdir): workdirs.network(call.workdir).override(fields)}


def _networks(call: Call) -> list:
  """The networks of --weights, with the name and fields that the config gives."""
  from googlenet_jax import experiment, weights

  if not call.flags.weights:
    raise InputError(f'--mode={call.flags.mode} needs --weights=FILE or a workdir')
  name = call.config.model.name if 'model.name' in call.given else ''
  fields = experiment.model_fields(call.config)
  chosen = {'model': name, 'preprocessing': call.flags.preprocessing}
  return [weights.load(path, **chosen, **fields) for path in call.flags.weights]


def _only_network(call: Call):
  if len(call.flags.weights) > 1:
    raise InputError(f'--mode={call.flags.mode} takes one of --weights')
  return _networks(call)[0]


def _top(text: str) -> int | None:
  """The number of classes that --top asks for; None for all."""
  if text == 'all':
    return None
  if not re.fullmatch('[1-9][0-9]{0,8}', text):
    raise InputError(f"--top={text}: give a number of classes from 1 on, or 'all'")
  return int(text)
