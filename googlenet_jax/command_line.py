"""The command line: the program's flags, and how they and the config's fields are read."""

import re
import sys
from typing import Any, NamedTuple

from absl import flags
from ml_collections import config_flags

from googlenet_jax import config_files, manual
from googlenet_jax.errors import InputError, hint
from googlenet_jax.modes import MODES


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


def _define() -> None:
  flags.DEFINE_enum(
    'mode', 'train', list(MODES), '; '.join(f'{name}: {x.meaning}' for name, x in MODES.items())
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


def parse(argv: list[str], about: str) -> str:
  """Parses the command line into `flags.FLAGS`; whatever is wrong with it is an InputError.

  Args:
    argv: program and arguments.
    about: what the program is, for --help.

  Returns:
    The config's file; '' for that of a run.
  """
  _define()
  asked = set(argv)
  if asked & {'--help', '-h', '-help', '--helpshort', '--helpfull'}:
    print(manual.text(about, MODES, FLAGS))
  if '--version' in asked:
    print(manual.version())
  if asked & {'--help', '-h', '-help', '--helpshort', '--version'}:
    sys.exit(0)
  # Imported here so that help is there at once; with it comes jax.
  from googlenet_jax import schema

  if asked & {'--help=config', '--helpfull'}:
    print(schema.help_text())
    sys.exit(0)
  for field in set_by(argv) - schema.FIELDS.keys():
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

  from googlenet_jax.run import workdirs

  return workdirs.config(epath.Path(values.workdir).expanduser())


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


def set_by(argv: list[str]) -> set[str]:
  """The fields of the config that arguments set."""
  found = (re.match(r'--?(?:no)?config\.([^=]+)', argument) for argument in argv)
  return {match[1] for match in found if match}


def _last_line(error: Exception) -> str:
  return str(error).strip().splitlines()[-1].strip()
