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
import pathlib
import re
import signal
import sys
import traceback

from absl import flags
from absl import logging as absl_logging

from googlenet_jax import command_line, config_files, startup
from googlenet_jax.command_line import PRINTS, RUNS
from googlenet_jax.errors import InputError
from googlenet_jax.modes import MODES, Call, list_points


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
    file = command_line.parse(sys.argv, __doc__)
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
  if values.mode == 'sweep' and not values.run:  # nothing but points, so that they can be counted
    list_points(values, file)
    return 0
  workdir = epath.Path(values.workdir or f'runs/{pathlib.Path(file).stem}').expanduser()
  given = command_line.set_by(sys.argv) | ({'model.name'} if values.model else set())
  call = Call(values, values.config, workdir, given, file)
  if values.model:
    call.config.model.name = values.model
  points = config_files.points(file) if values.sweep >= 0 else []
  if values.sweep >= len(points) > 0:
    raise InputError(f'--sweep={values.sweep}: the points of sweep() are 0 to {len(points) - 1}')
  fit = effects.fit_to_weights if values.weights else effects.fit
  fit(call.config, call.given)
  checks.check(call.config, weights=bool(values.weights))
  _join_cluster(call)
  if points:
    call = _at_point(call, points[values.sweep])
  # Once jax knows which process this is.
  effects.check(call.config, values.mode, call.given, weights=bool(values.weights))
  try:
    result = MODES[values.mode].run(call)
  except Interrupted as interrupted:
    return 128 + interrupted.signum
  for field, value in result.items() if result and jax.process_index() == 0 else ():
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

  values = call.flags
  # The other modes are for one process, which may be one of a cluster's hosts.
  if values.mode in RUNS:
    cluster.join(
      call.config.distributed,
      values.coordinator,
      count=values.process_count,
      index=values.process_index,
      devices=values.local_device_ids,
    )
  # Several processes may have no home in common. On GPUs those that find a program wait for none,
  # and XLA lets those that compile it wait for them for a day.
  if jax.config.jax_compilation_cache_dir is None and not cluster.name():
    cache = pathlib.Path.home() / '.cache' / 'googlenet_jax'
    jax.config.update('jax_compilation_cache_dir', str(cache))
    # XLA's own cache beside it ends a run on a GPU where it cannot be written; jax's warns.
    jax.config.update('jax_persistent_cache_enable_xla_caches', '')
  if values.mode != 'train' or not cluster.name():
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # jax catches it, for `Signals` to ask for
  if cluster.name() and jax.process_index():
    logging.getLogger('googlenet_jax').setLevel(logging.WARNING)  # process 0 tells the rest


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
