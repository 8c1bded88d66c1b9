"""Sets that come as arrays: the archives of CIFAR's authors, from a local server; .npz files."""

import concurrent.futures
import hashlib
import http.server
import io
import os
import pathlib
import subprocess
import sys
import tarfile
import threading

import numpy as np
import pytest

from googlenet_jax import fetch, weights
from googlenet_jax.data import cifar, datasets, sources, tfds_sets
from googlenet_jax.errors import InputError
from googlenet_jax.weights import remote

CLASSES = ('airplane', 'automobile', 'bird')


# Folder, class names and files of the archives, by cs.toronto.edu/~kriz/cifar.html.
AS_PUBLISHED = {
  'cifar10': (
    'cifar-10-batches-bin',
    'batches.meta.txt',
    {
      'train': [f'data_batch_{i}.bin' for i in (1, 2, 3, 4, 5)],
      'test': ['test_batch.bin'],
    },
  ),
  'cifar100': (
    'cifar-100-binary',
    'fine_label_names.txt',
    {'train': ['train.bin'], 'test': ['test.bin']},
  ),
}


def archive(name, labels):
  """The bytes of an archive as CIFAR's authors have them, and what its records hold."""
  folder, classes, parts = AS_PUBLISHED[name]
  rng = np.random.default_rng(0)
  files, expected = {classes: '\n'.join(CLASSES).encode() + b'\n'}, {}
  for part, names in parts.items():
    images = rng.integers(0, 256, (2 * len(names), 32, 32, 3), dtype=np.uint8)
    expected[part] = images, np.arange(len(images)) % 3
    for i, file in enumerate(names):
      rows = b''
      for j in (2 * i, 2 * i + 1):
        label = int(expected[part][1][j])
        rows += bytes([7] * (labels - 1) + [label]) + images[j].transpose(2, 0, 1).tobytes()
      files[file] = rows
  buffer = io.BytesIO()
  with tarfile.open(fileobj=buffer, mode='w:gz') as tar:
    for file, content in files.items():
      entry = tarfile.TarInfo(f'{folder}/{file}')
      entry.size = len(content)
      tar.addfile(entry, io.BytesIO(content))
  return buffer.getvalue(), expected


class Server(http.server.BaseHTTPRequestHandler):
  """Gives `content`, from where it is asked for.

  Each answer ends after `most` bytes, and tells its length where `told`.
  """

  content, most, asked, told = b'', 0, [], False

  def do_GET(self):
    first = int(self.headers.get('Range', 'bytes=0-')[len('bytes=') : -1])
    type(self).asked.append(first)
    size = len(self.content)
    self.send_response(416 if first >= size else 206 if first else 200)
    if first:
      self.send_header('Content-Range', f'bytes {first}-{size - 1}/{size}')
    if self.told:
      self.send_header('Content-Length', str(size - first))
    self.end_headers()
    self.wfile.write(self.content[first : first + self.most if self.most else None])

  def log_message(self, *_):
    pass


@pytest.fixture
def served(monkeypatch):
  """`(name, content, digest of) -> `: a server that has an archive under its published name."""
  monkeypatch.setattr(Server, 'asked', [])
  monkeypatch.setattr(Server, 'most', 0)
  server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Server)
  threading.Thread(target=server.serve_forever, daemon=True).start()

  def serve(name, content, published=None):
    monkeypatch.setattr(Server, 'content', content)
    published = published or content
    url = f'http://127.0.0.1:{server.server_port}/{cifar.ARCHIVES[name].file.name}'
    digest = hashlib.sha256(published).hexdigest()
    file = fetch.Published(url, len(published), digest)
    monkeypatch.setitem(cifar.ARCHIVES, name, cifar.ARCHIVES[name]._replace(file=file))

  yield serve
  server.shutdown()


@pytest.mark.parametrize(('name', 'labels'), [('cifar10', 1), ('cifar100', 2)])
def test_the_authors_archive_is_fetched_once_and_read(served, monkeypatch, tmp_path, name, labels):
  content, expected = archive(name, labels)
  served(name, content)
  monkeypatch.setattr(cifar, 'SIZES', {part: len(x) for part, (x, _) in expected.items()})
  for part, (images, of) in expected.items():
    made = datasets.load(name, part, data_dir=str(tmp_path), in_memory=True)
    np.testing.assert_array_equal(made.images, images)
    np.testing.assert_array_equal(made.labels, of)
    assert (made.class_names, made.source) == (CLASSES, cifar.ARCHIVES[name].file.name)
  tail = datasets.load(name, 'train[50%:]', data_dir=str(tmp_path), in_memory=True)
  np.testing.assert_array_equal(tail.images, expected['train'][0][len(expected['train'][0]) // 2 :])
  assert tail.digest().startswith(f'{tail.source}:')
  both = datasets.load(name, 'train[-1:]+test[:1]', data_dir=str(tmp_path), in_memory=True)
  ends = expected['train'][0][-1], expected['test'][0][0]
  np.testing.assert_array_equal(both.images, ends)
  assert Server.asked == [0]


def test_what_broke_off_goes_on(served, monkeypatch, tmp_path):
  content, expected = archive('cifar10', 1)
  served('cifar10', content)
  monkeypatch.setattr(cifar, 'SIZES', {part: len(x) for part, (x, _) in expected.items()})
  monkeypatch.setattr(Server, 'most', 2000)
  with pytest.raises(InputError, match=r'broke off after 2,000 of .* goes on there'):
    cifar.load('cifar10', 'test', data_dir=str(tmp_path))
  monkeypatch.setattr(Server, 'most', 0)
  made = cifar.load('cifar10', 'test', data_dir=str(tmp_path))
  np.testing.assert_array_equal(made.images, expected['test'][0])
  assert Server.asked == [0, 2000]
  assert [x.name for x in (tmp_path / 'downloads').iterdir()] == ['cifar-10-binary.tar.gz']


def test_a_part_that_is_whole_or_too_long_is_no_dead_end(served, tmp_path):
  content, _ = archive('cifar10', 1)
  served('cifar10', content)
  file, part = cifar.ARCHIVES['cifar10'].file, tmp_path / 'cifar-10-binary.tar.gz.part'
  for there, asked in ((content, []), (content + b'more', [0])):
    part.write_bytes(there)
    Server.asked.clear()
    assert fetch.fetch(file, tmp_path, '').read_bytes() == content
    assert Server.asked == asked
    (tmp_path / file.name).unlink()
  part.write_bytes(content)  # size unknown: the server has nothing more to send
  assert fetch.fetch(file._replace(size=0), tmp_path, '').read_bytes() == content


def test_a_page_in_place_of_the_file_is_refused(served, monkeypatch, tmp_path):
  served('cifar10', b'<html>log in first</html>', published=b'x' * 5000)
  monkeypatch.setattr(Server, 'told', True)
  with pytest.raises(InputError, match=r'cannot be fetched .* 25 bytes there, not 5,000'):
    cifar.load('cifar10', 'test', data_dir=str(tmp_path / 'none'))
  assert not list(tmp_path.rglob('cifar*'))  # the lock stays: others may wait at it


def test_another_file_is_removed(served, tmp_path):
  content, _ = archive('cifar10', 1)
  served('cifar10', content[:-1] + b'x', published=content)
  with pytest.raises(InputError, match='gave another file than the published one'):
    cifar.load('cifar10', 'test', data_dir=str(tmp_path))
  assert not list(tmp_path.rglob('cifar*'))  # the lock stays: others may wait at it


def test_without_a_network_nothing_is_half_written(monkeypatch, tmp_path):
  file = fetch.Published('http://127.0.0.1:9/cifar-10-binary.tar.gz', 1, '')
  monkeypatch.setitem(cifar.ARCHIVES, 'cifar10', cifar.ARCHIVES['cifar10']._replace(file=file))
  with pytest.raises(InputError, match=r'cannot be fetched .*: give --config\.dataset\.data_dir'):
    cifar.load('cifar10', 'test', data_dir=str(tmp_path / 'none'))
  assert not list(tmp_path.rglob('cifar*'))  # the lock stays: others may wait at it


def test_a_prepared_set_comes_first(cifar10_dir):
  made = cifar.load('cifar10', 'test[:100]', data_dir=cifar10_dir)
  assert made.digest() == tfds_sets.load('cifar10', 'test[:100]', cifar10_dir).digest()
  assert not made.source


def test_weights_by_name_are_fetched_once(served, monkeypatch, tmp_path):
  served('cifar10', b'no weights')
  url = cifar.ARCHIVES['cifar10'].file.url.replace('cifar-10-binary.tar.gz', 'made-1a2b.pth')
  digest = hashlib.sha256(b'no weights').hexdigest()[:8]
  monkeypatch.setitem(remote.FILES, 'torchvision', fetch.Published(url, 0, digest))
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  for _ in range(2):
    path = remote.local('torchvision')
    assert path == str(tmp_path / 'googlenet_jax/weights/made-1a2b.pth')
  assert pathlib.Path(path).read_bytes() == b'no weights'
  assert Server.asked == [0]
  with pytest.raises(InputError, match='--weights=torchvision: '):
    weights.load('torchvision')


def test_the_published_file_is_the_one_that_we_know(bvlc):
  assert hashlib.sha256(bvlc.read_bytes()).hexdigest() == remote.FILES['bvlc'].sha256
  assert bvlc.stat().st_size == remote.FILES['bvlc'].size


@pytest.mark.parametrize('names', [('{}_images', '{}_labels'), ('x_{}', 'y_{}')])
def test_arrays_of_an_npz_file(tmp_path, names):
  rng, arrays = np.random.default_rng(0), {}
  for part, count in (('train', 10), ('val', 4), ('test', 5)):
    arrays[names[0].format(part)] = rng.integers(0, 256, (count, 8, 8), dtype=np.uint8)
    arrays[names[1].format(part)] = np.arange(count)[:, None] % 3  # MedMNIST's are [N, 1]
  path = tmp_path / 'made.npz'
  np.savez(path, **arrays)
  made = datasets.load('npz', 'train[:80%]', data_dir=str(path))
  np.testing.assert_array_equal(made.images[..., 0], arrays[names[0].format('train')][:8])
  np.testing.assert_array_equal(made.labels, np.arange(8) % 3)
  assert made.class_names == ('0', '1', '2')
  rest = datasets.load('npz', 'train[70%:]', data_dir=str(path))
  assert sources.shared(made.spans, rest.spans) == 'examples 7 to 8 of train'
  with pytest.raises(InputError, match="no split 'valid': use 'train', 'val', 'test'"):
    datasets.load('npz', 'valid', data_dir=str(path))


class Hub(http.server.BaseHTTPRequestHandler):
  """A hub with one file."""

  content = b''

  def do_HEAD(self):
    found = self.path == '/someone/nets/resolve/main/nin/a.safetensors'
    self.send_response(200 if found else 404)
    self.send_header('Content-Length', str(len(self.content)))
    self.send_header('ETag', f'"{hashlib.sha256(self.content).hexdigest()}"')
    self.send_header('X-Repo-Commit', 40 * 'a')
    if not found:
      self.send_header('X-Error-Code', 'EntryNotFound')
    self.end_headers()

  def do_GET(self):
    self.do_HEAD()
    self.wfile.write(self.content)

  def log_message(self, *_):
    pass


def test_of_many_that_want_one_file_one_fetches_it(served, tmp_path):
  content, _ = archive('cifar10', 1)
  served('cifar10', content)
  file = cifar.ARCHIVES['cifar10'].file
  for i in range(20):  # rounds
    Server.asked.clear()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
      found = list(pool.map(fetch.fetch, 8 * [file], 8 * [tmp_path / f'{i}' / 'new'], 8 * ['']))
    assert {path.read_bytes() for path in found} == {content}
    assert Server.asked == [0]
    assert list((tmp_path / f'{i}' / 'new').iterdir()) == [found[0]]


def test_who_waits_goes_on_where_the_first_broke_off(served, monkeypatch, tmp_path):
  content, _ = archive('cifar10', 1)
  served('cifar10', content)
  monkeypatch.setattr(Server, 'most', 100)
  file = cifar.ARCHIVES['cifar10'].file
  with concurrent.futures.ThreadPoolExecutor(8) as pool:
    runs = [pool.submit(fetch.fetch, file, tmp_path, '') for _ in range(8)]
  assert all('broke off' in str(run.exception()) for run in runs)
  assert Server.asked == list(range(0, 800, 100))


def test_a_file_of_the_hub_is_fetched_and_kept(tmp_path, monkeypatch):
  pytest.importorskip('huggingface_hub')
  monkeypatch.setattr(Hub, 'content', b'weights')
  server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Hub)
  threading.Thread(target=server.serve_forever, daemon=True).start()
  place = f'http://127.0.0.1:{server.server_port}'  # it is read when the package is imported
  environment = {name: x for name, x in os.environ.items() if not name.startswith('HF_')}
  environment |= {'HF_ENDPOINT': place, 'HF_HOME': str(tmp_path)}
  code = """if True:
    import sys
    from googlenet_jax import weights
    from googlenet_jax.weights import remote
    print(remote.local(sys.argv[1]))
    weights.load(sys.argv[1].replace('nin/a', 'b'))
    """
  command = [sys.executable, '-c', code, 'hf://someone/nets/nin/a.safetensors']
  done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
  server.shutdown()
  server.server_close()
  path = pathlib.Path(done.stdout.strip())
  assert path.name == 'a.safetensors' and path.read_bytes() == b'weights', done.stderr
  says = '--weights=hf://someone/nets/b.safetensors: no usable weights file: RemoteEntryNotFound'
  assert says in done.stderr.splitlines()[-1]


def test_a_place_in_the_hub_has_three_parts():
  for path in ('hf://', 'hf://someone', 'hf://someone/nets', 'hf://someone/nets/'):
    with pytest.raises(InputError, match='write hf://OWNER/NAME/FILE'):
      weights.load(path)
