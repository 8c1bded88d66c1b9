"""Trains and evaluates GoogLeNet, classifies photos.

    python main.py --config=configs/cifar10.py --config.optimizer.lr=0.05 --workdir=runs/try

Without --config it takes the digits; with --weights their network; to summarize, the paper's. Exit
status: 0; 2 for bad input, with one line that says what to do; 130 or 143 when interrupted, saved;
1 for a crash of the program itself, or of another one of several processes.
"""

import logging
import os
import pathlib
import re
import signal
import sys
import traceback

from absl import flags
from absl import logging as absl_logging
from ml_collections import config_flags

from googlenet_jax import startup
from googlenet_jax.errors import InputError, hint

ROOT = pathlib.Path(__file__).resolve().parent

MODES = {
  'train': 'train, or go on with, the run in the workdir (the default)',
  'evaluate': 'score the run in the workdir, or --weights and their ensemble, on photos',
  'predict': 'classify --images with --weights',
  'explain': 'draw what --weights see in --images, into the workdir',
  'export': 'write --weights to --output, .safetensors or .stablehlo',
  'preview': 'draw what is trained and evaluated on into the workdir',
  'summarize': 'print what every layer of the network of the config, or --model, costs',
  'prepare': 'download and prepare, or convert, the TFDS set of the config',
  'sweep': "list the points of the config's sweep(), a line each",
}
MODE = flags.DEFINE_enum(
  'mode', 'train', list(MODES), '; '.join(f'{name}: {what}' for name, what in MODES.items())
)
CONFIG = config_flags.DEFINE_config_file(
  'config', None, 'file of the experiment; --config.FIELD=VALUE overrides (configs/default.py)'
)
WORKDIR = flags.DEFINE_string('workdir', '', 'folder of the run (gs:// too); runs/<config name>')
WEIGHTS = flags.DEFINE_list('weights', [], 'weights files or workdirs of runs')
IMAGES = flags.DEFINE_list('images', [], 'photos, and folders of photos')
OUTPUT = flags.DEFINE_string('output', '', 'file that is written')
MODEL = flags.DEFINE_string('model', '', 'short for --config.model.name')
COMPARE = flags.DEFINE_list('compare', [], 'networks by name to summarize side by side')
CLASSES = flags.DEFINE_integer(
  'num_classes', 0, 'of the network of --mode=summarize; 0 for its own', lower_bound=0
)
SHAPE = flags.DEFINE_list('image_shape', [], 'H,W,C of the images of --mode=summarize')
PLOT = flags.DEFINE_string('plot', '', 'PNG file that --mode=summarize draws')
SWEEP = flags.DEFINE_integer(
  'sweep', -1, "point of the config's sweep() that is run; -1 for none", lower_bound=-1
)
MODULE = flags.DEFINE_string('module', '4a', 'that --mode=explain draws the branches of')
ALLOW = flags.DEFINE_enum(
  'weights_allow', '', ['', 'head'], 'head: config.init.weights may be of other classes'
)
COORDINATOR = flags.DEFINE_string('coordinator', '', 'HOST:PORT of process 0 of several')
PROCESSES = flags.DEFINE_integer(
  'process_count', 0, 'of several processes; 0 asks the cluster', lower_bound=0
)
PROCESS = flags.DEFINE_integer(
  'process_index', -1, 'of this one; -1 asks the cluster', lower_bound=-1
)
DEVICES = flags.DEFINE_list(
  'local_device_ids', [], "numbers of this host's GPUs that this process uses; '' for its share"
)
# Flags that count in some of the modes only.
COUNT_IN = {
  'workdir': ('train', 'evaluate', 'preview', 'explain'),
  'weights': ('train', 'evaluate', 'predict', 'explain', 'export'),  # to train: told what to give
  'images': ('predict', 'explain'),
  'output': ('predict', 'export', 'summarize'),
  'module': ('explain',),
  'model': ('train', 'evaluate', 'preview', 'summarize'),
  'compare': ('summarize',),
  'num_classes': ('summarize',),
  'image_shape': ('summarize',),
  'plot': ('summarize',),
  'sweep': ('train', 'evaluate', 'preview'),
  'weights_allow': ('train',),
  'coordinator': ('train', 'evaluate'),
  'process_count': ('train', 'evaluate'),
  'process_index': ('train', 'evaluate'),
  'local_device_ids': ('train', 'evaluate'),
}
DEBUG = flags.DEFINE_bool('debug', False, 'show the traceback of an error in the input')


def main() -> int:
  """Runs what the flags say; returns the exit status."""
  # Imported here so that a wrong flag is answered at once.
  import jax
  from etils import epath

  from googlenet_jax import checks, cluster, effects, sweeps
  from googlenet_jax.train import Interrupted

  os.environ['XLA_FLAGS'] = startup.xla_flags()
  config = CONFIG.value
  if MODEL.value:
    config.model.name = MODEL.value
  file = config_flags.get_config_filename(flags.FLAGS['config'])
  workdir = epath.Path(WORKDIR.value or f'runs/{pathlib.Path(file).stem}').expanduser()
  if MODE.value == 'sweep' or SWEEP.value >= 0:
    points = sweeps.points(file)
  if MODE.value == 'sweep':
    _end_with_reader()
    for point in points:
      print(*(f'{field}={value!r}' for field, value in point.items()))
    return 0
  if SWEEP.value >= 0:
    _take_point(config, points)
    workdir /= f'sweep_{SWEEP.value}'
  if not WEIGHTS.value:
    effects.fit(config, given())
  checks.check(config)
  if jax.config.jax_compilation_cache_dir is None:
    cache = pathlib.Path.home() / '.cache' / 'googlenet_jax'
    jax.config.update('jax_compilation_cache_dir', str(cache))
  # The other modes are for one process, which may be one of a cluster's hosts.
  if MODE.value in ('train', 'evaluate'):
    about = COORDINATOR.value, PROCESSES.value, PROCESS.value, DEVICES.value
    cluster.join(config.distributed, *about)
  if MODE.value != 'train' or not cluster.name():
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # jax catches it, for `Signals` to ask for
  if cluster.name() and jax.process_index():
    logging.getLogger('googlenet_jax').setLevel(logging.WARNING)  # process 0 tells the rest
  fields = config, MODE.value, given()
  effects.check(*fields, weights=bool(WEIGHTS.value))  # once jax knows which process this is
  try:
    result = run(config, workdir)
  except Interrupted as interrupted:
    return 128 + interrupted.signum
  for field, value in result.items() if jax.process_index() == 0 else ():
    print(f'{field:>20}: {value}')
  return 0


def run(config, workdir) -> dict:
  """Does what --mode says; what it returns is shown."""
  mode, shown = MODE.value, {'workdir': workdir}
  output = os.path.expanduser(OUTPUT.value)
  if mode == 'prepare':
    from googlenet_jax.data import prepare

    return prepare.prepare(config)
  if mode == 'preview':
    from googlenet_jax import preview

    return preview.preview(config, workdir) | shown
  if mode == 'summarize':
    from googlenet_jax import summarize

    _end_with_reader()
    how = SHAPE.value, CLASSES.value, output, os.path.expanduser(PLOT.value)
    print(summarize.summarize(config, COMPARE.value, *how))
    return {}
  if ALLOW.value and not config.init.weights:
    raise InputError(f'--weights_allow={ALLOW.value} needs --config.init.weights=FILE')
  if mode == 'train' and WEIGHTS.value:
    raise InputError('--mode=train starts from --config.init.weights=FILE, not from --weights')
  if mode == 'train':
    from googlenet_jax import train

    allow_head = ALLOW.value == 'head'
    return train.train(config, workdir, allow_head=allow_head, given=given()) | shown
  if mode == 'evaluate' and not WEIGHTS.value:
    from googlenet_jax import score

    return score.evaluate(config, workdir) | shown

  from googlenet_jax import weights

  if not WEIGHTS.value:
    raise InputError(f'--mode={mode} needs --weights=FILE or a workdir')
  networks = [weights.load(path, **_overrides(config)) for path in WEIGHTS.value]
  if mode == 'evaluate':
    from googlenet_jax import multicrop

    return multicrop.evaluate(config, networks, workdir) | shown
  if len(networks) > 1:
    raise InputError(f'--mode={mode} takes one of --weights')
  if mode == 'predict':
    from googlenet_jax import predict

    _end_with_reader()
    predict.predict(networks[0], IMAGES.value, output)
    return {}
  if mode == 'export':
    from googlenet_jax.weights import export

    return {'written': export.export(networks[0], output)}

  from googlenet_jax import explain

  return explain.explain_photos(networks[0], IMAGES.value, workdir, module=MODULE.value)


def _end_with_reader() -> None:
  """Lets `| head` end what prints, quietly and with 141; here nothing writes to a network."""
  signal.signal(signal.SIGPIPE, signal.SIG_DFL)


def _take_point(config, points: list[dict]) -> None:
  """Puts the point of --sweep into the config; a field cannot be set by a flag too."""
  from googlenet_jax import sweeps

  if SWEEP.value >= len(points):
    raise InputError(f'--sweep={SWEEP.value}: the points of sweep() are 0 to {len(points) - 1}')
  point = points[SWEEP.value]
  twice = [field for field in point if field in given()]
  if twice:
    raise InputError(f'--config.{twice[0]} contradicts --sweep={SWEEP.value}, which sets it')
  sweeps.take_point(config, point)


def given() -> set[str]:
  """The fields of the config that the command line sets."""
  found = (re.match(r'--?(?:no)?config\.([^=]+)', argument) for argument in sys.argv)
  return {match[1] for match in found if match} | ({'model.name'} if MODEL.value else set())


def _overrides(config) -> dict:
  """The fields of the network that were set."""
  return {name: value for name, value in config.model.items() if name not in ('name', 'fields')}


def parse_flags(argv: list[str]) -> None:
  """Parses the command line; whatever is wrong with it is an InputError."""
  if {'--help', '-h', '-help'} & set(argv):
    print(f'{__doc__}\n{flags.FLAGS.main_module_help()}')
    sys.exit(0)

  from googlenet_jax import schema

  if '--help=config' in argv:
    print(schema.help_text())
    sys.exit(0)
  for argument in argv[1:]:
    override = re.match(r'--?(?:no)?config\.([^=]+)', argument)
    if override and override[1] not in schema.FIELDS:
      near = hint(override[1], schema.FIELDS, '--config.')
      raise InputError(f'--config.{override[1]}: no such field{near}')
  argv = [re.sub('^(--?config=)(~.*)', _expanded, argument) for argument in argv]
  if not any(re.match(r'--?config(=|$)', argument) for argument in argv):
    # First, because the overrides are flags only once the config is known.
    others = any(re.match(r'--?(weights(=|$)|mode=summarize)', argument) for argument in argv)
    name = 'default' if others else 'digits'  # weights bring their own network
    argv = [argv[0], f'--config={ROOT / f"configs/{name}.py"}', *argv[1:]]
  try:
    rest = flags.FLAGS(argv)
    loaded = hasattr(CONFIG.value, 'to_dict')  # raises where the file could not be read
  except flags.Error as error:
    raise InputError(f'{_last_line(error)} (python main.py --help lists the flags)') from error
  except Exception as error:  # raised by the user's config file while it is loaded
    raise InputError(f'--config: {type(error).__name__}: {_last_line(error)}') from error
  if not loaded:
    raise InputError('--config: get_config() of the file must return a ConfigDict')
  for name, modes in COUNT_IN.items():
    if flags.FLAGS[name].present and MODE.value not in modes:
      raise InputError(f'--{name} has no effect in --mode={MODE.value}, but in {", ".join(modes)}')
  if len(rest) > 1:
    raise InputError(f'unexpected argument {rest[1]!r}: flags are written --name=value')


def _expanded(match: re.Match) -> str:
  return match[1] + os.path.expanduser(match[2])


def _last_line(error: Exception) -> str:
  return str(error).strip().splitlines()[-1].strip()


def failed(text: str, status: int) -> None:
  """Says in one line what is wrong, and ends the program."""
  cluster = sys.modules.get('googlenet_jax.cluster')  # with jax: not there for a wrong flag
  if any(re.fullmatch(r'--?debug(=true)?', argument) for argument in sys.argv):
    traceback.print_exc()
  try:
    who = cluster.name() if cluster else ''
    print(f'error: {who}{" ".join(text.split())}', file=sys.stderr, flush=True)
  finally:  # also where nobody reads any more
    cluster.leave(status) if cluster else sys.exit(status)


def say_once(unraisable) -> None:
  """`sys.unraisablehook`, silent on TensorStore's threads after a write that failed."""
  if str(unraisable.exc_value) != 'Event loop is closed':
    sys.__unraisablehook__(unraisable)


if __name__ == '__main__':
  sys.stdout.reconfigure(errors='backslashreplace')  # names of files are any bytes
  absl_logging.set_verbosity(absl_logging.FATAL)  # Orbax logs what it raises, with the traceback
  logging.basicConfig(level=logging.WARNING, format='%(message)s', stream=sys.stdout)
  logging.getLogger('googlenet_jax').setLevel(logging.INFO)
  sys.unraisablehook = say_once
  signal.signal(signal.SIGINT, signal.SIG_DFL)  # at once, but where there is something to save
  try:
    parse_flags(sys.argv)
    sys.exit(main())
  except InputError as error:
    failed(str(error), 2)
  except Exception as error:
    from googlenet_jax import cluster

    if not cluster.name():
      raise
    failed(
      f'{type(error).__name__}: {error}; another process has ended, or this one has failed '
      '(--debug shows where): start all of them again, they go on from the last checkpoint',
      1,
    )
