"""The parts of `benchmarks.accelerator`: each a function, run in a process of its own.

    python -m benchmarks.accelerator_parts NAME small|whole JPEGS

JPEGS is a folder of class folders, or ''.
"""

import collections
import contextlib
import importlib.metadata
import json
import pathlib
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jax import lax

from benchmarks import machine
from benchmarks.noise import workload
from configs import cifar10_full, digits, imagenet_bn
from googlenet_jax import (
  experiment,
  inputs,
  models,
  nonfinite,
  parallel,
  startup,
  steps,
  training,
)
from googlenet_jax.checkpoint import Checkpoints
from googlenet_jax.data import stream
from googlenet_jax.tools import cost

CLASSES = 1000
BATCHES = (32, 256, 1024)
DTYPES = ('bfloat16', 'float32')
MARK = 'FIGURES '  # before what a part's process tells
FEW = {'3a': (8, 8, 8, 8, 8, 8), '4a': (8, 8, 8, 8, 8, 8)}  # modules of a small network
PROFILED = 3  # steps
AROUND = ('while', 'conditional', 'call')  # operations whose time is that of others
MOST = 'RESOURCE_EXHAUSTED'  # how XLA says that memory is out


class Part(NamedTuple):
  """What is measured in one process.

  Attributes:
    measure: `(small, photos) -> figures`.
    environment: variables that are added to, by name.
  """

  measure: Callable[..., dict[str, Any]]
  environment: Mapping[str, str] = MappingProxyType({})


def tell(figures: dict) -> None:
  """Tells the figures so far: they are kept where the part runs out of time."""
  print(MARK + json.dumps(figures), flush=True)


def timed(step: Callable, state, least: float, count: int = 1) -> tuple[dict[str, float], Any]:
  """Seconds of a step by device and by host, and the state after it.

  Args:
    step: `state -> state`; does `count` steps.
    state: state before it, which is destroyed.
    least: seconds that are measured at least, in five rounds.
    count: steps of a call.
  """
  state = jax.block_until_ready(step(state))
  began = time.perf_counter()
  state = jax.block_until_ready(step(state))
  calls = max(1, round(least / 5 / (time.perf_counter() - began)))
  device, host = [], []
  for _ in range(5):
    began = time.perf_counter()
    for _ in range(calls):
      state = step(state)
    host.append((time.perf_counter() - began) / calls / count)
    jax.block_until_ready(state)
    device.append((time.perf_counter() - began) / calls / count)
  found = {'seconds': statistics.median(device), 'range': (min(device), max(device))}
  return found | {'host_seconds': statistics.median(host)}, state


def rates(found: dict, batch: int, gflop: float) -> dict:
  """What a step's seconds mean: images/s, TFLOP/s; and the memory so far."""
  return found | {
    'images_per_second': batch / found['seconds'],
    'tflop_per_second': batch * gflop / 1e3 / found['seconds'],
    'peak_mb': parallel.peak_memory(),
  }


def shrink(config) -> None:
  """Makes a config's network and batch small."""
  config.model.width, config.train.batch_size = 0.0625, 8
  config.model.fields, config.model.aux_heads = {'modules': FEW}, ()
  config.model.dtype = 'float32'  # a CPU has no bfloat16 to speak of


def imagenet(small: bool, batch: int, dtype: str):
  """The config of GoogLeNet with batch norm at 224 pixels, its side and number of classes."""
  c = imagenet_bn.get_config()
  c.model.dtype, c.train.batch_size = dtype, batch
  c.augment.mixup = 0.0
  if small:
    shrink(c)
    c.model.stem, c.train.batch_size = 'compact', batch
  return c, 32 if small else 224, 10 if small else CLASSES


def forward_gflop(small: bool) -> float:
  """Multiply-adds of the convolutions and linear layers of an image, twice, in 1e9."""
  config, size, classes = imagenet(small, 8, 'float32')
  model = models.create(**config.model.to_dict(), num_classes=classes)
  return 2 * cost.cost(model, (size, size, 3)).total('macs') / 1e9


def ascending(small: bool, measure: Callable[[int, str], dict]) -> dict:
  """`measure(batch, dtype)` for ascending batches of each type, up to what memory holds."""
  found = {}
  for dtype in DTYPES[small:]:
    for batch in (8, 16) if small else BATCHES:
      try:
        found[f'{dtype}, batch {batch}'] = measure(batch, dtype)
      except jax.errors.JaxRuntimeError as error:
        if MOST not in str(error):
          raise
        found[f'{dtype}, batch {batch}'] = {'out_of_memory': True}
        break
      tell(found)
  return found


def about(small: bool, photos: str) -> dict:
  """What this is measured on."""
  del small, photos
  names = ('flax', 'optax', 'torch', 'torchvision')
  there = [name for name in names if _version(name)]
  return {'machine': machine.describe(*there), 'device': parallel.describe()}


def train_224(small: bool, photos: str) -> dict:
  """Training steps at 224 pixels."""
  del photos
  gflop = 3 * forward_gflop(small)

  def measure(batch, dtype):
    work = workload(*imagenet(small, batch, dtype))
    found, _ = timed(lambda state: work.step(state, 1), work.state, 0.2 if small else 3.0)
    return rates(found, batch, gflop)

  return ascending(small, measure)


def infer_224(small: bool, photos: str) -> dict:
  """Logits at 224 pixels."""
  del photos
  gflop = forward_gflop(small)

  def measure(batch, dtype):
    config, size, classes = imagenet(small, batch, dtype)
    model = models.create(**config.model.to_dict(), num_classes=classes)
    images = jnp.zeros((batch, size, size, 3))
    variables = parallel.run_once(lambda: model.init(jax.random.key(0), images[:1], train=False))
    logits = jax.jit(lambda variables, images: model.apply(variables, images, train=False).logits)
    found, _ = timed(lambda _: logits(variables, images), None, 0.2 if small else 3.0)
    return rates(found, batch, gflop)

  return ascending(small, measure)


def pytorch_224(small: bool, photos: str) -> dict:
  """The peer: torchvision's GoogLeNet, channels-last, autocast to bfloat16, compiled."""
  del photos
  if not _version('torchvision'):
    return {'not_measured': 'torchvision is not installed'}
  import torch
  import torchvision

  device = 'cuda' if torch.cuda.is_available() else 'cpu'
  size, classes, found = (64, 10, {}) if small else (224, CLASSES, {})
  for batch in (8,) if small else BATCHES[1:]:
    model = torchvision.models.googlenet(
      num_classes=classes, aux_logits=False, init_weights=False
    ).to(device, memory_format=torch.channels_last)
    images = torch.randn(batch, 3, size, size, device=device)
    images = images.to(memory_format=torch.channels_last)
    labels = torch.randint(0, classes, (batch,), device=device)
    optimizer = torch.optim.SGD(model.parameters(), 0.01, 0.9)
    # Compiled where there is a device for it: on a CPU it needs a C++ compiler.
    compiled = torch.compile(model) if device == 'cuda' else model

    def train(model=compiled, optimizer=optimizer, images=images, labels=labels):
      optimizer.zero_grad()
      with torch.autocast(device, torch.bfloat16):
        loss = torch.nn.functional.cross_entropy(model(images), labels)
      loss.backward()
      optimizer.step()

    def infer(model=compiled, images=images):
      with torch.no_grad(), torch.autocast(device, torch.bfloat16):
        model(images)

    for name, step in (('training', train), ('inference', infer)):
      model.train(name == 'training')
      seconds = _torch_seconds(torch, device, step, 0.2 if small else 3.0)
      found[f'{name}, batch {batch}'] = {'seconds': seconds, 'images_per_second': batch / seconds}
  return found


def _torch_seconds(torch, device, step, least) -> float:
  wait = torch.cuda.synchronize if device == 'cuda' else lambda: None
  for _ in range(3):
    step()
  wait()
  began = time.perf_counter()
  step()
  wait()
  calls = max(1, round(least / 5 / (time.perf_counter() - began)))
  rounds = []
  for _ in range(5):
    began = time.perf_counter()
    for _ in range(calls):
      step()
    wait()
    rounds.append((time.perf_counter() - began) / calls)
  return statistics.median(rounds)


def convolutions(small: bool, photos: str) -> dict:
  """All convolutions of the network, forward and both gradients, in bfloat16 and nothing else.

  The loop's time over the step's says what share of the step the convolutions are.
  """
  del photos
  batch, dtype = (8, 'float32') if small else (256, 'bfloat16')
  config, size, classes = imagenet(small, batch, dtype)
  model = models.create(**config.model.to_dict(), num_classes=classes)
  layers = [x for x in cost.cost(model, (size, size, 3)).rows if x.kind.startswith('conv ')]
  rng, inputs_, kernels, geometry = np.random.default_rng(0), [], [], []
  for row in layers:
    window, _, stride = row.kind.removeprefix('conv ').partition('/')
    side, stride = int(window.split('x')[0]), int(stride or 1)
    height, width, channels = row.shape
    entering = round(row.macs / (height * width * channels * side**2))
    shape = (batch, height * stride, width * stride, entering)
    for arrays, size_ in ((inputs_, shape), (kernels, (side, side, entering, channels))):
      arrays.append(jnp.asarray(rng.standard_normal(size_, np.float32), dtype))
    geometry.append((stride, side // 2))

  @jax.jit
  def loop(inputs_, kernels):
    found = []
    for x, kernel, (stride, pad) in zip(inputs_, kernels, geometry, strict=True):

      def forward(x, kernel, stride=stride, pad=pad):
        padding, layout = ((pad, pad),) * 2, ('NHWC', 'HWIO', 'NHWC')
        return lax.conv_general_dilated(
          x, kernel, (stride, stride), padding, dimension_numbers=layout
        )

      y, gradients = jax.vjp(forward, x, kernel)
      found.append((y, gradients(y)))
    return found

  seconds, _ = timed(lambda _: loop(inputs_, kernels), None, 0.2 if small else 3.0)
  flop = 6 * sum(row.macs for row in layers) * batch
  work = workload(config, size, classes)
  step, _ = timed(lambda state: work.step(state, 1), work.state, 0.2 if small else 3.0)
  return {
    'loop': seconds,
    'loop_tflop_per_second': flop / 1e12 / seconds['seconds'],
    'step': step,
    'step_tflop_per_second': flop / 1e12 / step['seconds'],
    'loop_over_step': seconds['seconds'] / step['seconds'],
  }


def profile(small: bool, photos: str) -> dict:
  """Shares of the operations' summed time by their kind, from a trace of training steps."""
  del photos
  work = workload(*imagenet(small, *((8, 'float32') if small else (256, 'bfloat16'))))
  state = jax.block_until_ready(work.step(work.state, 1))
  with tempfile.TemporaryDirectory() as folder:
    with jax.profiler.trace(folder):
      for _ in range(PROFILED):
        state = work.step(state, 1)
      jax.block_until_ready(state)
    (path,) = pathlib.Path(folder).rglob('*.xplane.pb')
    planes = jax.profiler.ProfileData.from_file(str(path)).planes
    events = [event for plane in planes for line in plane.lines for event in line.events]
  seconds = collections.Counter()
  for event in events:
    told = dict(event.stats)
    kind = told.get('hlo_category') or re.sub(r'[.\d]+$', '', told.get('hlo_op', ''))
    if kind and kind not in AROUND:
      seconds[kind] += event.duration_ns / 1e9 / PROFILED
  total = sum(seconds.values())
  shares = {kind: each / total for kind, each in seconds.most_common(20)}
  return {'shares': shares, 'summed_seconds_of_a_step': total}


def steps_per_call(small: bool, photos: str) -> dict:
  """The digits' and CIFAR-10's networks with several steps a call."""
  del photos
  found = {}
  for name, make, size in (('digits', digits, 8), ('cifar10_full', cifar10_full, 32)):
    for count in (1, 2) if small else (1, 10, 100):
      config = make.get_config()
      config.train.steps_per_call = count
      if small:
        shrink(config)
      work = workload(config, size, 10)
      seconds, _ = timed(
        lambda state, work=work, count=count: work.step(state, count),
        work.state,
        0.2 if small else 2.0,
        count,
      )
      seconds['images_per_second'] = work.batch / seconds['seconds']
      found[f'{name}, {count} a call'] = seconds
      tell(found)
  return found


def guard(small: bool, photos: str) -> dict:
  """CIFAR-10's step with the guard against steps that are not finite, and without.

  On a GPU the host may have to wait for the test: so also with a selection of each array.
  """
  del photos
  from benchmarks import cpu_forms  # its flags have the names of other benchmarks'

  def by_array(taken, changed, state):
    return jax.tree.map(lambda new, old: lax.select(taken, new, old), changed, state)

  forms = {
    'guard': (nonfinite.guard, nonfinite.chosen),
    'guard by array': (nonfinite.guard, by_array),
    'no guard': (cpu_forms.no_guard, nonfinite.chosen),
  }
  found = {}
  for name, form in forms.items():
    steps.guard, nonfinite.chosen = form
    config = cifar10_full.get_config()
    if small:
      shrink(config)
    work = workload(config, 32, 10)
    step, least = (lambda state, work=work: work.step(state, 1)), 0.2 if small else 3.0
    found[name], _ = timed(step, work.state, least)
  return found


def repeated(small: bool, photos: str) -> dict:
  """Two runs of CIFAR-10's network: whether they have the same bits, and how fast a step is."""
  del photos
  ends, found = [], {}
  for _ in range(2):
    config = cifar10_full.get_config()
    if small:
      shrink(config)
    work = workload(config, 32, 10)
    state = work.state
    for _ in range(3 if small else 30):
      state = work.step(state, 1)
    ends.append(parallel.fetch(state.params))
    found, _ = timed(lambda state, work=work: work.step(state, 1), state, 0.2 if small else 2.0)
  same = jax.tree.map(np.array_equal, *ends)
  return {'same_bits': all(jax.tree.leaves(same)), **found}


def resume(small: bool, photos: str) -> dict:
  """Digits: a run that was stopped on the way against one that was not."""
  del photos
  config = digits.get_config()
  config.train.duration = '8 steps' if small else '4 epochs'
  config.schedule.warmup = '2 steps'
  config.eval.every, config.dataset.test = '100 epochs', ''
  if small:
    shrink(config)
  ends = []
  with tempfile.TemporaryDirectory() as folder:
    for name, stops in (('straight', ()), ('stopped', (5,))):
      workdir = epath.Path(folder) / name
      for stop_at in (*stops, 0):
        training.train(config, workdir, stop_at=stop_at)
      shapes = experiment.Run(config, inputs.load(config, 'train')).shapes()
      checkpoints = Checkpoints(workdir)
      ends.append(parallel.fetch(checkpoints.restore(shapes, checkpoints.latest()).params))
  return {'same_bits': all(jax.tree.leaves(jax.tree.map(np.array_equal, *ends)))}


def photos_read(small: bool, photos: str) -> dict:
  """Photos a second, from JPEG files to crops on the device: by threads, and by workers."""
  from benchmarks import input as photo_input  # likewise

  with contextlib.ExitStack() as stack:
    if not photos:
      photos = stack.enter_context(tempfile.TemporaryDirectory())
      _make_photos(pathlib.Path(photos), 40 if small else 400)
    found, count = {'cores': stream.cores()}, 5 if small else 100
    for workers in (0, max(2, stream.cores() // 4)):
      batches = photo_input.ours(photos, workers)
      for _ in range(photo_input.AHEAD * (workers + 1)):
        jax.block_until_ready(next(batches))
      began = time.perf_counter()
      for _ in range(count):
        jax.block_until_ready(next(batches))
      seconds = time.perf_counter() - began
      batches.close()
      found[f'{workers} workers'] = {'images_per_second': count * photo_input.BATCH / seconds}
      tell(found)
  return found


def _make_photos(folder: pathlib.Path, count: int) -> None:
  """Photos of two classes, 500x375, as detailed as real ones compress."""
  from PIL import Image

  rng = np.random.default_rng(0)
  for i in range(count):
    coarse = Image.fromarray(rng.integers(0, 256, (94, 125, 3), dtype=np.uint8))
    (folder / f'{i % 2}').mkdir(exist_ok=True)
    coarse.resize((500, 375), Image.Resampling.BICUBIC).save(folder / f'{i % 2}/{i}.jpg')


def _version(name: str) -> str:
  try:
    return importlib.metadata.version(name)
  except importlib.metadata.PackageNotFoundError:
    return ''


DETERMINISTIC = MappingProxyType({'XLA_FLAGS': '--xla_gpu_deterministic_ops=true'})
PARTS: dict[str, Part] = {
  'about': Part(about),
  'train_224': Part(train_224),
  'pytorch_224': Part(pytorch_224),
  'convolutions': Part(convolutions),
  'profile': Part(profile),
  'infer_224': Part(infer_224),
  'steps_per_call': Part(steps_per_call),
  'guard': Part(guard),
  'repeated': Part(repeated),
  'repeated_deterministic': Part(repeated, DETERMINISTIC),
  'resume_deterministic': Part(resume, DETERMINISTIC),
  'photos': Part(photos_read),
}

if __name__ == '__main__':
  startup.prepare()
  if (count := jax.local_device_count()) > 1:
    sys.exit(
      f'{count} devices, where all figures are of one: hide the others, on a TPU by '
      'TPU_PROCESS_BOUNDS=1,1,1 TPU_CHIPS_PER_PROCESS_BOUNDS=1,1,1 TPU_VISIBLE_CHIPS=0'
    )
  _, chosen, how, folder = sys.argv
  tell(PARTS[chosen].measure(small=how == 'small', photos=folder))
