"""Mutated files in the readers of photos and of weights: nothing but the declared errors.

A child process reads them, so that a crash of a C library, a hang and memory without bound are
seen too. FUZZ_SECONDS bounds each test; `-s` shows what was tried.
"""

import collections
import importlib.util
import io
import itertools
import json
import logging
import os
import pathlib
import re
import resource
import select
import struct
import subprocess
import sys
import time
import zlib

import hypothesis
import hypothesis.configuration
import numpy as np
import onnx
import pytest
from hypothesis import strategies as st
from PIL import Image
from safetensors.numpy import save

from googlenet_jax import weights
from googlenet_jax.data import boxes, decode
from googlenet_jax.errors import InputError
from googlenet_jax.weights import files

ROOT = pathlib.Path(__file__).resolve().parents[2]
SECONDS = float(os.environ.get('FUZZ_SECONDS', '600'))
HANG = 60  # seconds of one example
# That one example may take: 89 million pixels are 0.4 GB as RGBA, of which three are held at once.
MEMORY = 3 * 2**30
SIZE = 32  # side of the crops, pixels


def photos():
  """Valid photos of every kind, by what they are."""
  y, x = np.mgrid[0:24, 0:40]
  image = Image.fromarray(np.stack([6 * x, 9 * y, 3 * (x + y)], -1).astype(np.uint8))
  gray = image.convert('L')
  clear = image.copy()
  clear.putalpha(gray)
  turned = Image.Exif()
  turned[decode.ORIENTATION] = 6
  deep = Image.fromarray(np.asarray(gray).astype(np.uint16) * 257)
  kinds = {
    'JPEG': (image, {}),
    'progressive JPEG': (image, {'progressive': True}),
    'gray JPEG': (gray, {}),
    'CMYK JPEG': (image.convert('CMYK'), {}),
    'turned JPEG': (image, {'exif': turned}),
    'PNG': (image, {}),
    'deep PNG': (deep, {}),
    'palette PNG': (image.quantize(16), {'transparency': 3}),
    'clear PNG': (clear, {}),
    'WEBP': (image, {}),
    'clear lossless WEBP': (clear, {'lossless': True}),
    'animated WEBP': (image, {'save_all': True, 'append_images': [clear.convert('RGB')]}),
    'BMP': (image, {}),
    'palette BMP': (image.quantize(16), {}),
    'GIF': (image.quantize(16), {}),
    'animated GIF': (image, {'save_all': True, 'append_images': [image.rotate(90)]}),
    'TIFF': (image, {}),
    'deep TIFF': (deep, {}),
    'LZW TIFF': (image, {'compression': 'tiff_lzw'}),
    'JPEG TIFF': (image, {'compression': 'jpeg'}),
  }
  made = {}
  for name, (picture, options) in kinds.items():
    buffer = io.BytesIO()
    picture.save(buffer, name.split()[-1], **options)
    made[name] = buffer.getvalue()
  return made


def networks():
  """Valid weights files of every kind, by name and ending."""
  statistics = weights.Preprocessing(32, 36, (120.0,), (60.0,), 1)
  description = weights.Description('lenet5', {'width': 0.5}, statistics, ('a', 'b'))
  wanted = weights.expected(description.create(), description.image_shape)
  arrays = {'/'.join(path): np.ones(x.shape, x.dtype) for path, x in wanted.items()}
  rng = np.random.default_rng(0)
  mixed = {
    str(np.dtype(kind)): rng.integers(0, 9, (2, 3)).astype(kind)
    for kind in ('float64', 'float32', 'float16', 'int64', 'uint8', 'bool')
  }
  names = {'conv1/7x7_s2_w_0': rng.random((64, 3, 7, 7), np.float32)}
  made = {
    'ours.safetensors': save(arrays, {weights.KEY: description.to_json()}),
    'mixed.safetensors': save(mixed),
    'torchvision.safetensors': save({'features.0.weight': mixed['float32']}),
    'mixed.onnx': graph(mixed),
    'bvlc.onnx': graph(names),
  }
  if importlib.util.find_spec('torch'):
    import torch

    buffer = io.BytesIO()
    torch.save({name: torch.from_numpy(x) for name, x in mixed.items()}, buffer)
    made['packed.pth'] = buffer.getvalue()
    buffer = io.BytesIO()
    state = {name: torch.from_numpy(x) for name, x in mixed.items()}
    torch.save(state, buffer, _use_new_zipfile_serialization=False)
    made['old.pth'] = buffer.getvalue()
  return made


def graph(arrays):
  """A graph of arrays, stored as bytes and as fields, and a pool."""
  tensors = [onnx.numpy_helper.from_array(x, name) for name, x in arrays.items()]
  tensors += [
    onnx.helper.make_tensor(f'{kind}', kind, (3,), [1, 2, 3])
    for kind in (
      onnx.TensorProto.FLOAT,
      onnx.TensorProto.BFLOAT16,
      onnx.TensorProto.FLOAT8E4M3FN,
      onnx.TensorProto.INT4,
      onnx.TensorProto.FLOAT4E2M1,
    )
  ]
  pool = onnx.helper.make_node('MaxPool', ['x'], ['y'], kernel_shape=[3, 3], strides=[2, 2])
  made = onnx.GraphProto(name='g', initializer=tensors, node=[pool])
  return onnx.ModelProto(graph=made, ir_version=8).SerializeToString()


def read_photo(path, choice):
  """What the child does with a photo; `choice` is of the training crop."""
  data = path.read_bytes()
  rng = np.random.default_rng(choice)
  how = sorted(decode.INTERPOLATIONS)[choice % len(decode.INTERPOLATIONS)]
  ways = (
    (decode.crop, lambda w, h: boxes.centre_box(w, h, 36, SIZE), {}),
    (decode.views, lambda w, h: boxes.test_boxes(w, h, 10, SIZE, 36), {}),
    (
      decode.crop_quickly,
      lambda w, h: boxes.random_box(w, h, rng, (0.08, 1), (3 / 4, 4 / 3)),
      {'interpolation': how},
    ),
  )
  outcome = 'read'
  for way, choose, options in ways:
    try:
      found = way(data, choose, SIZE, **options)
    except Exception as error:  # as is declared
      refuse_memory(error)
      outcome = 'refused'
      continue
    shape = (5, SIZE, SIZE, 3) if way is decode.views else (SIZE, SIZE, 3)
    assert (found.shape, found.dtype) == (shape, np.uint8), (way, found.shape, found.dtype)
  return outcome


def read_weights(path, choice):
  """What the child does with a weights file."""
  try:
    files.read(path)
  except Exception as error:  # as is declared
    refuse_memory(error)
  try:
    network = weights.load(str(path))
  except InputError as error:
    refuse_memory(error)
    return 'refused'
  assert network.variables['params']
  return 'read'


def refuse_memory(error):
  """An error that memory ran out is none of those that are declared."""
  while error is not None:
    if isinstance(error, MemoryError):
      raise AssertionError(f'more than {MEMORY} bytes') from error
    error = error.__cause__


def serve(read):
  """The child: reads a line `choice path`, answers with the outcome and the peak memory, MB."""
  logging.disable()  # main.py shows logs on stdout
  status = pathlib.Path('/proc/self/status').read_text()
  now = 1024 * int(re.search(r'VmData:\s+(\d+)', status)[1])
  resource.setrlimit(resource.RLIMIT_DATA, (now + MEMORY, now + MEMORY))
  for line in sys.stdin:
    choice, path = line.rstrip('\n').split(' ', 1)
    try:
      outcome = read(pathlib.Path(path), int(choice))
    except BaseException as error:
      outcome = f'crash: {error!r}'
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps([outcome, peak]), flush=True)


class Child:
  """A process that reads files; it is started again after it died."""

  def __init__(self, what, folder):
    self._command = [sys.executable, '-m', 'tests.stress.test_fuzz', what]
    self._folder, self._process = folder, None
    self.outcomes, self.peak, self.failed = collections.Counter(), 0, False

  def read(self, name, data, choice=0):
    """Raises AssertionError unless a file is read or refused as declared; keeps the file then."""
    path = self._folder / f'example{pathlib.Path(name).suffix}'
    path.write_bytes(data)
    if self._process is None:
      self._errors = open(self._folder / 'stderr', 'w+')  # noqa: SIM115
      self._process = subprocess.Popen(
        self._command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=self._errors,
        text=True,
        cwd=ROOT,
        env=os.environ | {'JAX_PLATFORMS': 'cpu'},
      )
    self._process.stdin.write(f'{choice} {path}\n')
    self._process.stdin.flush()
    outcome = self._answer()
    self._errors.seek(0)
    told = self._errors.read()
    if outcome not in ('read', 'refused') or told:
      kept = path.rename(self._folder / f'failure_{zlib.crc32(data):08x}{path.suffix}')
      self.close()
      self.failed = True
      raise AssertionError(f'{outcome}; stderr: {told!r}; {kept}')
    self.outcomes[outcome] += 1

  def _answer(self):
    if not select.select([self._process.stdout], [], [], HANG)[0]:
      return f'hangs for {HANG} s'
    line = self._process.stdout.readline()
    if not line:
      return f'died with {self._process.wait()}'
    outcome, peak = json.loads(line)
    self.peak = max(self.peak, peak)
    return outcome

  def close(self):
    """Ends the process."""
    if self._process is not None:
      self._process.kill()
      self._process.wait()
      self._errors.close()
      self._process = None


NUMBERS = (0, 1, 127, 128, 255, 256, 32767, 65535, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1)
TEXTS = (b'-1', b'0', b'1e9', b'99999999', b'9223372036854775808', b'null', b'[]', b'"\xff"', b'')


def edits(names):
  """Draws changes as data, which Hypothesis shows: a kind, a place (share of the file), values."""
  place = st.floats(0, 1, exclude_max=True).map(lambda x: x**3)  # most in the header
  forms = st.sampled_from([end + size for end in '<>' for size in 'BHIQ'])
  return st.one_of(
    st.tuples(st.just('flip'), place, st.integers(0, 7)),
    st.tuples(st.just('number'), place, forms, st.sampled_from(NUMBERS)),
    st.tuples(st.just('text'), place, st.sampled_from(TEXTS)),
    st.tuples(st.just('bytes'), place, st.integers(0, 64), st.binary(max_size=32)),
    st.tuples(st.just('cut'), place),
    st.tuples(st.just('splice'), place, st.sampled_from(names), place),
  )


def changed(data, edit, seeds):
  """A file after an edit."""
  kind, place, *values = edit
  at, gone, new = int(place * len(data)), len(data), b''
  match kind:
    case 'flip':
      gone, new = 1, bytes(byte ^ 1 << values[0] for byte in data[at : at + 1])
    case 'number':
      form, value = values
      gone = struct.calcsize(form)
      new = struct.pack(form, value % 2 ** (8 * gone))
    case 'text':  # in place of a number that is written out
      found = list(re.finditer(rb'-?\d+', data[: 2**16])) or [re.match(b'', data)]
      match = found[int(place * len(found))]
      at, gone, new = match.start(), len(match[0]), values[0]
    case 'bytes':
      gone, new = values
    case 'splice':
      other = seeds[values[0]]
      new = other[int(values[1] * len(other)) :]
  return data[:at] + new + data[at + gone :]


def repaired(data):
  """The same with the checksums of a PNG's chunks, or the length of a safetensors header, right."""
  if data[:8] == b'\x89PNG\r\n\x1a\n':
    at = 8
    while at + 12 <= len(data):
      end = at + 8 + int.from_bytes(data[at : at + 4], 'big')
      crc = struct.pack('>I', zlib.crc32(data[at + 4 : end]))
      data, at = data[:end] + crc + data[end + 4 :], end + 4
  elif data[8:9] == b'{':
    try:
      _, end = json.JSONDecoder().raw_decode(data[8:].decode('latin-1'))
    except (ValueError, RecursionError):
      return data
    data = struct.pack('<Q', end) + data[8:]
  return data


@pytest.mark.parametrize(('what', 'seeds'), [('photos', photos), ('weights', networks)])
def test_mutated_files_are_read_or_refused(what, seeds, tmp_path):
  hypothesis.configuration.set_hypothesis_home_dir(tmp_path)  # not in the working folder
  made = seeds()
  child = Child(what, tmp_path)
  for name, data in made.items():
    child.read(name, data)
  assert what == 'weights' or child.outcomes == {'read': len(made)}
  strategy = st.tuples(
    st.sampled_from(sorted(made)),
    st.lists(edits(sorted(made)), max_size=6),
    st.booleans(),
    st.integers(0, 2**16),
  )
  end = time.monotonic() + SECONDS

  def read(case):
    name, changes, repair, choice = case
    data = made[name]
    for edit in changes:
      data = changed(data, edit, made)
    if time.monotonic() < end or child.failed:  # Hypothesis repeats a failure
      child.read(name, repaired(data) if repair else data, choice)

  # In rounds, because Hypothesis is bounded by examples and not by time. What fails is kept as it
  # is: making it smaller takes a new child each time.
  settings = hypothesis.settings(
    max_examples=500,
    phases=[hypothesis.Phase.generate],
    deadline=None,
    database=None,
    suppress_health_check=hypothesis.HealthCheck,
  )
  for round_ in itertools.count():
    if time.monotonic() >= end:
      break
    hypothesis.seed(round_)(settings(hypothesis.given(strategy)(read)))()
  child.close()
  print(f'{what}: {dict(child.outcomes)} in {SECONDS:.0f} s, peak {child.peak} MB')
  assert child.outcomes.total() > len(made)


if __name__ == '__main__':
  serve({'photos': read_photo, 'weights': read_weights}[sys.argv[1]])
