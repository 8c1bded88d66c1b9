"""Photos from the command line to their classes: found, computed, written."""

import csv
import io
import json
import os
import pathlib
import subprocess
import sys

import flax.linen as nn
import jax
import numpy as np
import pytest
from etils import epath
from flax.traverse_util import unflatten_dict
from PIL import Image

from configs import default
from googlenet_jax import models, weights
from googlenet_jax.data import boxes, decode, pixels
from googlenet_jax.data import folder as folders
from googlenet_jax.errors import InputError
from googlenet_jax.tools import multicrop, predict, probabilities

NAMES = ('a', 'b', 'c', 'd', 'e', 'f\ng')


SMALL = weights.Preprocessing(16, 18, (120.0,), (60.0,), channels=1)
LARGE = weights.Preprocessing(28, 36, (99.0,), (50.0,))


def network(seed, preprocessing, names=NAMES):
  """A LeNet with weights."""
  description = weights.Description('lenet5', {}, preprocessing, names)
  model, rng = description.create(), np.random.default_rng(seed)
  shapes = weights.expected(model, description.image_shape)
  arrays = {name: 0.3 * rng.normal(size=x.shape).astype(x.dtype) for name, x in shapes.items()}
  variables = {'params': {}, 'batch_stats': {}} | unflatten_dict(arrays)
  return weights.Network(description, model, variables, f'network {seed}')


@pytest.fixture(scope='module')
def networks():
  """Two networks of the same classes that see photos differently."""
  return [network(0, SMALL), network(1, LARGE)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
  """The working directory, a folder for photos."""
  monkeypatch.chdir(tmp_path)
  return tmp_path


def save(path, seed=0):
  coarse = np.random.default_rng(seed).integers(0, 255, (5, 6, 3), np.uint8)
  path.parent.mkdir(exist_ok=True)
  Image.fromarray(coarse).resize((60, 50), Image.Resampling.BICUBIC).save(path)
  return path


def names(images):
  return [path.name for path in predict.find(images)]


def test_no_photo_of_a_folder_vanishes(folder, networks, capsys, caplog):
  save(folder / 'photos/1.png')
  (folder / 'photos/2.HEIC').write_bytes(b'\0\0\0\x18ftypheic')
  (folder / 'photos/3.jpg').symlink_to('nowhere.jpg')
  (folder / 'photos/notes.txt').write_text('no photo')
  save(folder / 'elsewhere/4.png')
  (folder / 'photos/linked').symlink_to(folder / 'elsewhere')
  (folder / 'elsewhere/back').symlink_to(folder / 'photos')  # and round again
  caplog.set_level('INFO', 'googlenet_jax')
  with pytest.raises(InputError, match=r'2 of 4 photos cannot be read: .*2\.HEIC .*none of JPEG'):
    predict.predict(networks[:1], ['photos'], 'top.json')
  found = json.loads((folder / 'top.json').read_text())
  assert [line['image'] for line in found] == ['photos/1.png', 'photos/linked/4.png']
  assert 'photos/3.jpg cannot be read' in caplog.text and 'No such file' in caplog.text
  assert '1 files that are no images left out: photos/notes.txt' in caplog.text


def test_a_comma_in_a_name(folder, monkeypatch):
  for name in ('b.png', 'a, b.png', 'c,d/e.png', 'c.png'):
    save(folder / name)
  assert predict.listed('a, b.png') == ['a, b.png']
  assert predict.listed('c.png,a, b.png,none.png, b.png') == [
    *('c.png', 'a, b.png', 'none.png', 'b.png')
  ]
  assert names(predict.listed('c,d')) == ['e.png']
  monkeypatch.setenv('HOME', str(folder))
  assert predict.listed('~/a, b.png,b.png') == ['~/a, b.png', 'b.png']
  assert predict.listed('') == ['']


@pytest.mark.skipif('AVIF' not in decode.FORMATS, reason='this Pillow has no AVIF')
def test_avif_is_read(folder):
  image = Image.open(save(folder / '1.png'))
  image.save(folder / '1.avif', quality=95)
  assert names(['.']) == ['1.avif', '1.png']
  found = decode.crop((folder / '1.avif').read_bytes(), lambda w, h: (0, 0, w, h), 50)
  wanted = np.asarray(image.resize((50, 50), Image.Resampling.BILINEAR), int)
  assert np.abs(found - wanted).mean() < 4


def expected(network, paths, crops):
  """Softmax averaged over the crops, and their mirror images, from the definitions."""
  size, resize_shorter, mean, std, channels = network.description.preprocessing
  choose = lambda w, h: boxes.test_boxes(w, h, crops, size, resize_shorter)  # noqa: E731
  views = np.concatenate([decode.views(path.read_bytes(), choose, size) for path in paths])
  views = np.stack([views, views[:, :, ::-1]], 1).reshape(-1, size, size, 3)
  views = np.asarray(pixels.gray(views)) if channels == 1 else views
  images = (views - np.float32(mean)) / np.float32(std)
  logits = jax.jit(network.model.apply, static_argnames='train')(
    network.variables, images, train=False
  ).logits
  return jax.nn.softmax(logits).reshape(len(paths), crops, -1).mean(1)


def test_an_ensemble_of_ten_crops_as_json_and_csv(folder, networks, capsys):
  paths = [save(folder / f'{i}.png', i) for i in range(3)]
  wanted = np.mean([expected(network, paths, 10) for network in networks], 0)
  images = [path.name for path in paths]
  found = predict.predict(networks, images, 'top.json', top=None, crops=10)
  assert json.loads((folder / 'top.json').read_text()) == found
  for line, shares in zip(found, wanted, strict=True):
    assert [x['label'] for x in line['top']] == np.argsort(-shares).tolist()
    assert sum(x['probability'] for x in line['top']) == pytest.approx(1, abs=1e-5)
    for x in line['top']:
      assert x['probability'] == pytest.approx(float(shares[x['label']]), abs=1e-5)
      assert x['class'] == NAMES[x['label']]
  assert r'f\ng' in capsys.readouterr().out
  predict.predict(networks, images, 'top.csv', top=2, crops=10)
  header, *rows = csv.reader(io.StringIO((folder / 'top.csv').read_text(), newline=''))
  assert header == ['image', 'rank', 'class', 'label', 'probability']
  assert [row[:2] for row in rows] == [[f'{i}.png', rank] for i in range(3) for rank in '12']
  assert [float(row[4]) for row in rows[:2]] == [x['probability'] for x in found[0]['top'][:2]]


def test_networks_of_other_classes_and_other_endings_are_refused(folder, networks):
  save(folder / '1.png')
  with pytest.raises(InputError, match='network 2 has other classes than network 0'):
    predict.predict([networks[0], network(2, SMALL, NAMES[::-1])], ['1.png'])
  with pytest.raises(InputError, match=r'top\.txt must end in one of \.json, \.csv'):
    predict.predict(networks, ['1.png'], 'top.txt')


class Own(nn.Module):
  """A network of a user's, with a field that has no hash."""

  options: dict

  @nn.compact
  def __call__(self, images, *, train):
    features = nn.Dense(**self.options)(images.mean((1, 2)))
    return models.Outputs(nn.Dense(len(NAMES))(features))


def test_what_is_compiled_is_kept(folder, networks):
  save(folder / '1.png')
  own = Own({'features': 2})
  initialised = jax.jit(own.init, static_argnames='train')
  variables = initialised(jax.random.key(0), np.zeros((1, 16, 16, 1)), train=False)
  for network in (networks[0], networks[0]._replace(model=own, variables=variables)):
    predict.predict([network], ['1.png'])
    before = probabilities._compiled.cache_info()
    predict.predict([network], ['1.png'])
    after = probabilities._compiled.cache_info()
    assert (after.misses, after.hits) == (before.misses, before.hits + 1)


def test_names_of_photos_are_any_bytes(folder, networks, capsys):
  name = os.fsdecode(b'new\nline \xe9.png')
  save(folder / '1.png').rename(folder / name)
  predict.predict(networks[:1], ['.'], 'top.csv', top=1)
  assert capsys.readouterr().out.splitlines()[0] == 'new\\nline \\udce9.png'
  start = b'image,rank,class,label,probability\n"new\nline \xe9.png",1,'
  assert (folder / 'top.csv').read_bytes().startswith(start)
  pathlib.Path(name).write_bytes(b'')
  with pytest.raises(InputError, match=r'new\\nline'):
    predict.predict(networks[:1], [name])


def test_a_name_is_for_files_that_have_none(folder, networks):
  weights.save('a.safetensors', networks[0])
  assert weights.load('a.safetensors', model='lenet5').description.model == 'lenet5'
  with pytest.raises(InputError, match="it is of 'lenet5', not 'nin': leave the"):
    weights.load('a.safetensors', model='nin')


def test_a_test_by_crops_leaves_the_records_of_others_as_they_are(folder, two_classes):
  config = default.get_config()
  config.dataset.name, config.dataset.data_dir = 'folder', str(two_classes)
  config.dataset.train = config.dataset.validation = config.dataset.test = 'all'
  some, others = (network(seed, SMALL, ('dusk', 'noon')) for seed in (0, 1))
  for networks in ([some], [others], [some], [some, others]):
    multicrop.evaluate(config, networks, epath.Path('run'))
  records = [
    json.loads((folder / f'run/evaluation_test_1_crops{number}.json').read_text())
    for number in ('', '_2', '_3')
  ]
  assert [len(record['about']['networks']) for record in records] == [1, 1, 2]
  first, second, both = (record['about']['networks'] for record in records)
  assert both == first + second and first[0]['digest'] != second[0]['digest']
  assert first[0]['preprocessing'] == {**SMALL._asdict(), 'mean': [120.0], 'std': [60.0]}
  assert records[0]['about']['dataset'] == {
    **{'name': 'folder', 'data_dir': str(two_classes), 'split': 'test', 'examples_of': 'all'},
    'digest': folders.records(str(two_classes), 'all').digest(),
  }
  assert len(list((folder / 'run').iterdir())) == 3


def test_a_first_photo_waits_for_no_import_of_training(folder, networks):
  weights.save('a.safetensors', networks[0])
  save(folder / '1.png')
  code = (
    'import atexit, sys\natexit.register(lambda: print(*sys.modules))\n'
    'from googlenet_jax import cli\ncli.main()'
  )
  arguments = ['--mode=predict', '--weights=a.safetensors', '--images=1.png', '--top=1']
  environment = os.environ | {'PYTHONPATH': str(pathlib.Path(__file__).resolve().parents[1])}
  done = subprocess.run(
    [sys.executable, '-c', code, *arguments],
    capture_output=True,
    text=True,
    check=True,
    env=environment,
  )
  name, best, modules = done.stdout.splitlines()
  assert name == '1.png' and best.endswith('%  e')
  assert not {'matplotlib', 'orbax', 'grain', 'googlenet_jax.training'} & set(modules.split())
