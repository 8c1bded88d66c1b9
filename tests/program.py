"""Starts `main.py` as a person does, without paying for its imports each time.

Importing jax and the rest takes longer than most of these programs run. So one process (run this
file) imports it all, without touching a device, and forks for every program that is asked for:
each is a process of its own, with its own arguments, pipes, signals and exit status, that runs
the whole of main.py.
"""

import atexit
import contextlib
import functools
import gc
import importlib
import json
import logging
import os
import pathlib
import pkgutil
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading

ROOT = pathlib.Path(__file__).resolve().parents[1]
# What the program imports where it needs it.
LAZY = (
  'array_record.python.array_record_module',
  'cv2',
  'grain',
  'matplotlib.pyplot',
  'onnx',
  'orbax.checkpoint',
  'simplejpeg',
  'tensorboardX',
  'tensorflow_datasets',
)


class Program:
  """A running `main.py`, in the manner of `subprocess.Popen`.

  Args:
    arguments: arguments of the command line.
    limit: seconds after which it is killed.
    cwd: working directory.
    environment: variables that differ from those here.

  Attributes:
    pid: id of its process.
    stdout: what it prints, to be read line by line.
    returncode: its exit status once it is known; negative for the signal that ended it.
  """

  def __init__(self, *arguments: str, limit: float = 300.0, cwd=ROOT, **environment: str):
    environment = os.environ | environment
    environment.pop('PYTEST_CURRENT_TEST', None)
    server = _server()
    says, output = os.pipe()
    told, end = os.pipe()
    self._errors = tempfile.TemporaryFile('w+', encoding='utf-8')  # noqa: SIM115
    request = json.dumps([str(cwd), environment, arguments]).encode()
    socket.send_fds(server, [request], [output, self._errors.fileno(), end])
    self.pid = int(server.recv(100))
    os.close(output)
    os.close(end)
    self.returncode = None
    self.stdout = os.fdopen(says, encoding='utf-8')
    self._end = os.fdopen(told)
    self._timer = threading.Timer(limit, self.kill)
    self._timer.daemon = True
    self._timer.start()

  def send_signal(self, signum: signal.Signals) -> None:
    """Sends it a signal, unless it is known to have ended."""
    if self.returncode is None:
      os.kill(self.pid, signum)

  def kill(self) -> None:
    """Ends it at once."""
    self.send_signal(signal.SIGKILL)

  def communicate(self) -> tuple[str, str]:
    """What it still prints, and all of its errors; waits for its end."""
    with self.stdout, self._end, self._errors:
      said = self.stdout.read()
      self.returncode = os.waitstatus_to_exitcode(int(self._end.read()))
      self._timer.cancel()
      self._errors.seek(0)
      return said, self._errors.read()


def run(*arguments: str, cwd=ROOT, **environment: str) -> subprocess.CompletedProcess:
  """Runs `main.py` to its end, in the manner of `subprocess.run`."""
  running = Program(*arguments, cwd=cwd, **environment)
  said, errors = running.communicate()
  return subprocess.CompletedProcess(arguments, running.returncode, said, errors)


@functools.cache
def _server() -> socket.socket:
  """The connection to the process that forks; it ends with this one."""
  ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
  command = [sys.executable, __file__, str(its.fileno())]
  # One thread: what is forked has only the one that asks for it.
  env = os.environ | {'OPENBLAS_NUM_THREADS': '1'}
  options = {'cwd': ROOT, 'env': env, 'pass_fds': [its.fileno()]}
  process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, **options)
  its.close()
  atexit.register(lambda: (ours.close(), process.wait()))
  return ours


def _import_all() -> None:
  import googlenet_jax

  found = pkgutil.walk_packages(googlenet_jax.__path__, 'googlenet_jax.')
  for name in (*LAZY, *(module.name for module in found)):
    importlib.import_module(name)
  logging.root.handlers.clear()  # Orbax adds one where main.py has not been first
  # What is imported stays: looked at by a forked process's collector, each page would be copied.
  gc.collect()
  gc.freeze()


def _serve(server: socket.socket) -> tuple[str, dict[str, str], list[str]]:
  """Forks for each request; returns in the new process: its folder, environment and arguments."""
  while True:
    with contextlib.suppress(ChildProcessError):  # those that wait, once they have told
      while os.waitpid(-1, os.WNOHANG)[0]:
        pass
    request, files, *_ = socket.recv_fds(server, 1_000_000, 3)
    if not request:
      sys.exit()
    if not os.fork():
      break
    for file in files:
      os.close(file)
  pid = os.fork()
  *streams, end = files
  if pid:  # waits for the program and tells how it ended
    server.send(b'%d' % pid)
    for file in streams:
      os.close(file)
    os.write(end, b'%d' % os.waitpid(pid, 0)[1])
    os._exit(0)
  server.close()
  os.close(end)
  for number, file in enumerate(streams, 1):
    os.dup2(file, number)
    os.close(file)
  return json.loads(request)


def _set_environment(environment: dict[str, str]) -> None:
  """Sets all variables; those that jax read when it was imported, in its own settings too."""
  import jax

  for name, value in environment.items():
    known = name.startswith('JAX_') and hasattr(jax.config, name.lower())
    if known and os.environ.get(name) != value:
      jax.config.update(name.lower(), int(value) if value.isdecimal() else value)
  os.environ.clear()
  os.environ.update(environment)


if __name__ == '__main__':
  sys.path[0] = str(ROOT)
  _import_all()
  threads = os.listdir('/proc/self/task')
  assert len(threads) == 1, f'{len(threads)} threads: a fork would lack them'
  cwd, environment, sys.argv[1:] = _serve(socket.socket(fileno=int(sys.argv[1])))
  _set_environment(environment)
  os.chdir(cwd)
  sys.argv[0] = str(ROOT / 'main.py')
  runpy.run_path(sys.argv[0], run_name='__main__')
