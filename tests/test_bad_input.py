"""Bad input of every kind: exit status 2, one line that says what, where and what to do, and
nothing left behind. The program is run as a person runs it, on real files.
"""

import importlib.util
import io
import json
import os
import pathlib
import pickle
import re
import shutil
import struct
import zipfile
import zlib

import numpy as np
import onnx
import program
import pytest
from PIL import Image
from safetensors.numpy import save_file
from tfds_set import tfds_set

from googlenet_jax import checkpoint, weights
from googlenet_jax.weights.description import FORMAT

SMALL = ['--config.model.width=0.1', '--config.model.stem=compact', '--config.model.aux_heads=()']
RUN = [
  '--config=configs/lenet5.py',
  '--config.dataset.train=train[:8]',
  '--config.dataset.validation=',
  '--config.dataset.test=',
  '--config.train.batch_size=4',
  '--config.train.duration=1 steps',
  '--config.schedule.warmup=0 epochs',
]


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
  """Workdir of a run of one step."""
  workdir = tmp_path_factory.mktemp('finished') / 'run'
  done = program.run(*RUN, f'--workdir={workdir}')
  assert done.returncode == 0, done.stderr
  return workdir


def jpeg():
  buffer = io.BytesIO()
  Image.effect_noise((64, 64), 50).save(buffer, 'JPEG')
  return buffer.getvalue()


def jpeg_of(width, height):
  """A JPEG whose header claims another size."""
  data = bytearray(jpeg())
  at = data.index(b'\xff\xc0') + 5
  data[at : at + 4] = struct.pack('>HH', height, width)
  return bytes(data)


def png_of(width, height):
  """A PNG of some bytes, of any size that is claimed."""
  chunks = (
    (b'IHDR', struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)),
    (b'IDAT', zlib.compress(bytes(100))),
    (b'IEND', b''),
  )
  return b'\x89PNG\r\n\x1a\n' + b''.join(
    struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
    for kind, data in chunks
  )


def photos(path, data=None, each=2):
  for name in ('a', 'b'):
    (path / name).mkdir(parents=True)
    for i in range(each):
      (path / name / f'{i}.jpg').write_bytes(jpeg() if data is None else data)


def network(path, change=lambda arrays: None, **described):
  """Weights of ours, of zeros, and how they describe themselves."""
  fields = {'width': 0.1, 'stem': 'compact', 'norm': 'none', 'aux_heads': ()}
  description = weights.Description('googlenet', fields, weights.Preprocessing(16, 18), ('a', 'b'))
  wanted = weights.expected(description.create(), description.image_shape)
  arrays = {'/'.join(name): np.zeros(x.shape, x.dtype) for name, x in wanted.items()}
  change(arrays)
  text = json.dumps(json.loads(description.to_json()) | described)
  save_file(arrays, path, {weights.KEY: text})


def other_tensors(arrays):
  del arrays['params/conv1/kernel']
  arrays['params/new/kernel'] = np.zeros(3, np.float32)
  arrays['params/linear/bias'] = np.zeros(4, np.float32)


def nan(arrays):
  arrays['params/conv1/kernel'][0, 0, 0, 0] = np.nan


def graph(path, **parts):
  model = onnx.ModelProto(graph=onnx.GraphProto(name='g', **parts), ir_version=8)
  path.write_bytes(model.SerializeToString())


def tensor(name, outside=True):
  if not outside:
    return onnx.numpy_helper.from_array(np.zeros(1, np.float32), name)
  made = onnx.TensorProto(name=name, dims=[1], data_type=onnx.TensorProto.FLOAT)
  made.data_location = onnx.TensorProto.EXTERNAL
  made.external_data.add(key='location', value='../../etc/hostname')
  return made


CONV1 = 'conv1/7x7_s2_w_0'  # a name of the published file


class Hostile:
  """Makes a file when it is unpickled as `pickle` does."""

  def __init__(self, path):
    self.path = path

  def __reduce__(self):
    return pathlib.Path.touch, (self.path,)


def sparse(name):
  return onnx.SparseTensorProto(values=tensor(name, outside=False), dims=[64, 3, 7, 7])


def hostile(path, packed):
  """A pickle that makes a file, as torch wrote them once or packed as it does today."""
  data = pickle.dumps({CONV1: Hostile(path.parent / 'touched')}, protocol=2)
  if not packed:
    path.write_bytes(data)
    return
  with zipfile.ZipFile(path, 'w') as file:
    file.writestr('archive/data.pkl', data)
    file.writestr('archive/version', '3\n')


def rewrite(name, **fields):
  """A change of a workdir: other values in one of its JSON files."""

  def change(workdir):
    (path,) = workdir.glob(name)
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))

  return change


# What the cases name in braces, made in a folder of their own: `write(path)`.
FILES = {
  'broken.py': lambda path: path.write_text('def get_config(:\n'),
  'empty.py': lambda path: path.write_text('def get_config():\n  pass\n'),
  'unknown.py': lambda path: path.write_text(
    'from googlenet_jax import schema\n\n\ndef get_config():\n'
    '  c = schema.config()\n  c.optimizer.lrr = 1.0\n  return c\n'
  ),
  'none': lambda path: None,
  # Sets.
  'photos': photos,
  'texts': lambda path: photos(path, b'a text', each=20),
  'alone': lambda path: (path / 'a').mkdir(parents=True),
  'good_set': tfds_set,
  'label_set': lambda path: tfds_set(path, labels=(0, 1, 3)),
  'negative_set': lambda path: tfds_set(path, labels=(0, -1, 2)),
  'empty_set': lambda path: tfds_set(path, labels=()),
  'rgba_set': lambda path: tfds_set(path, channels=4),
  'gray_set': lambda path: tfds_set(path, channels=1),
  'deep_set': lambda path: tfds_set(path, channels=1, dtype=np.uint16),
  'boxes_set': lambda path: tfds_set(path, feature='boxes'),
  'torn_set': lambda path: os.truncate(next(tfds_set(path).glob('*.array_record*')), 100),
  'shardless_set': lambda path: next(tfds_set(path).glob('*.array_record*')).unlink(),
  'infoless_set': lambda path: (tfds_set(path) / 'dataset_info.json').write_text('{'),
  'featureless_set': lambda path: (tfds_set(path) / 'features.json').unlink(),
  # Photos.
  'fine.jpg': lambda path: path.write_bytes(jpeg()),
  'truncated.jpg': lambda path: path.write_bytes(jpeg()[:-500]),
  'zero.jpg': lambda path: path.write_bytes(b''),
  'bomb.jpg': lambda path: path.write_bytes(jpeg_of(65_500, 65_500)),
  'large.jpg': lambda path: path.write_bytes(jpeg_of(9_500, 9_500)),
  'bomb.png': lambda path: path.write_bytes(png_of(60_000, 60_000)),
  'text.jpg': lambda path: path.write_text('a text'),
  'postscript.jpg': lambda path: path.write_text('%!PS-Adobe-3.0 EPSF-3.0\n'),
  'float.tif': lambda path: Image.fromarray(np.ones((8, 8), np.float32)).save(path),
  'folder.jpg': lambda path: path.mkdir(),
  'link.jpg': lambda path: path.symlink_to('nothing.jpg'),
  # Weights.
  'fine.safetensors': network,
  'other.safetensors': lambda path: save_file({'x': np.zeros(2)}, path),
  'tensors.safetensors': lambda path: network(path, other_tensors),
  'nan.safetensors': lambda path: network(path, nan),
  'newer.safetensors': lambda path: network(path, format=FORMAT + 1),
  'field.safetensors': lambda path: network(path, fields={'colour': 1}),
  'size.safetensors': lambda path: network(path, preprocessing={'size': -1}),
  'truncated.safetensors': lambda path: (network(path), os.truncate(path, 20_000)),
  'zero.safetensors': lambda path: path.write_bytes(b''),
  'header.safetensors': lambda path: path.write_bytes(struct.pack('<Q', 2**62) + b'{}'),
  'text.onnx': lambda path: path.write_text('a text'),
  'outside.onnx': lambda path: graph(path, initializer=[tensor(CONV1)]),
  'sparse.onnx': lambda path: graph(path, sparse_initializer=[sparse(CONV1)]),
  'constant.onnx': lambda path: graph(
    path,
    initializer=[tensor(CONV1, outside=False)],
    node=[onnx.helper.make_node('Constant', [], ['conv1/7x7_s2_b_0'], value=tensor('b'))],
  ),
  'huge.onnx': lambda path: graph(
    path, initializer=[onnx.TensorProto(name=CONV1, dims=[2**40, 2**20], data_type=1)]
  ),
  'hostile.pth': lambda path: hostile(path, packed=False),
  'packed.pth': lambda path: hostile(path, packed=True),
}
# Changes of a copy of a finished run, named likewise: `change(workdir)`.
RUNS = {
  'run': lambda workdir: None,
  'newer_network': rewrite('network.json', format=FORMAT + 1),
  'newer_checkpoint': rewrite('checkpoints/*/meta/metadata', format=checkpoint.FORMAT + 1),
  'other_classes': rewrite('network.json', class_names=['a', 'b']),
  'no_checkpoint': lambda workdir: shutil.rmtree(workdir / 'checkpoints'),
  'torn_config': lambda workdir: os.truncate(workdir / 'config.json', 40),
  'torn_summary': lambda workdir: os.truncate(workdir / 'summary.json', 40),
  'torn_arrays': lambda workdir: [
    os.truncate(path, 1) for path in workdir.glob('checkpoints/*/params/manifest.ocdbt')
  ],
}


def made(name, *others):
  """Arguments that train on a TFDS set."""
  return [
    '--config.dataset.name=made',
    f'--config.dataset.data_dir={{{name}}}',
    '--config.dataset.train=train',
    '--config.dataset.validation=',
    '--config.dataset.test=',
    *others,
  ]


def folder(name, *others):
  """Arguments that train on a folder of photos."""
  return [
    '--config=configs/folder.py',
    f'--config.dataset.data_dir={{{name}}}',
    *(f'--config.dataset.{split}=all' for split in ('train', 'validation', 'test')),
    '--config.dataset.allow_overlap=True',
    *others,
  ]


def photo(mode, name):
  return [f'--mode={mode}', '--weights={fine.safetensors}', f'--images={{{name}}}']


def with_weights(name):
  return ['--mode=predict', f'--weights={{{name}}}', '--images=any.jpg', '--output={none}']


def evaluate(name):
  return [*RUN, '--mode=evaluate', f'--workdir={{{name}}}', '--config.dataset.test=test[:8]']


STREAMED = ['--config.dataset.in_memory=False', '--config.dataset.image_size=8', '--mode=preview']
PHOTOS = {
  'truncated.jpg': 'image file is truncated',
  'zero.jpg': 'it is empty',
  'bomb.jpg': 'it has more than the 89,478,485 pixels that are decoded',
  'large.jpg': 'it has more than the 89,478,485 pixels that are decoded',
  'bomb.png': 'it has more than the 89,478,485 pixels that are decoded',
  'text.jpg': 'it is none of JPEG, PNG, WEBP, BMP, GIF, TIFF',
  'postscript.jpg': 'it is none of JPEG, PNG, WEBP, BMP, GIF, TIFF',
  'float.tif': 'its gray values do not run from 0, black, to 255 or 65535, white',
  'folder.jpg': 'Is a directory',
  'link.jpg': 'No such file or directory',
}
TORCH = 'more than tensors' if importlib.util.find_spec('torch') else 'reading it needs PyTorch'

# What is given, and what the line says.
CASES = {
  'flags': [
    (['--config.optimizer.lrr=1'], 'config.optimizer.lr?'),
    (['--config.optimiser.lr=1'], 'config.optimizer.lr?'),
    (['--config.epochs=3'], 'config.epochs: no such field'),
    (['--config.optimizer.lr=fast'], 'could not convert'),
    (['--config.train.batch_size=1.5'], 'invalid literal'),
    (['--config.augment.flip=maybe'], 'Non-boolean'),
    (['--mode=fly'], 'train'),
    (['--modus=train'], 'modus'),
    (['--mode=summarize', '--num_classes=-3'], '--num_classes=-3'),
    (['train'], "'train'"),
    (['--dry_run', '--records=r'], '--records has no effect with --dry_run'),
    (['--mode=find_lr', '--config.eval.patience=2'], 'eval.patience has no effect in'),
    (['--mode=predict'], 'needs --weights'),
    (['--mode=prepare'], 'needs no preparing'),
    (['--weights={fine.safetensors}', '--mode=train'], '--config.init.weights'),
    (['--weights={fine.safetensors}', '--mode=predict'], '--images is empty'),
    (
      [*photo('predict', 'fine.jpg'), '--preprocessing=torchvison_v2'],
      "preprocessing='torchvison_v2': no such name; did you mean torchvision_v2?",
    ),
    (['--mode=evaluate', '--preprocessing=vgg'], '--preprocessing has no effect without --weights'),
    (['--weights={fine.safetensors}', '--mode=export', '--output={none}/a.safetensors'], 'none'),
    ([*photo('predict', 'fine.jpg'), '--output={none}/top.json'], 'give a file, in a folder'),
    (['--mode=summarize', '--images=a.jpg'], '--images has no effect in --mode=summarize'),
    (['--mode=summarize', '--workdir=nothing/here'], 'nothing/here holds no run: train first'),
    (
      ['--mode=summarize', '--compare=vgg16,nin', '--config.model.width=0.5'],
      '--config.model.width has no effect with --compare',
    ),
    (['--output=a.csv'], '--output has no effect in --mode=train, but in predict'),
    (['--compare=vgg16', '--mode=preview'], '--compare has no effect in --mode=preview'),
    (['--config.eval.crops=10'], 'it needs --mode=evaluate or predict with --weights'),
    (['--config.optimizer.name=adam', '--config.optimizer.nesterov=True'], 'optimizer.name=sgd'),
    (['--config.average.name=ema', '--config.average.begin=200%'], 'ends at step 500'),
    (['--config.profile=900:910'], 'has no effect: the training ends at step 500'),
    (
      [*photo('predict', 'fine.jpg'), '--config.dataset.mean=(1.,)'],
      '--config.dataset.mean has no effect in --mode=predict: the weights decide',
    ),
    ([*photo('predict', 'fine.jpg'), '--model=vgg16'], "is of 'googlenet', not 'vgg16': leave the"),
    ([*photo('predict', 'fine.jpg'), '--top=0'], '--top=0: give a number of classes from 1 on, or'),
    (['--mode=evaluate', '--weights={fine.safetensors}', '--config.optimizer.lr=3'], 'no effect'),
    (['--config.init.allow_head=True'], 'needs config.init.weights=FILE'),
    (['--mode=sweep', '--workdir={none}'], '--workdir has no effect in --mode=sweep without --run'),
    (['--mode=sweep', '--minutes=5'], '--minutes has no effect in --mode=sweep without --run'),
    (['--run'], '--run has no effect in --mode=train, but in sweep'),
    (['--mode=report', '--runs={none}', '--workdir={none}'], '--workdir has no effect with --runs'),
    (['--workdir={none}', '--records=a'], 'no effect in --mode=train without --sweep'),
    (['--mode=report', '--config=configs/nin.py'], 'has no sweep()'),
    ([*photo('explain', 'fine.jpg'), '--module=9z'], "no inception module '9z': use one of 3a"),
    ([*photo('explain', 'fine.jpg'), '--label=nobody'], '--label=nobody: no such class'),
  ],
  'configs': [
    (['--config=configs/nothing.py'], 'nothing.py'),
    (['--config={broken.py}'], 'SyntaxError'),
    (['--config={unknown.py}'], 'config.optimizer.lr?'),
    (['--config={empty.py}'], 'ConfigDict'),
    (['--config.optimizer.lr=-1'], 'above 0'),
    (['--config.model.stem=wide'], 'imagenet, cifar, compact'),
    (['--config.seed=-1'], 'config.seed'),
    (['--config.augment.area=(0.5,0.1)'], 'ascending'),
    (['--config.augment.area=(0.1,0.5)'], 'in_memory=False'),
    (['--config.augment.hue=0.1'], 'need RGB'),
    (['--config.augment.extra=("random_erasing", "random_erasing")'], 'is there twice'),
    (['--config.model.name=resnet18', '--config.model.stem=compact'], 'a ResNet takes one of'),
    (['--config.train.sync_batch_norm=True', '--config.model.norm=lrn'], 'norm="batch"'),
    (['--config.schedule.name=piecewise_linear'], 'config.schedule.points is empty'),
    (['--config.init.frozen=("conv",)'], '--config.init.weights=FILE'),
  ],
  'datasets': [
    (['--config.dataset.train=trains'], "no split 'trains': use 'train'"),
    (['--config.dataset.train=train[5:5]'], 'holds no example'),
    (['--config.dataset.test=tests'], "no split 'tests': use 'train'"),
    (['--config.dataset.test=train[1100:]'], 'share examples 1100 to 1200 of train: choose others'),
    (made('good_set', '--config.dataset.test=train[:50%]'), 'share examples 0 to 2 of train'),
    (made('deep_set', *STREAMED), 'has images of uint16: only uint8 is read'),
    (['--config.dataset.name=mnist', '--config.dataset.data_dir={none}'], 'not prepared'),
    (['--config.dataset.name=npz', '--config.dataset.data_dir={none}'], 'needs a .npz file'),
    (['--config=configs/imagenet.py', '--config.dataset.data_dir={none}'], 'ILSVRC2012_img_train'),
    (folder('none'), 'no folder'),
    (folder('photos', '--config.dataset.in_memory=True'), 'dataset.in_memory=False'),
    (['--config.dataset.in_memory=False', '--config.dataset.image_size=8'], 'gives arrays'),
    (folder('alone'), 'one class only'),
    (folder('photos', '--config.dataset.train=all[:0%]'), "'all[:0%]' of"),
    (
      folder('texts', '--mode=preview', '--config.dataset.max_bad_share=0.125'),
      'raise --config.dataset.max_bad_share, which allows 5',
    ),
    (folder('photos', '--config.dataset.classes={broken.py}'), 'does not list 2 of the folders'),
    (made('good_set', '--config.dataset.train=valid'), "no split 'valid' (it has train of 4)"),
    (made('good_set', '--config.dataset.train=train[:9]'), 'incompatible with 4 examples'),
    (made('good_set', '--config.dataset.train=train[:0]'), "split 'train[:0]' holds no example"),
    (made('good_set', '--config.dataset.train=train[:0]', *STREAMED), 'holds no example'),
    (made('empty_set'), "split 'train' holds no example"),
    (made('label_set'), "'train': record 2 has label 3, outside 0..2"),
    (made('negative_set'), "'train': record 1 has label -1, outside 0..2"),
    (made('label_set', *STREAMED), 'train, record 2 has label 3, outside 0..2'),
    (made('rgba_set', '--config.dataset.channels=3'), 'the images have 4 channels, not 1'),
    (made('gray_set', '--config.dataset.mean=(1.,2.,3.)'), 'give 1 value: the images are gray'),
    (made('boxes_set'), 'is no classification set'),
    (made('torn_set'), 'none of the 4 records'),
    (made('shardless_set'), 'it lacks made-train.array_record-00000-of-00001'),
    (made('infoless_set'), 'dataset_info.json is damaged'),
    (made('featureless_set'), 'made/1.0.0 is damaged'),
    (
      ['--config.model.pool_rounding=floor', '--config.model.stem=imagenet'],
      "images of 8x8 pixels are too small for a GoogLeNet with the stem 'imagenet'",
    ),
    (['--config=configs/default.py', '--model=alexnet'], 'images of 8x8 pixels are too small'),
  ],
  'photos': [
    (photo(mode, name), says)
    for mode in ('predict', 'explain')
    for name, says in (PHOTOS | {'folder.jpg': 'no image in it'}).items()
  ],
  'weights': [
    (with_weights('none'), 'no such file'),
    (with_weights('broken.py'), 'must end in one of .safetensors'),
    (with_weights('alone'), 'no workdir of a run'),
    (with_weights('other.safetensors'), "no known network has arrays called 'x'"),
    (
      with_weights('tensors.safetensors'),
      '1 missing (params/conv1/kernel); 1 extra (params/new/kernel); '
      '1 misshapen (params/linear/bias is float32[4], not float32[2])',
    ),
    (with_weights('nan.safetensors'), 'params/conv1/kernel holds values that are not finite'),
    (with_weights('newer.safetensors'), 'newer version of googlenet_jax'),
    (with_weights('field.safetensors'), "has no field 'colour'"),
    (with_weights('size.safetensors'), 'does not describe a network'),
    (with_weights('truncated.safetensors'), 'no usable weights file'),
    (with_weights('zero.safetensors'), 'no usable weights file'),
    (with_weights('header.safetensors'), 'no usable weights file'),
    (with_weights('text.onnx'), 'no usable weights file'),
    (with_weights('outside.onnx'), 'lies in another file, which is not read'),
    (with_weights('sparse.onnx'), 'is sparse'),
    (with_weights('constant.onnx'), 'it holds no arrays'),
    (with_weights('huge.onnx'), 'no usable weights file'),
    (with_weights('hostile.pth'), TORCH),
    (with_weights('packed.pth'), TORCH),
    ([*with_weights('fine.safetensors'), '--config.model.width=0.5'], 'misshapen'),
    (['--config.init.weights={fine.safetensors}'], 'was trained with --config.dataset.mean'),
  ],
  'sweeps and clusters': [
    (['--config=configs/nin.py', '--sweep=0'], 'has no sweep()'),
    (['--sweep=9'], 'the points of sweep() are 0 to 8'),
    (['--sweep=1', '--config.average.decay=0.9'], 'average.decay=0.9 has no effect'),
    (  # whose arms set fields that have no effect in them, as a point may
      ['--config=configs/experiments/waterfall.py', '--sweep=1', '--config.dataset.name=digits'],
      'the images are gray',
    ),
    (['--sweep=1', '--config.seed=3'], '--config.seed contradicts a point of sweep()'),
    (['--config.distributed=on'], 'give --coordinator=HOST:PORT'),
    (['--config.distributed=True'], 'auto, on, off'),
    (['--process_count=2'], 'need --coordinator=HOST:PORT'),
    (['--coordinator=here', '--process_count=2', '--process_index=0'], 'write HOST:PORT'),
    (['--coordinator=here:1', '--config.distributed=off'], 'contradicts'),
    (['--local_device_ids=0'], 'is for one of several'),
    (['--local_device_ids=0,gpu1', '--coordinator=here:1'], '0,gpu1: write numbers of GPUs'),
  ],
  'workdirs': [
    (['--mode=evaluate'], 'holds no checkpoint'),
    (
      ['--mode=evaluate', '--workdir={run}', '--config.eval.split=validation'],
      'config.dataset.validation is empty: name a split',
    ),
    (['--workdir={broken.py}'], 'is a file: give a folder'),
    (['--workdir={broken.py}/run'], 'broken.py is a file: give a folder'),
    ([*photo('explain', 'fine.jpg'), '--workdir={broken.py}'], 'broken.py'),
    ([*RUN, '--workdir={run}', '--config.model.width=2'], 'model.width: None there, 2.0 here'),
    ([*RUN, '--workdir={run}', '--model=nin'], "model.name: 'lenet5' there, 'nin' here"),
    (evaluate('newer_network'), 'newer version of googlenet_jax'),
    (evaluate('newer_checkpoint'), 'newer version of googlenet_jax'),
    (evaluate('other_classes'), 'holds a run of 2 classes'),
    (evaluate('no_checkpoint'), 'holds no checkpoint'),
    ([*RUN, '--workdir={torn_config}'], 'config.json cannot be read'),
    ([*RUN, '--workdir={torn_summary}'], 'summary.json cannot be read'),
    (evaluate('torn_arrays'), 'holds no finished checkpoint'),
    (with_weights('torn_arrays'), 'holds no finished checkpoint'),
    (with_weights('newer_network'), 'newer version of googlenet_jax'),
    (with_weights('newer_checkpoint'), 'newer version of googlenet_jax'),
    (with_weights('no_checkpoint'), 'no workdir of a run'),
  ],
  'devices': [
    (['--config.train.batch_size=50'], 'batch_size=50 does not divide over 4 devices'),
    (['--config.train.batch_size=2'], 'batch_size=2 does not divide over 4 devices'),
    (
      folder('photos', '--config.train.batch_size=4', '--config.augment.mixup=0.2'),
      'gives 4 devices an odd number of images each',
    ),
  ],
}


def with_files(arguments, folder, request):
  """The arguments with paths in place of the names in braces; makes what these name."""
  names = set(re.findall(r'{([\w.]+)}', ' '.join(arguments)))
  for name in names & RUNS.keys():
    shutil.copytree(request.getfixturevalue('finished'), folder / name)
    RUNS[name](folder / name)
  for name in names - RUNS.keys():
    FILES[name](folder / name)
  return [re.sub(r'{([\w.]+)}', rf'{folder}/\1', argument) for argument in arguments]


def contents(root):
  """What lies in a folder, links not followed, but for what Python compiled of a config."""
  return {
    str(path.relative_to(root)): path.read_bytes() if path.is_file() else path.is_symlink()
    for path in root.rglob('*')
    if '__pycache__' not in path.parts
  }


def refused(done):
  """The line that the program ended with."""
  assert done.returncode == 2, done.stderr
  assert done.stderr.startswith('error: ') and done.stderr.count('\n') == 1, done.stderr
  return done.stderr


@pytest.mark.parametrize(
  ('group', 'arguments', 'says'),
  [
    pytest.param(group, *case, id=f'{group}-{i}')
    for group, cases in CASES.items()
    for i, case in enumerate(cases)
  ],
)
def test_bad_input_is_one_line_and_status_2(tmp_path, request, group, arguments, says):
  arguments = with_files(arguments, tmp_path, request)
  modes = ('predict', 'export', 'summarize', 'prepare', 'sweep')  # modes without a workdir
  if not any(re.match(f'--workdir|--mode=({"|".join(modes)})', x) for x in arguments):
    arguments.append(f'--workdir={tmp_path}/made')
  before = contents(tmp_path)
  devices = {'JAX_NUM_CPU_DEVICES': '4'} if group == 'devices' else {}
  assert says in refused(program.run(*arguments, **devices))
  assert contents(tmp_path) == before  # no output, whole or half, and every run as it was


def test_too_many_unreadable_photos(tmp_path, request):
  arguments = folder('texts', *SMALL, '--config.dataset.max_bad_share=0.125', '--workdir={none}')
  done = program.run(*with_files(arguments, tmp_path, request))
  assert re.search(r': \d+ of 40 records cannot be read, like .* which allows 5$', refused(done))
  assert done.stdout.count('cannot be read and is left out') == 6
  assert not list(tmp_path.glob('none/checkpoints/*')) + list(tmp_path.rglob('*.part'))


def test_every_bad_photo_of_a_folder_is_named_with_its_reason(tmp_path):
  for label in 'ab':
    (tmp_path / 'photos' / label).mkdir(parents=True)
    for name in PHOTOS:
      FILES[name](tmp_path / 'photos' / label / name)
  arguments = folder('photos', '--config.dataset.max_bad_share=1.0', '--mode=preview')
  arguments = [argument.format(photos=tmp_path / 'photos') for argument in arguments]
  done = program.run(*arguments, f'--workdir={tmp_path}/made')
  refused(done)
  for label in 'ab':
    for name, says in PHOTOS.items():
      line = f'{label}/{name} cannot be read and is left out'
      (told,) = (x for x in done.stdout.splitlines() if line in x)
      assert says in told
  assert not (tmp_path / 'made').exists()
