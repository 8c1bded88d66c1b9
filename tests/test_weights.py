"""Weights: torchvision's and ONNX Runtime's numbers, round trips, bad files, and their use."""

import functools
import json
import logging
import pathlib
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import onnx
import optax
import pytest
from etils import epath
from PIL import Image
from safetensors.numpy import load_file, save_file

from configs import default, finetune
from googlenet_jax import experiment, inputs, models, optim, train_state, training, weights
from googlenet_jax.data import boxes, decode, folder
from googlenet_jax.errors import InputError
from googlenet_jax.run import score
from googlenet_jax.tools import multicrop, predict
from googlenet_jax.weights import export, published
from googlenet_jax.weights.published import googlenet
from tests import networks
from tests.reference import torchvision_googlenet as reference

ROOT = pathlib.Path(__file__).resolve().parents[1]
BVLC_MEAN = np.float32([123, 117, 104])


@pytest.fixture(scope='module')
def torchvision_file(tmp_path_factory):
  """A state dict with torchvision's names, as its recipe draws it."""
  model = models.create('googlenet_torchvision')
  layout = next(x for x in published.LAYOUTS if x.model == 'googlenet_torchvision')
  arrays = {}
  for path, array in weights.expected(model, (224, 224, 3)).items():
    axes = {4: (3, 2, 0, 1), 2: (1, 0)}.get(len(array.shape), (0,))
    shape = tuple(array.shape[i] for i in axes)
    arrays[layout.name(path)] = reference.draw(layout.name(path), shape)
  arrays['conv1.bn.num_batches_tracked'] = np.array(0)
  file = tmp_path_factory.mktemp('weights') / 'googlenet.safetensors'
  save_file(arrays, file)
  return file


@pytest.mark.parametrize(
  ('mode', 'early', 'layers'),
  [('evaluation', True, 67), ('training', False, 73), ('training', True, 61)],
)
def test_every_layer_is_torchvisions(torchvision_file, mode, early, layers, monkeypatch):
  if not early:
    monkeypatch.setattr(models.googlenet.GoogLeNet, '_pools_early', lambda *unused: False)
  network = weights.load(str(torchvision_file))
  model = network.model.clone(dropout=0.0, aux_dropout=0.0)
  _, seen = jax.jit(
    lambda variables, images: model.apply(
      variables,
      images,
      train=mode == 'training',
      capture_intermediates=True,
      mutable=['intermediates', 'batch_stats'],
      rngs={'dropout': jax.random.key(0)},
    )
  )(network.variables, reference.images())
  expected = json.loads(reference.PATH.read_text())[mode]
  ours = {theirs: name.split('/') for name, theirs in googlenet.TORCHVISION.items()}
  ours |= {f'inception{name}': [f'inception_{name}'] for name in googlenet.MODULES}
  compared = 0
  for name, layer in expected.items():
    found = seen['intermediates']
    for part in ours[name]:
      found = found[part]
    found = np.asarray(found['__call__'][0])
    if early and mode == 'training' and found.size < np.prod(layer['shape']):
      continue  # it holds the pool that follows
    compared += 1
    error = np.abs(found.ravel()[layer['places']] - layer['samples']).max() / layer['greatest']
    assert list(found.shape) == layer['shape'], name
    assert error <= 1e-4, name
    assert np.linalg.norm(found) == pytest.approx(layer['norm'], rel=1e-4), name
  assert compared == layers


@pytest.mark.parametrize(
  ('name', 'main', 'with_heads'),
  [
    ('googlenet', 6_998_552, 13_378_280),
    ('googlenet_bvlc', 6_998_552, 13_378_280),
    ('googlenet_bn', 7_005_832, 13_385_816),
    ('googlenet_torchvision', 6_624_904, 13_004_888),
  ],
)
def test_parameters_of_the_variants(name, main, with_heads):
  for heads, count in (((), main), (None, with_heads)):
    made = weights.expected(models.create(name, aux_heads=heads), (224, 224, 3))
    assert sum(x.size for path, x in made.items() if path[0] == 'params') == count


def centre_crops(paths):
  choose = functools.partial(boxes.centre_box, resize_shorter=256, size=224)
  return np.stack([decode.crop(path.read_bytes(), choose, 224) for path in paths])


def test_bvlc_is_onnx_runtimes(bvlc, val_photos):
  import onnxruntime

  network = weights.load(str(bvlc))
  assert (network.model.pool_rounding, network.model.aux_heads) == ('floor', ())
  images = centre_crops(sorted(val_photos.glob('*/*'))[::10])
  session = onnxruntime.InferenceSession(str(bvlc), providers=['CPUExecutionProvider'])
  bgr = images[..., ::-1].astype(np.float32) - np.float32([104, 117, 123])
  expected = [session.run(None, {'data_0': x.transpose(2, 0, 1)[None]})[0][0] for x in bgr]
  compiled = jax.jit(lambda x: network.model.apply(network.variables, x, train=False).logits)
  logits = compiled(images - BVLC_MEAN)
  np.testing.assert_allclose(jax.nn.softmax(logits), expected, atol=1e-4)


@pytest.mark.parametrize(
  ('pool_rounding', 'top1', 'top5'), [(None, 0.77, 0.93), ('ceil', 0.785, 0.95)]
)
def test_bvlc_on_the_200_photos(bvlc, val_photos, tmp_path, pool_rounding, top1, top5):
  c = default.get_config()
  c.dataset.name, c.dataset.data_dir, c.dataset.test = 'folder', str(val_photos.parent), 'val'
  c.dataset.train = c.dataset.validation = 'val'
  c.eval.batch_size = 40
  found = multicrop.evaluate(
    c, [weights.load(str(bvlc), pool_rounding=pool_rounding)], epath.Path(tmp_path)
  )
  assert (found['examples'], found['top1'], found['top5']) == (200, top1, top5)


def with_weights(graph):
  """A graph of the onnx package with zeros for its weights, which it leaves to be made."""
  file = pathlib.Path(onnx.__file__).parent / f'backend/test/data/light/light_{graph}.onnx'
  model = onnx.load(file)
  made = {node.output[0]: node for node in model.graph.node if node.op_type == 'ConstantOfShape'}
  arrays = {x.name: onnx.numpy_helper.to_array(x) for x in model.graph.initializer}
  for name, node in made.items():
    zeros = np.zeros(arrays[node.input[0]], np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(zeros, name))
    model.graph.node.remove(node)
  for x in [x for x in model.graph.initializer if x.name.endswith('__SHAPE')]:
    model.graph.initializer.remove(x)
  return model


def set_attributes(node, **attributes):
  kept = [a for a in node.attribute if a.name not in attributes]
  del node.attribute[:]
  node.attribute.extend(kept + [onnx.helper.make_attribute(*x) for x in attributes.items()])


def test_a_bias_of_another_layer(tmp_path):
  model = with_weights('inception_v1')
  one, other = [node for node in model.graph.node if node.op_type == 'Conv'][:2]
  one.input[2], other.input[2] = other.input[2], one.input[2]
  onnx.save(model, tmp_path / 'a.onnx')
  with pytest.raises(InputError, match=r"takes 'conv2/3x3_reduce_b_0', not 'conv1/7x7_s2_b_0'"):
    weights.load(str(tmp_path / 'a.onnx'))


@pytest.mark.parametrize(
  ('attributes', 'pool_rounding'),
  [({}, 'floor'), ({'ceil_mode': 1}, 'ceil'), ({'pads': [0, 0, 1, 1]}, 'ceil'), (None, 'ceil')],
)
def test_the_rounding_of_the_pools_is_the_graphs(tmp_path, attributes, pool_rounding):
  model = with_weights('inception_v1')
  if attributes is None:  # no graph: the rounding of Caffe
    del model.graph.node[:]
  for node in model.graph.node:
    if node.op_type == 'MaxPool' and 2 in onnx.helper.get_node_attr_value(node, 'strides'):
      set_attributes(node, **attributes)
  onnx.save(model, tmp_path / 'a.onnx')
  assert weights.load(str(tmp_path / 'a.onnx')).model.pool_rounding == pool_rounding


def test_round_trips_are_bit_exact(torchvision_file, tmp_path):
  network = weights.load(str(torchvision_file))
  first, second = tmp_path / 'one.safetensors', tmp_path / 'two.safetensors'
  weights.save(str(first), network)
  again = weights.load(str(first))
  assert (again.model, again.description) == (network.model, network.description)
  jax.tree.map(np.testing.assert_array_equal, again.variables, network.variables)
  weights.save(str(second), again)
  assert first.read_bytes() == second.read_bytes()


def small(num_classes=3, seed=0, names=(), **fields):
  """A narrow network with weights, 16 pixels."""
  names = names or tuple(f'class {i}' for i in range(num_classes))
  statistics = weights.Preprocessing(16, 18, (120.0, 110.0, 100.0), (60.0,))
  description = weights.Description(
    'googlenet', {'width': 0.1, 'stem': 'cifar', 'norm': 'batch', **fields}, statistics, names
  )
  return networks.drawn(description, seed)


def written(tmp_path, change=lambda arrays: None, **fields):
  """A file of ours, its arrays changed."""
  path = tmp_path / 'network.safetensors'
  weights.save(str(path), small(**fields))
  arrays = load_file(path)
  change(arrays)
  metadata = {weights.KEY: small(**fields).description.to_json()}
  save_file(arrays, path, metadata)
  return path


def test_a_file_is_loaded_without_what_it_does_not_need(tmp_path):
  code = (
    f'from googlenet_jax import weights\nweights.load({str(written(tmp_path))!r})\n'
    'import sys\nfrom absl import flags\n'
    'print(*sys.modules, *(f"flags:{x}" for x in flags.FLAGS.flags_by_module_dict()))'
  )
  done = subprocess.run(
    [sys.executable, '-c', code], capture_output=True, text=True, check=False, cwd=ROOT
  )
  found = set(done.stdout.split())
  assert {'googlenet_jax.weights.network', 'safetensors'} <= found, done.stderr
  unneeded = ['orbax', 'matplotlib', 'tensorboardX', 'tensorflow_datasets', 'sklearn', 'grain']
  unneeded += ['onnx', 'torch', 'cv2', 'PIL', 'optax', 'ml_collections', 'configs.default']
  assert not found.intersection(unneeded)
  # flax imports absl for its log; no flag is ours.
  assert {x for x in found if x.startswith('flags:')} == {'flags:absl.logging'}


def test_a_published_file_is_traced_once(torchvision_file, monkeypatch):
  traced = []
  abstract = train_state.abstract_variables
  monkeypatch.setattr(
    train_state, 'abstract_variables', lambda *given: traced.append(given) or abstract(*given)
  )
  network = weights.load(str(torchvision_file))
  assert len(traced) == 1  # seconds each
  assert all(isinstance(x, jax.Array) for x in jax.tree.leaves(network.variables))


# As `to_json` wrote it at commit 99aadc1.
FORMAT_1 = """{"model": "googlenet", "fields": {"geometry": "ceil", "width": 0.1, "stem": "cifar",
  "aux_heads": []}, "preprocessing": {"size": 16, "shorter": 18, "mean": [120.0, 110.0, 100.0],
  "std": [60.0], "channels": 3}, "class_names": ["dusk", "noon"], "format": 1}"""


def test_a_description_of_format_1_is_read():
  found = weights.Description.from_json(FORMAT_1, 'it')
  fields = {'pool_rounding': 'ceil', 'width': 0.1, 'stem': 'cifar', 'aux_heads': ()}
  statistics = weights.Preprocessing(16, 18, (120.0, 110.0, 100.0), (60.0,), 3)
  assert found == weights.Description('googlenet', fields, statistics, ('dusk', 'noon'))
  assert found.create().pool_rounding == 'ceil'
  assert weights.Description.from_json(found.to_json(), 'it') == found


def test_a_file_of_format_1_is_loaded(tmp_path):
  network = small(pool_rounding='ceil')
  path = tmp_path / 'network.safetensors'
  weights.save(str(path), network)
  text = network.description.to_json().replace('"format": 2', '"format": 1')
  text = text.replace('pool_rounding', 'geometry').replace('resize_shorter', 'shorter')
  save_file(load_file(path), path, {weights.KEY: text})
  found = weights.load(str(path))
  assert found.description.preprocessing == network.description.preprocessing
  assert found.model == network.model
  jax.tree.map(np.testing.assert_array_equal, found.variables, network.variables)


def wrong_field(path):
  network = small()
  fields = network.description.fields | {'width': 'wide'}
  weights.save(str(path), network._replace(description=network.description._replace(fields=fields)))


def headless(path):
  arrays = {'inception3a.branch1.conv.weight': np.zeros((64, 192, 1, 1), np.float32)}
  save_file(arrays, path)


def of_code(path):
  told = {'format': 2, 'model': 'os:mkdir', 'fields': {'path': 'touched'}, 'preprocessing': {}}
  save_file({'x': np.zeros(2)}, path, {weights.KEY: json.dumps(told | {'class_names': ['a', 'b']})})


class Hostile:
  def __reduce__(self):
    return (pathlib.Path.touch, (pathlib.Path('touched'),))


@pytest.mark.parametrize(
  ('name', 'make', 'says'),
  [
    ('a.safetensors', lambda p: save_file({}, p), 'holds no arrays'),
    ('a.safetensors', lambda p: p.write_bytes(b''), 'no usable weights file'),
    ('a.safetensors', lambda p: p.write_bytes(b'\xff' * 100), 'no usable weights file'),
    ('a.safetensors', lambda p: save_file({}, p, {weights.KEY: '{}'}), 'describe a network'),
    ('a.safetensors', of_code, "'os:mkdir', code that a file may not start"),
    ('a.safetensors', wrong_field, "width='wide': use a number above 0"),
    ('a.safetensors', headless, 'missing'),
  ],
)
def test_unusable_files(tmp_path, monkeypatch, name, make, says):  # more in test_bad_input.py
  monkeypatch.chdir(tmp_path)
  make(tmp_path / name)
  with pytest.raises(InputError, match=says):
    weights.load(str(tmp_path / name))
  assert not (tmp_path / 'touched').exists()


def test_state_dicts_of_torch(torchvision_file, tmp_path, monkeypatch):
  torch = pytest.importorskip('torch', minversion='2.10')
  monkeypatch.chdir(tmp_path)
  arrays = {name: torch.tensor(x) for name, x in load_file(torchvision_file).items()}
  torch.save(arrays, 'good.pth')
  found, expected = weights.load('good.pth'), weights.load(str(torchvision_file))
  jax.tree.map(np.testing.assert_array_equal, found.variables, expected.variables)
  learnt = {name: torch.nn.Parameter(x) for name, x in arrays.items() if x.is_floating_point()}
  parallel = {f'module.{name}': x for name, x in arrays.items()}
  for name, state in (
    ('leaves.PTH', {name: x.clone().requires_grad_() for name, x in learnt.items()}),
    ('parameters.bin', learnt),
    ('checkpoint.pth.tar', {'epoch': 3, 'state_dict': parallel, 'optimizer': {'lr': 0.1}}),
    ('model.pt', {'model': arrays}),
  ):
    torch.save(state, name)
    found = weights.load(name)
    jax.tree.map(np.testing.assert_array_equal, found.variables, expected.variables)
  torch.save({'a': Hostile()}, 'hostile.pth')
  torch.save(torch.nn.Linear(2, 2), 'module.pth')
  torch.save(torch.zeros(2), 'tensor.pth')
  torch.save({'epoch': 3, 'conv1.conv.weight': torch.zeros(2)}, 'number.pth')
  torch.save({3: torch.zeros(2)}, 'index.pth')
  torch.save({'fc.bias': torch.zeros(1).expand(10**5, 10**5)}, 'huge.pth')
  pathlib.Path('cut.pth').write_bytes(pathlib.Path('good.pth').read_bytes()[:10_000])
  for name, says in (
    ('hostile', 'more than tensors'),
    ('module', 'more than tensors'),
    ('tensor', 'holds a Tensor and no state dict'),
    ('number', "is no state dict: it holds 'epoch': int,"),
    ('index', 'is no state dict: it holds 3: Tensor,'),
    ('huge', 'more values than it holds'),
    ('cut', 'no usable weights file'),
  ):
    with pytest.raises(InputError, match=says):
      weights.load(f'{name}.pth')
  assert not pathlib.Path('touched').exists()


def test_the_classes_are_the_files_own(tmp_path):
  with pytest.raises(InputError, match='the number of classes: leave out num_classes=5'):
    weights.load(str(tmp_path / 'a.safetensors'), num_classes=5)


@pytest.mark.parametrize('dtype', [jnp.bfloat16, jnp.dtype('bfloat16'), 'bfloat16'])
def test_a_network_of_bfloat16_is_saved_by_its_name(tmp_path, dtype):
  first, second = tmp_path / 'a.safetensors', tmp_path / 'b.safetensors'
  weights.save(str(first), small())
  network = weights.load(str(first), dtype=dtype, width=np.float64(0.1))
  weights.save(str(second), network)
  again = weights.load(str(second))
  assert again.description.fields['dtype'] == 'bfloat16'
  assert again.description.fields['width'] == 0.1
  for found in (network, again):
    applied = functools.partial(found.model.apply, train=False, capture_intermediates=True)
    _, seen = jax.eval_shape(applied, found.variables, jnp.zeros((1, 16, 16, 3)))
    assert seen['intermediates']['conv1']['__call__'][0].dtype == jnp.bfloat16


def test_a_field_without_a_text_is_not_saved(tmp_path):
  network = small(kernel_init=jax.nn.initializers.zeros)
  with pytest.raises(InputError, match='cannot be stored: give a field by name'):
    weights.save(str(tmp_path / 'a.safetensors'), network)
  assert not list(tmp_path.iterdir())


def test_endings_in_capitals(tmp_path):
  network = small()
  path = export.export(network, str(tmp_path / 'A.SAFETENSORS'))
  jax.tree.map(np.testing.assert_array_equal, weights.load(str(path)).variables, network.variables)
  path = tmp_path / 'A.ONNX'
  path.write_bytes(b'\xff')
  with pytest.raises(InputError, match='no usable weights file'):  # and not its name
    weights.load(str(path))


def test_overrides_are_part_of_what_is_saved(tmp_path):
  path = tmp_path / 'a.safetensors'
  weights.save(str(path), small())
  weights.save(str(path), weights.load(str(path), pool_rounding='ceil', aux_heads=()))
  again = weights.load(str(path))
  assert (again.model.pool_rounding, again.model.aux_heads) == ('ceil', ())


def test_photos_are_classified(two_classes, tmp_path, capsys):
  network = small()
  (tmp_path / 'a').mkdir()
  Image.fromarray(np.full((30, 40), 40_000, np.uint16)).save(tmp_path / 'a/deep.png')
  (tmp_path / 'broken.jpg').write_text('no image')
  images = [str(two_classes / 'dusk'), str(tmp_path / 'broken.jpg'), str(tmp_path / 'a')]
  with pytest.raises(InputError, match='1 of 22 photos'):
    predict.predict([network], images, str(tmp_path / 'out.json'), batch_size=8)
  found = json.loads((tmp_path / 'out.json').read_text())
  assert [pathlib.Path(x['image']).name for x in found] == [
    *(f'{i:02}.jpg' for i in range(20)),
    'deep.png',
  ]
  choose = functools.partial(boxes.centre_box, resize_shorter=18, size=16)
  image = decode.crop((two_classes / 'dusk/07.jpg').read_bytes(), choose, 16)
  image = (image - np.float32([120, 110, 100])) / 60
  expected = jax.nn.softmax(
    network.model.apply(network.variables, image[None], train=False).logits[0]
  )
  for top in found[7]['top']:
    assert top['probability'] == pytest.approx(float(expected[top['label']]), abs=2e-5)
    assert top['class'] == f'class {top["label"]}'
  assert f'{expected.max():.2%}  class {expected.argmax()}' in capsys.readouterr().out


@pytest.mark.parametrize('images', [[], [''], ['empty']])
def test_nothing_to_classify(tmp_path, monkeypatch, images):
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'empty').mkdir()
  with pytest.raises(InputError, match='--images'):
    predict.predict([small()], images)


def test_an_ensemble_averages_probabilities(two_classes, tmp_path):
  fields = {'names': ('dusk', 'noon'), 'modules': {'3a': (8, 4, 8, 4, 8, 8)}, 'aux_heads': ()}
  networks = [small(2, seed, **fields) for seed in (1, 2)]
  c = default.get_config()
  c.dataset.name, c.dataset.data_dir = 'folder', str(two_classes)
  c.dataset.train = c.dataset.validation = c.dataset.test = 'all'
  c.eval.crops = 10
  found = multicrop.evaluate(c, networks, epath.Path(tmp_path))
  records = folder.records(str(two_classes), 'all')
  each = []
  for network in networks:
    views = [
      decode.views(records.read(i)[0], lambda w, h: boxes.test_boxes(w, h, 10, 16, 18), 16)
      for i in range(40)
    ]
    views = np.concatenate([views, np.asarray(views)[..., ::-1, :]], 1)
    views = (views - np.float32([120, 110, 100])) / 60
    logits = network.model.apply(network.variables, views.reshape(-1, 16, 16, 3), train=False)[0]
    each.append(jax.nn.softmax(logits).reshape(40, 10, 2).mean(1))
  labels = np.array([records.read(i)[1] for i in range(40)])
  mean = np.mean(each, 0)
  assert found['loss'] == pytest.approx(-np.log(mean[np.arange(40), labels]).mean(), rel=1e-4)
  assert found['top1'] == (mean.argmax(1) == labels).mean()


@pytest.mark.parametrize('dtype', [np.float16, ml_dtypes.bfloat16])
def test_files_of_half_precision_are_read_as_float32(tmp_path, dtype):
  path, network = tmp_path / 'half.safetensors', small()
  weights.save(str(path), network)
  arrays = {name: x.astype(dtype) for name, x in load_file(path).items()}
  save_file(arrays, path, {weights.KEY: network.description.to_json()})
  found = weights.load(str(path)).variables

  def check(read, saved):
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, np.asarray(saved).astype(dtype).astype(np.float32))

  jax.tree.map(check, found, network.variables)


def test_finetune_config_starts_from_the_network_of_the_weights(two_classes, tmp_path):
  path = tmp_path / 'bvlc.safetensors'
  fields = {'modules': {'3a': (8, 0, 0, 0, 0, 8)}, 'width': 0.1, 'aux_heads': ()}
  statistics = weights.Preprocessing(224, 256, (123.0, 117.0, 104.0), (1.0,))  # BVLC's
  description = weights.Description('googlenet_bvlc', fields, statistics, ('a', 'b', 'c'))
  weights.save(str(path), networks.drawn(description, 0))
  c = finetune.get_config()
  c.dataset.data_dir = str(two_classes)
  c.init.weights, c.init.allow_head = str(path), True
  found = experiment.Run(c, inputs.load(c, 'train')).description
  assert (found.model, found.fields) == ('googlenet_bvlc', fields)
  assert found.class_names == ('dusk', 'noon')


def test_the_trunk_goes_slower():
  params = {name: {'kernel': jnp.ones(3)} for name in ('inception_3a', 'linear', 'aux1')}
  optimizer = optim.create(name='sgd', momentum=0.0, weight_decay=0.5, backbone_lr=0.1)
  updates, _ = optimizer.update(params, optimizer.init(params), params, last=False)
  found = {name: float(x['kernel'][0]) for name, x in updates.items()}
  assert found == pytest.approx({'inception_3a': -0.15, 'linear': -1.5, 'aux1': -1.5})


def test_training_starts_from_weights_with_a_new_head(tiny, two_classes, tmp_path, caplog, capsys):
  caplog.set_level(logging.INFO, 'googlenet_jax')
  path = tmp_path / 'start.safetensors'
  c = tiny
  one = {'modules': c.model.fields.modules.to_dict(), 'stem': c.model.stem}
  start = small(5, aux_heads=(), **one)
  weights.save(str(path), start)
  c.dataset.name, c.dataset.data_dir, c.dataset.in_memory = 'folder', str(two_classes), False
  c.dataset.train, c.dataset.validation, c.dataset.test = 'all[:80%]', '', 'all[80%:]'
  c.dataset.image_size = 16
  c.dataset.mean, c.dataset.std = (120.0, 110.0, 100.0), (60.0,)
  c.augment.pad = 0
  c.model.aux_heads = None
  c.init.weights, c.init.frozen = str(path), ('conv', 'inception')
  c.train.batch_size, c.train.duration, c.average.name = 8, '2 steps', 'none'
  with pytest.raises(InputError, match=r'--config\.init\.allow_head=True'):
    training.train(c, epath.Path(tmp_path / 'refused'))
  c.dataset.mean = (127.5,)
  with pytest.raises(InputError, match='was trained with'):
    training.train(c, epath.Path(tmp_path / 'refused'))
  c.dataset.mean, c.init.allow_head = (120.0, 110.0, 100.0), True
  assert not (tmp_path / 'refused').exists()
  training.train(c, epath.Path(tmp_path / 'run'))
  sizes = {
    x: sum(map(np.size, jax.tree.leaves(start.variables['params'][x])))
    for x in start.variables['params']
  }
  new = sizes.pop('linear') // 5 * 2  # 2 classes in place of 5
  assert f'; new: linear (1 layer, {new:,} parameters)' in caplog.text
  frozen = f'({len(sizes)} layers, {sum(sizes.values()):,} parameters)'
  assert re.search(rf'; frozen: conv1, .*{re.escape(frozen)}', capsys.readouterr().out)
  dog = c.copy_and_resolve_references()  # it keeps the parameters that it began with
  dog.init.frozen, dog.optimizer.name = (), 'optax.contrib:dog'
  state = experiment.Run(dog, inputs.load(dog, 'train')).initial_state()
  kept = optax.tree.get(state.opt_state, 'init_params')
  jax.tree.map(np.testing.assert_array_equal, kept, state.params)
  path.unlink()  # what has begun needs it no more
  c.eval.split = 'train'
  assert score.evaluate(c, epath.Path(tmp_path / 'run'))['examples'] == 35
  after = weights.load(str(tmp_path / 'run'))
  assert after.description.class_names == ('dusk', 'noon')
  for name, kept in start.variables['params'].items():
    same = jax.tree.map(np.array_equal, kept, after.variables['params'][name])
    assert all(jax.tree.leaves(same)) == (name != 'linear'), name
  assert np.abs(after.variables['params']['linear']['bias']).min() > 0  # it has learnt
  c.init.weights, c.init.run, c.train.duration = '', str(tmp_path / 'run'), '3 steps'
  c.model = default.get_config().model  # a branch has the network of its run
  assert training.train(c, epath.Path(tmp_path / 'branch'))['resumed_from_step'] == 2
