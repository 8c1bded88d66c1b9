"""Trains and evaluates GoogLeNet, classifies photos.

    googlenet-jax --config=digits --config.optimizer.lr=0.05 --workdir=runs/try

In a checkout, `python main.py` is the same. --config takes a file, or the name of one that comes
with the package; --help=config lists its fields. Without --config, the run in --workdir
resumes with its own; otherwise it is configs/digits.py. --weights bring their own network, and
--mode=summarize and draw show the paper's.
Exit status: 0; 2 for bad input, with one line that says what to do; 130 or 143 when interrupted,
saved; 1 for a crash of the program itself, or of another one of several processes.
"""

import logging
import os
import pathlib
import re
import signal
import sys
import traceback
from typing import Any, NamedTuple

from absl import flags
from absl import logging as absl_logging
from ml_collections import config_flags

from googlenet_jax import config_files, manual, startup
from googlenet_jax.errors import InputError, hint

MODES = {
  'train': 'train or resume the run in the workdir (the default)',
  'evaluate': 'score the run in the workdir; with --weights, networks and their ensemble on photos',
  'predict': 'classify --images with --weights, the mean of several networks',
  'explain': 'draw what --weights see in --images, into the workdir',
  'export': 'write --weights to --output, .safetensors or .stablehlo',
  'preview': 'draw some training and evaluation images into the workdir',
  'summarize': 'print what every layer of the network of the config, or --model, costs',
  'draw': 'draw the modules of the network of the config, --model or --weights, to --output (.svg)',
  'find_lr': 'try learning rates around that of the config, and draw the loss, into the workdir',
  'prepare': 'download and prepare, or convert, the TFDS set of the config',
  'sweep': "list the points of the config's sweep(), one per line; with --run, run them",
  'report': "compare the arms of the config's sweep() by their records, or any --runs",
}


class Flag(NamedTuple):
  """A flag of the program.

  Attributes:
    default: value without the flag; also the lowest one of a number.
    meaning: what it is, a noun first.
    modes: those in which it counts; () for all.
  """

  default: Any
  meaning: str
  modes: tuple[str, ...] = ()


RUNS = ('train', 'evaluate')
SHOWS = ('summarize', 'draw')  # the paper's network where no other is named
PRINTS = ('predict', 'summarize', 'sweep')  # nothing of theirs is sent over a network
FLAGS = {
  'workdir': Flag(
    '',
    'folder of the run (gs:// too); runs/<config name> by default',
    (*RUNS, 'preview', 'find_lr', 'explain', *SHOWS, 'sweep', 'report'),
  ),
  'weights': Flag(
    [],
    'weights files or workdirs of runs',
    # To train: told what to give.
    ('train', 'evaluate', 'predict', 'explain', 'export', 'summarize', 'draw'),
  ),
  'preprocessing': Flag(
    '',
    "preprocessing by name in place of that of --weights, as 'torchvision_v2'",
    ('evaluate', 'predict', 'explain', 'export'),
  ),
  'images': Flag('', 'photos, and folders of photos, commas between them', ('predict', 'explain')),
  'output': Flag(
    '',
    'file that is written: .json or .csv by --mode=predict, .svg by draw; folder of --mode=report',
    ('predict', 'export', 'summarize', 'draw', 'report'),
  ),
  'top': Flag('5', "number of classes of a photo; 'all' for all", ('predict',)),
  'model': Flag(
    '',
    'short for --config.model.name',
    (*RUNS, 'predict', 'explain', 'export', 'preview', 'find_lr', *SHOWS),
  ),
  'compare': Flag([], 'networks by name to summarize side by side', ('summarize',)),
  'num_classes': Flag(
    0, 'classes of the network of --mode=summarize; 0 for its own', ('summarize',)
  ),
  'image_shape': Flag(
    [], 'H,W,C of the images of --mode=summarize and draw', ('summarize', 'draw')
  ),
  'plot': Flag('', 'PNG file that --mode=summarize draws', ('summarize',)),
  'sweep': Flag(
    -1, "point of the config's sweep() that is run; -1 for none", (*RUNS, 'preview', 'find_lr')
  ),
  'run': Flag(False, 'run the points of the sweep that have no record', ('sweep',)),
  'minutes': Flag(0, 'time after which --run saves and stops; 0 for none', ('sweep',)),
  'records': Flag(
    '',
    "folder of the finished points' records; that of their runs by default",
    ('train', 'sweep', 'report'),
  ),
  'runs': Flag([], 'folders of runs that --mode=report compares', ('report',)),
  'module': Flag(
    '', 'inception module that --mode=explain draws the branches of; 4a by default', ('explain',)
  ),
  'label': Flag('', "class to explain, name or number; '' for the predicted one", ('explain',)),
  'path_points': Flag(
    0, 'points of the path of integrated gradients, 32 for example; 0 for none', ('explain',)
  ),
  'coordinator': Flag('', 'HOST:PORT of process 0 of several', RUNS),
  'process_count': Flag(0, 'number of processes; 0 asks the cluster', RUNS),
  'process_index': Flag(-1, 'index of this process; -1 asks the cluster', RUNS),
  'local_device_ids': Flag(
    [], "numbers of this host's GPUs that this process uses; '' for its share", RUNS
  ),
  'dry_run': Flag(
    False, 'two steps and all that follows them, in a folder that is removed', ('train',)
  ),
  'debug': Flag(False, 'traceback of an error in the input'),
}


class Call(NamedTuple):
  """What the command line asks for.

  Attributes:
    flags: the values of `FLAGS`, and the mode.
    config: checked.
    workdir: folder of the run, an `epath.Path`.
    given: fields of the config that the command line sets, 'optimizer.lr'.
    file: the config's file; '' for that of a run.
    point: the point of --sweep; None for none.
  """

  flags: flags.FlagValues
  config: Any
  workdir: Any
  given: set[str]
  file: str
  point: Any = None


def main() -> None:
  """Runs what the command line asks for, and ends the program."""
  sys.stdout.reconfigure(errors='backslashreplace')  # names of files are any bytes
  absl_logging.set_verbosity(absl_logging.FATAL)  # Orbax logs what it raises, with the traceback
  logging.basicConfig(level=logging.WARNING, format='%(message)s', stream=sys.stdout)
  logging.getLogger('googlenet_jax').setLevel(logging.INFO)
  sys.unraisablehook = _say_once
  signal.signal(signal.SIGINT, signal.SIG_DFL)  # at once, but where there is something to save
  signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` ends it quietly, with 141
  try:
    file = _parse(sys.argv)
    sys.exit(_start(file))
  except InputError as error:
    _fail(str(error), 2)
  except Exception as error:
    from googlenet_jax import cluster

    if not cluster.name():
      raise
    _fail(
      f'{type(error).__name__}: {error}; another process has ended, or this one has failed '
      '(--debug shows where): start all of them again, they go on from the last checkpoint',
      1,
    )


def _define() -> None:
  flags.DEFINE_enum(
    'mode', 'train', list(MODES), '; '.join(f'{name}: {what}' for name, what in MODES.items())
  )
  for name, (default, meaning, _) in FLAGS.items():
    if isinstance(default, bool):
      flags.DEFINE_bool(name, default, meaning)
    elif isinstance(default, int):
      flags.DEFINE_integer(name, default, meaning, lower_bound=default)
    elif isinstance(default, list):
      flags.DEFINE_list(name, default, meaning)
    else:
      flags.DEFINE_string(name, default, meaning)


def _parse(argv: list[str]) -> str:
  """Parses the command line into `flags.FLAGS`; whatever is wrong with it is an InputError.

  Returns:
    The config's file; '' for that of a run.
  """
  _define()
  asked = set(argv)
  if asked & {'--help', '-h', '-help', '--helpshort', '--helpfull'}:
    print(manual.text(__doc__, MODES, FLAGS))
  if '--version' in asked:
    print(manual.version())
  if asked & {'--help', '-h', '-help', '--helpshort', '--version'}:
    sys.exit(0)
  # Imported here so that help is there at once; with it comes jax.
  from googlenet_jax import schema

  if asked & {'--help=config', '--helpfull'}:
    print(schema.help_text())
    sys.exit(0)
  for field in _set_by(argv) - schema.FIELDS.keys():
    raise InputError(f'--config.{field}: no such field{hint(field, schema.FIELDS, "--config.")}')
  try:
    file, rest = _parse_with_config(_joined(argv))
    loaded = hasattr(flags.FLAGS.config, 'to_dict')  # raises where the file could not be read
  except flags.Error as error:
    raise InputError(f'{_last_line(error)} (--help lists the flags)') from error
  except InputError:
    raise
  except Exception as error:  # raised by the user's config file while it is loaded
    raise InputError(f'--config: {type(error).__name__}: {_last_line(error)}') from error
  if not loaded:
    raise InputError('--config: get_config() of the file must return a ConfigDict')
  mode = flags.FLAGS.mode
  for name, (_, _, modes) in FLAGS.items():
    if flags.FLAGS[name].present and modes and mode not in modes:
      raise InputError(f'--{name} has no effect in --mode={mode}, but in {", ".join(modes)}')
  if len(rest) > 1:
    raise InputError(f'unexpected argument {rest[1]!r}: flags are written --name=value')
  return file


def _parse_with_config(argv: list[str]) -> tuple[str, list[str]]:
  """The config's file, '' for that of a run, and the arguments that are no flags."""
  # What the config is depends on other flags; its own overrides are flags only once it is known.
  flags.FLAGS.set_gnu_getopt(True)
  flags.FLAGS(argv, known_only=True)
  if not any(argument.startswith('--config=') for argument in argv):
    config = _of_run(flags.FLAGS)
    if config is not None:
      config_flags.DEFINE_config_dict('config', config)
      return '', flags.FLAGS(argv)
    others = flags.FLAGS.weights or flags.FLAGS.mode in SHOWS  # weights bring their network
    argv = [argv[0], f'--config={"default" if others else "digits"}', *argv[1:]]
  config_flags.DEFINE_config_file('config', None, 'file or name of the config')
  rest = flags.FLAGS(
    [re.sub('(?<=^--config=).*', lambda x: config_files.find(x[0]), argument) for argument in argv]
  )
  return config_flags.get_config_filename(flags.FLAGS['config']), rest


def _of_run(values: flags.FlagValues):
  """The config of the run in --workdir; None where there is none to go on with."""
  modes = (*RUNS, *SHOWS)
  if values.mode not in modes or not values.workdir or values.weights or values.sweep >= 0:
    return None
  from etils import epath

  from googlenet_jax.run import workdir

  return workdir.config(epath.Path(values.workdir).expanduser())


def _joined(argv: list[str]) -> list[str]:
  """The arguments with `--config FILE` and `-config=FILE` as `--config=FILE`."""
  result = []
  for argument in argv:
    argument = re.sub('^-config(?==|$)', '--config', argument)
    if result and result[-1] == '--config':
      result[-1] += f'={argument}'
    else:
      result.append(argument)
  return result


def _set_by(argv: list[str]) -> set[str]:
  """The fields of the config that arguments set."""
  found = (re.match(r'--?(?:no)?config\.([^=]+)', argument) for argument in argv)
  return {match[1] for match in found if match}


def _start(file: str) -> int:
  """Does what the flags say; returns the exit status."""
  import jax
  from etils import epath

  from googlenet_jax import checks, effects
  from googlenet_jax.run.signals import Interrupted

  startup.prepare()
  values = flags.FLAGS
  if values.mode not in PRINTS or values.run:
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # a closed connection raises
  if values.mode == 'sweep' and not values.run:
    for flag in ('workdir', 'minutes', 'records'):
      if values[flag].present:
        raise InputError(f'--{flag} has no effect in --mode=sweep without --run')
    for point in config_files.points(file):
      print(*(f'{field}={value!r}' for field, value in point.items()))
    return 0
  workdir = epath.Path(values.workdir or f'runs/{pathlib.Path(file).stem}').expanduser()
  given = _set_by(sys.argv) | ({'model.name'} if values.model else set())
  call = Call(values, values.config, workdir, given, file)
  if values.model:
    call.config.model.name = values.model
  points = config_files.points(file) if values.sweep >= 0 else []
  if values.sweep >= len(points) > 0:
    raise InputError(f'--sweep={values.sweep}: the points of sweep() are 0 to {len(points) - 1}')
  if not values.weights:
    effects.fit(call.config, call.given)
  checks.check(call.config, weights=bool(values.weights))
  _join_cluster(call)
  if points:
    call = _at_point(call, points[values.sweep])
  # Once jax knows which process this is.
  effects.check(call.config, values.mode, call.given, weights=bool(values.weights))
  try:
    result = _run(call)
  except Interrupted as interrupted:
    return 128 + interrupted.signum
  for field, value in result.items() if jax.process_index() == 0 else ():
    print(f'{field:>20}: {value}')
  return 0


def _at_point(call: Call, fields: dict) -> Call:
  """The call with the config and the folder of the point that sets these fields."""
  from googlenet_jax.evidence import design

  point, folder = design.point(call.config, fields, call.given), f'sweep_{call.flags.sweep}'
  return call._replace(config=point.config, workdir=call.workdir / folder, point=point)


def _join_cluster(call: Call) -> None:
  import jax

  from googlenet_jax import cluster

  if jax.config.jax_compilation_cache_dir is None:
    cache = pathlib.Path.home() / '.cache' / 'googlenet_jax'
    jax.config.update('jax_compilation_cache_dir', str(cache))
  values = call.flags
  # The other modes are for one process, which may be one of a cluster's hosts.
  if values.mode in RUNS:
    about = values.process_count, values.process_index, values.local_device_ids
    cluster.join(call.config.distributed, values.coordinator, *about)
  if values.mode != 'train' or not cluster.name():
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # jax catches it, for `Signals` to ask for
  if cluster.name() and jax.process_index():
    logging.getLogger('googlenet_jax').setLevel(logging.WARNING)  # process 0 tells the rest


def _run(call: Call) -> dict:
  """Does what --mode says; what it returns is shown."""
  values, config = call.flags, call.config
  shown, output = {'workdir': call.workdir}, os.path.expanduser(values.output)
  if values.mode == 'prepare':
    from googlenet_jax.data import prepare

    return prepare.prepare(config)
  if values.mode == 'preview':
    from googlenet_jax.tools import preview

    return preview.preview(config, call.workdir) | shown
  if values.mode == 'find_lr':
    from googlenet_jax.tools import find_lr

    return find_lr.find_lr(config, call.workdir, call.given)
  if values.mode == 'summarize':
    from googlenet_jax.tools import summarize

    how = values.image_shape, values.num_classes, output, os.path.expanduser(values.plot)
    print(summarize.summarize(config, values.compare, *how, _described(call)))
    return {}
  if values.mode == 'draw':
    from googlenet_jax.tools import draw

    return draw.draw(config, values.image_shape, output, _described(call))
  if values.mode == 'train':
    if values.weights:
      raise InputError('--mode=train starts from --config.init.weights=FILE, not from --weights')
    if values.dry_run:
      if values.records:
        raise InputError('--records has no effect with --dry_run')
      from googlenet_jax.tools import dry_run

      return dry_run.dry_run(config, call.workdir, call.given)
    from googlenet_jax.run import summary

    return summary.shown(_train(call), call.workdir)
  if values.mode == 'sweep':
    from googlenet_jax.evidence import design, sweep

    experiment = design.load(call.file, config, call.given)
    return sweep.run(experiment, call.workdir, _records(call), values.minutes)
  if values.mode == 'report':
    return _report(call, output)
  if values.mode == 'evaluate' and not values.weights:
    if values.preprocessing:
      raise InputError('--preprocessing has no effect without --weights')
    from googlenet_jax.run import score

    return score.evaluate(config, call.workdir) | shown
  return _run_weights(call, output)


def _train(call: Call) -> dict:
  """Trains; a point of a sweep leaves its record."""
  if call.point is None:
    from googlenet_jax import training

    if call.flags.records:
      raise InputError('--records has no effect in --mode=train without --sweep')
    return training.train(call.config, call.workdir, given=call.given)
  from googlenet_jax.evidence import sweep

  records = _records(call)
  folder = call.workdir if records == call.workdir else records / call.point.key
  name = pathlib.Path(call.file).stem
  return sweep.train(call.point, name, call.workdir, folder, given=call.given)


def _report(call: Call, output: str) -> dict:
  """Compares the arms of an experiment, or any runs, and writes tables and a page."""
  from etils import epath

  name = 'runs' if call.flags.runs else pathlib.Path(call.file).stem
  folder = epath.Path(output or f'reports/{name}')
  if call.flags.runs:
    for flag in ('workdir', 'records'):
      if call.flags[flag].present:
        raise InputError(f'--{flag} has no effect with --runs')
    from googlenet_jax.evidence import leaderboard

    leaderboard.save([epath.Path(x).expanduser() for x in call.flags.runs], folder)
    return {'written': folder / 'index.html'}
  from googlenet_jax.evidence import design, page, report, result

  experiment = design.load(call.file, call.config, call.given)
  comparison = report.compare(experiment, result.read(_records(call)))
  page.save(comparison, folder)
  for finding in comparison.findings:
    print(f'{finding.claim.text}\n  {page.sentence(finding)}')
  return {'written': folder / 'index.html'}


def _records(call: Call):
  """The folder of the records of finished points."""
  from etils import epath

  return epath.Path(call.flags.records).expanduser() if call.flags.records else call.workdir


def _described(call: Call) -> dict:
  """Descriptions of the networks of --weights or of the run in --workdir."""
  from googlenet_jax import experiment
  from googlenet_jax.run import workdir

  values = call.flags
  if values.compare and (set_ := [x for x in call.given if x.startswith('model.')]):
    raise InputError(
      f'--config.{set_[0]} has no effect with --compare, which shows networks with their own fields'
    )
  if values.weights:
    return {network.source: network.description for network in _networks(call)}
  if not values.workdir:
    return {}
  if not (call.workdir / 'network.json').exists():
    raise InputError(f'--workdir={call.workdir} holds no run: train first')
  fields = experiment.model_fields(call.config)
  return {str(call.workdir): workdir.network(call.workdir).override(fields)}


def _networks(call: Call) -> list:
  """The networks of --weights, with the name and fields that the config gives."""
  from googlenet_jax import experiment, weights

  name = call.config.model.name if 'model.name' in call.given else ''
  fields = experiment.model_fields(call.config)
  chosen = {'model': name, 'preprocessing': call.flags.preprocessing}
  return [weights.load(path, **chosen, **fields) for path in call.flags.weights]


def _run_weights(call: Call, output: str) -> dict:
  """Does what --mode says with --weights."""
  values, mode = call.flags, call.flags.mode
  if not values.weights:
    raise InputError(f'--mode={mode} needs --weights=FILE or a workdir')
  if mode in ('export', 'explain') and len(values.weights) > 1:
    raise InputError(f'--mode={mode} takes one of --weights')
  if mode == 'evaluate':
    from googlenet_jax.tools import multicrop

    return multicrop.evaluate(call.config, _networks(call), call.workdir) | {
      'workdir': call.workdir
    }
  if mode == 'export':
    from googlenet_jax.weights import export

    return {'written': export.export(_networks(call)[0], output)}
  from googlenet_jax.tools import predict

  images = predict.listed(values.images)
  if mode == 'predict':
    how = {'top': _top(values.top), 'crops': call.config.eval.crops}
    predict.predict(_networks(call), images, output, **how)
    return {}
  from googlenet_jax.tools import explain

  (network,) = _networks(call)
  how = {name: getattr(values, name) for name in ('module', 'label', 'path_points')}
  return explain.explain_photos(network, images, call.workdir, **how)


def _top(text: str) -> int | None:
  """The number of classes that --top asks for; None for all."""
  if text == 'all':
    return None
  if not re.fullmatch('[1-9][0-9]{0,8}', text):
    raise InputError(f"--top={text}: give a number of classes from 1 on, or 'all'")
  return int(text)


def _last_line(error: Exception) -> str:
  return str(error).strip().splitlines()[-1].strip()


def _fail(text: str, status: int) -> None:
  """Says in one line what is wrong, and ends the program."""
  cluster = sys.modules.get('googlenet_jax.cluster')  # with jax: not there for a wrong flag
  if any(re.fullmatch(r'--?debug(=true)?', argument) for argument in sys.argv):
    traceback.print_exc()
  try:
    who = cluster.name() if cluster else ''
    print(f'error: {who}{" ".join(text.split())}', file=sys.stderr, flush=True)
  finally:  # also where nobody reads any more
    cluster.leave(status) if cluster else sys.exit(status)


def _say_once(unraisable) -> None:
  """`sys.unraisablehook`, silent on TensorStore's threads after a write that failed."""
  if str(unraisable.exc_value) != 'Event loop is closed':
    sys.__unraisablehook__(unraisable)


if __name__ == '__main__':
  main()
