"""The package as a library: configs, runs on the caller's arrays, networks that classify."""

import concurrent.futures
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image

import googlenet_jax as gj
from googlenet_jax import weights
from googlenet_jax.errors import InputError
from googlenet_jax.run import signals
from tests import networks

SMALL = {
  'train.duration': '2 steps',
  'train.batch_size': 16,
  'schedule.warmup': '0 epochs',
  'eval.batch_size': 16,
}


def split(seed, count=24, classes=3):
  """Noise, labelled in turn."""
  pixels = np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 1), np.uint8)
  return pixels, np.arange(count) % classes


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """A workdir, and what training on arrays returned."""
  workdir = tmp_path_factory.mktemp('run') / 'of_arrays'
  data = {'train': split(0), 'validation': split(1), 'test': split(2)}
  return workdir, gj.train(gj.config('lenet5', SMALL), workdir, data=data)


def test_config_by_name_and_by_path(tmp_path):
  config = gj.config('digits', {'train.duration': '2 epochs', 'model.stem': 'compact'})
  assert (config.train.duration, config.model.stem) == ('2 epochs', 'compact')
  assert config.dataset.train == 'train[:1200]'
  path = tmp_path / 'mine.py'
  path.write_text(
    'from googlenet_jax.configs import digits\n'
    'def get_config():\n  c = digits.get_config()\n  c.seed = 7\n  return c\n'
  )
  assert gj.config(str(path)).seed == 7


def test_a_folder_does_not_hide_the_config_of_its_name(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'cifar10').mkdir()
  assert gj.config('cifar10').dataset.name == 'cifar10'


@pytest.mark.parametrize(
  ('arguments', 'says'),
  [
    (('digit',), 'did you mean digits'),
    (('digits', {'optimizer.lrr': 1.0}), 'did you mean config.optimizer.lr'),
    (('digits', {'train.batch_size': 'many'}), 'config.train.batch_size='),
    (('digits', {'train.batch_size': 0}), 'at least 1'),
    (('nothing/there.py',), 'nothing/there.py'),
  ],
)
def test_config_that_is_refused(arguments, says):
  with pytest.raises(InputError, match=says):
    gj.config(*arguments)


def test_a_run_on_arrays(run):
  workdir, summary = run
  assert summary['steps'] == 2 and 0 <= summary['test_top1'] <= 1
  data = {'test': split(2)}
  scores = gj.evaluate(workdir, data=data)
  assert scores['examples'] == 24
  assert scores['top1'] == pytest.approx(summary['test_top1'])
  validated = gj.evaluate(workdir, {'eval.split': 'validation'}, data={'validation': data['test']})
  assert validated['loss'] == pytest.approx(scores['loss'], rel=1e-6)
  probabilities, names = gj.load(workdir).predict(data['test'][0])
  assert names == ('0', '1', '2')
  top1 = (probabilities.argmax(1) == data['test'][1]).mean()
  assert top1 == pytest.approx(summary['test_top1'])


def test_images_of_another_shape_are_refused(run):
  workdir, _ = run
  images, labels = split(2)
  with pytest.raises(InputError, match=r'images of \[32, 32, 3\]: .* on \[32, 32, 1\]'):
    gj.evaluate(workdir, data={'test': (np.repeat(images, 3, axis=3), labels)})


def test_a_run_goes_on_only_with_the_same_arrays(run):
  workdir, _ = run
  longer = gj.config('lenet5', SMALL | {'train.duration': '3 steps'})
  with pytest.raises(InputError, match=r'train\.duration'):
    gj.train(longer, workdir, data={'train': split(0), 'validation': split(1), 'test': split(2)})


@pytest.mark.parametrize(
  ('data', 'says'),
  [
    ({'test': split(0)}, "no 'train'"),
    ({'train': split(0), 'tests': split(0)}, 'tests'),
    ({'train': (split(0)[0].astype(np.float32), split(0)[1])}, 'float32'),
    ({'train': (split(0)[0], split(0)[1][:-1])}, r'labels are int64\[23\]'),
    ({'train': (split(0)[0], split(0)[1] - 1)}, 'label -1'),
    ({'train': gj.Split(*split(0), np.ones(24, bool), ('a', 'b'))}, 'label 2'),
  ],
)
def test_data_that_is_refused(data, says, tmp_path):
  with pytest.raises(InputError, match=says):
    gj.train(gj.config('lenet5', SMALL), tmp_path / 'run', data=data)
  assert not (tmp_path / 'run').exists()


def test_images_of_four_channels_are_refused(tmp_path):
  images, labels = split(0)
  data = {'train': (np.resize(images, (len(images), 8, 8, 4)), labels)}
  with pytest.raises(InputError, match='images of 4 channels'):
    gj.train(gj.config('digits', SMALL), tmp_path / 'run', data=data)
  assert not (tmp_path / 'run').exists()


def test_in_a_thread_signals_are_left_to_the_caller():
  before = signal.getsignal(signal.SIGTERM)
  with concurrent.futures.ThreadPoolExecutor() as pool, signals.Signals() as caught:
    pool.submit(caught.begin).result()
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize('asked', [True, False])
def test_a_signal_that_stops_nothing_goes_to_who_was_there_before(asked):
  seen = []
  before = signal.signal(signal.SIGTERM, lambda signum, frame: seen.append(signum))
  try:
    with signals.Signals() as caught:
      caught.begin()
      signal.raise_signal(signal.SIGTERM)
      assert not asked or caught.asked() == signal.SIGTERM
      assert not seen
    assert seen == ([] if asked else [signal.SIGTERM])
  finally:
    signal.signal(signal.SIGTERM, before)


def test_features_are_what_the_network_computes(run):
  network, images = gj.load(run[0]), split(2, 5)[0]
  features = network.features(images, 'conv1', batch_size=2)
  assert features.pooled.shape == (5, 84)
  last = jax.tree.map(np.asarray, network.variables['params']['fc5'])
  logits = features.pooled @ last['kernel'] + last['bias']
  wanted = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
  np.testing.assert_allclose(network.predict(images).probabilities, wanted, atol=1e-5)
  with pytest.raises(InputError, match="no layer 'conv0'; did you mean conv"):
    network.features(images, 'conv0')


def test_features_have_the_names_of_the_paper(tmp_path):
  modules = {'3a': (8, 4, 8, 4, 8, 8)}
  fields = {'modules': modules, 'width': 0.1, 'norm': 'batch', 'stem': 'cifar', 'aux_heads': ()}
  statistics = weights.Preprocessing(
    size=8, resize_shorter=8, mean=(77.9,), std=(95.9,), channels=1
  )
  description = weights.Description('googlenet', fields, statistics, ('a', 'b', 'c'))
  weights.save(str(tmp_path / 'w.safetensors'), networks.drawn(description))
  network = gj.load(tmp_path / 'w.safetensors')
  found = network.features(split(2, 5)[0], 'inception_3a', 'inception_3a/conv_1x1')
  module, branch = found.activations.values()
  assert module.shape[:3] == (5, 8, 8) and found.pooled.shape[0] == 5
  # A module's first channels are its first branch's.
  np.testing.assert_array_equal(module[..., : branch.shape[3]], branch)
  assert branch.any()


def test_files_and_pixels_give_the_same(run, tmp_path):
  network, images = gj.load(run[0]), split(3, 3)[0]
  for i, image in enumerate(images):
    Image.fromarray(image.squeeze()).save(tmp_path / f'{i}.png')
  from_pixels = network.predict(images).probabilities
  np.testing.assert_array_equal(network.predict(tmp_path).probabilities, from_pixels)
  np.testing.assert_allclose(network.predict(images[1]).probabilities[0], from_pixels[1], atol=1e-6)
  (tmp_path / '1.png').write_bytes(b'no image')
  with pytest.raises(InputError, match=r'1\.png'):
    network.predict(tmp_path)
  with pytest.raises(InputError, match=r'images of float64 \[2, 8, 8, 1\]: use uint8'):
    network.predict(np.zeros((2, 8, 8, 1)))


def test_names_stay_what_they_are_when_modules_are_imported():
  import googlenet_jax.cli
  import googlenet_jax.training

  assert googlenet_jax.training and googlenet_jax.cli
  assert all(callable(getattr(gj, name)) for name in gj.__all__)
  with pytest.raises(AttributeError, match='nothing'):
    _ = gj.nothing


@pytest.mark.parametrize(('first', 'warned'), [('jax.devices()', True), ('pass', False)])
def test_the_flag_for_cpus_is_set_in_time_or_told(first, warned):
  code = (
    f'import jax, os; os.environ.pop("XLA_FLAGS", None); {first}; import googlenet_jax as gj; '
    'gj.create; print(os.environ["XLA_FLAGS"])'
  )
  done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
  assert 'individual_convolution' in done.stdout
  assert ('jax was used before' in done.stderr) == warned
