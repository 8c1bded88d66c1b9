"""Parts that break their contract are told by name before anything is trained."""

import pytest
from etils import epath

from googlenet_jax import schema, training
from googlenet_jax.errors import InputError

MINE = """
import flax.linen as nn
import jax.numpy as jnp
import optax
from googlenet_jax.models import Outputs


class Array(nn.Module):
  num_classes: int

  @nn.compact
  def __call__(self, images, *, train):
    return nn.Dense(self.num_classes, name='linear')(images.mean((1, 2)))


class Maps(Array):
  @nn.compact
  def __call__(self, images, *, train):
    return Outputs(nn.Dense(self.num_classes, name='linear')(images))


class Net(Array):
  units: int = 4

  @nn.compact
  def __call__(self, images, *, train):
    hidden = nn.Dense(self.units)(images.reshape(len(images), -1))
    return Outputs(nn.Dense(self.num_classes, name='linear')(hidden))


def mean_loss(logits, labels):
  return optax.softmax_cross_entropy(logits, labels).mean()


def loss_by_class(logits, labels):
  return ((logits - labels) ** 2).sum(0)


def hits(logits, labels):
  return (logits.argmax(-1)[:, None] == labels.argmax(-1)[:, None])


class Counts:
  def sums(self, logits, labels):
    return logits.sum()

  def result(self, sums):
    return float(sums)


def flat(learning_rate):
  return optax.stateless(lambda updates, params: {'all': jnp.zeros(3)})


def both():
  return lambda step: jnp.ones(2)


def half(images, keys):
  return images[:, ::2]
"""
METRICS = ('loss', 'top1')


@pytest.fixture
def config(tmp_path, monkeypatch):
  """A run of a minimal network on digits, in a working directory that holds `contracts_mine.py`."""
  (tmp_path / 'contracts_mine.py').write_text(MINE)
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr('sys.path', [*__import__('sys').path])
  c = schema.config()
  schema.update(c, {'model.name': 'contracts_mine:Net', 'dataset.train': 'train[:64]'})
  schema.update(c, {'dataset.test': '', 'train.batch_size': 16, 'train.duration': '2 steps'})
  return c


@pytest.mark.parametrize(
  ('values', 'says'),
  [
    ({'model.name': 'contracts_mine:Array'}, r"Array' returns an array: return models.Outputs\("),
    ({'model.name': 'contracts_mine:Maps'}, r'its logits is \[1, 8, 8, 10\] where \[B, classes\]'),
    ({'model.fields': {'units': 'many'}}, r"config.model.name='contracts_mine:Net': TypeError: "),
    (
      {'train.loss': 'contracts_mine:mean_loss'},
      r"config.train.loss='contracts_mine:mean_loss': its result is \[\] where \[B\] is \[11\]",
    ),
    ({'train.loss': 'contracts_mine:loss_by_class'}, r'its result is \[10\] where \[B\] is \[11\]'),
    ({'train.loss': 'focal', 'train.loss_fields': {'gamma': 'high'}}, "train.loss='focal': Type"),
    (
      {'eval.metrics': (*METRICS, 'contracts_mine:hits')},
      r"eval.metrics: 'hits': its result is \[11, 1\] where \[B\]",
    ),
    ({'eval.metrics': (*METRICS, 'contracts_mine:Counts')}, "eval.metrics: 'Counts': TypeError"),
    ({'optimizer.name': 'contracts_mine:flat'}, 'updates are not of the shapes of the parameters'),
    (
      {'optimizer.name': 'adam', 'optimizer.fields': {'b2': 'high'}},
      r"config.optimizer.name='adam': TypeError: .*\(--debug shows where\)",
    ),
    ({'schedule.name': 'contracts_mine:both'}, r"schedule.name='.*': its result is \[2\] where"),
    (
      {'augment.extra': ('contracts_mine:half',)},
      r"augment.extra: 'contracts_mine:half': its result is \[2, 4, 8, 1\] where \[B, H, W, C\] is",
    ),
  ],
)
def test_what_breaks_its_contract_is_told_and_nothing_is_written(config, tmp_path, values, says):
  schema.update(config, values)
  with pytest.raises(InputError, match=says):
    training.train(config, epath.Path(tmp_path / 'run'))
  assert not (tmp_path / 'run' / 'config.json').exists()


def test_the_parts_as_they_should_be_train(config, tmp_path):
  summary = training.train(config, epath.Path(tmp_path / 'run'))
  assert summary['steps'] == 2 and summary['parameters'] == 64 * 4 + 4 + 4 * 10 + 10
