"""The text of --help: the modes with an example and the flags that count in each."""

import textwrap
from collections.abc import Mapping

EXAMPLES = {
  'train': '--config=configs/cifar10.py --config.dataset.data_dir=DIR --workdir=runs/mine',
  'evaluate': '--mode=evaluate --workdir=runs/mine --config.eval.split=validation',
  'predict': '--mode=predict --weights=runs/mine --images=cat.jpg,holiday/',
  'explain': "--mode=explain --weights=runs/mine --images=cat.jpg --label='tiger cat'",
  'export': '--mode=export --weights=runs/mine --output=network.stablehlo',
  'preview': '--mode=preview --config=configs/folder.py --config.dataset.data_dir=DIR',
  'find_lr': '--mode=find_lr --config=configs/cifar10.py --config.dataset.data_dir=DIR',
  'summarize': '--mode=summarize --compare=alexnet,vgg16,googlenet --plot=costs.png',
  'draw': '--mode=draw --model=inception_v3 --output=inception_v3.svg',
  'prepare': '--mode=prepare --config=configs/cifar10.py --config.dataset.data_dir=DIR',
  'sweep': '--mode=sweep --config=configs/experiments/heads.py --run --minutes=60',
  'report': '--mode=report --config=configs/experiments/heads.py',
}
WIDTH = 100  # characters of a line


def text(about: str, modes: Mapping[str, str], flags: Mapping[str, tuple]) -> str:
  """The help of the program.

  Args:
    about: what it is.
    modes: meaning of each mode.
    flags: default, meaning and modes of each flag; () for all modes.
  """
  lines = [about.strip(), '', 'Modes, each with an example and the flags that count in it:']
  for mode, meaning in modes.items():
    own = [f'--{name}' for name, (_, _, where) in flags.items() if mode in where]
    lines += ['', f'{mode}: {meaning}', f'    python main.py {EXAMPLES[mode]}']
    lines += textwrap.wrap(' '.join(own), WIDTH, initial_indent='    ', subsequent_indent='    ')
  lines += ['', 'Flags:', '']
  lines += _entry('mode', 'one of those above (default train)')
  lines += _entry('config', 'file or name of the config; --help=config lists its fields')
  lines += _entry('config.FIELD', 'value of a field, --config.optimizer.lr=0.05')
  for name, (default, meaning, _) in flags.items():
    shown = '' if default in ('', [], False, 0, -1) else f' (default {default})'
    lines += _entry(name, f'{meaning}{shown}')
  lines += _entry('version', 'the version of this package and of what it rests on')
  lines += _entry('help', 'this; --helpfull adds the fields of a config')
  return '\n'.join(lines)


def _entry(name, meaning):
  head = f'  --{name}'.ljust(22)
  indent = ' ' * 22
  return textwrap.wrap(meaning, WIDTH, initial_indent=head, subsequent_indent=indent)


def version() -> str:
  """The versions that a figure depends on, a line each."""
  from googlenet_jax.run import origin

  versions = origin.versions()
  own = {name: versions.pop(name) for name in ('googlenet_jax', 'python')}
  return '\n'.join(f'{name} {number}' for name, number in (own | versions).items())
