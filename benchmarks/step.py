"""A training step, and inference: this project, a plain Flax module and PyTorch, in turn.

    pip install -r benchmarks/requirements.txt
    python -m benchmarks.step --case=training|inference|cifar10 [--json=FILE]

`training` and `inference`: torchvision's GoogLeNet (batch norm, no auxiliary heads) at 224x224,
batch 32, float32, PyTorch's in channels-last. `cifar10`: the network of `configs/cifar10.py`,
training, batch 128. All with SGD. Ours is the step of the training loop without augmentation:
shuffling, normalisation, loss, gradients, optimizer, averages and metrics; the others' have neither
shuffling nor normalisation, averages nor metrics. Each runs in a process of its own on all cores.
The second run of this command is the one to read memory from: it finds the programs compiled.
About ten minutes each on two cores.
"""

import os
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import app, flags

from benchmarks import interleave, machine, peers
from benchmarks.noise import workload
from configs import cifar10, default
from googlenet_jax import models, startup
from googlenet_jax.models.googlenet import MODULES

LR, MOMENTUM = 0.01, 0.9


class Case(NamedTuple):
  """What is compared."""

  train: bool
  size: int  # pixels
  batch: int
  classes: int
  network: dict  # fields of the peers


IMAGENET = {'stem': 'imagenet', 'width': 1.0, 'kernel_5x5': 3, 'modules': MODULES}
CIFAR = {'stem': 'compact', 'width': cifar10.WIDTH, 'kernel_5x5': 5, 'modules': cifar10.MODULES}
CASES = {
  'training': Case(True, 224, 32, 1000, IMAGENET),
  'inference': Case(False, 224, 32, 1000, IMAGENET),
  'cifar10': Case(True, 32, 128, 10, CIFAR),
}

CASE = flags.DEFINE_enum('case', 'training', list(CASES), 'what is compared')
ROUNDS = flags.DEFINE_integer('rounds', 10, 'rounds of each')
STEPS = flags.DEFINE_integer('steps', 0, 'steps in a round; 0 for 2, or 10 with cifar10')
JSON = flags.DEFINE_string('json', '', 'file for the figures')


def _batch(case: Case):
  rng = np.random.default_rng(0)
  images = rng.standard_normal((case.batch, case.size, case.size, 3), dtype=np.float32)
  return images, rng.integers(0, case.classes, case.batch)


def ours(case: Case):
  """The step of the training loop, or the network's logits."""
  startup.prepare()
  keep_compiled()
  config = cifar10.get_config() if case.size == 32 else default.get_config()
  if case.size == 224:
    config.model.update(name='googlenet_torchvision', aux_heads=(), transform_input=False)
  config.train.batch_size = case.batch
  config.optimizer.name = 'sgd'  # as the others
  if not case.train:
    model = models.create(**config.model.to_dict(), num_classes=case.classes)
    images, _ = _batch(case)
    images = jnp.asarray(images)
    variables = jax.jit(lambda: model.init(jax.random.key(0), images[:1], train=False))()
    logits = jax.jit(lambda variables, images: model.apply(variables, images, train=False).logits)
    return lambda: jax.block_until_ready(logits(variables, images))

  return workload(config, case.size, case.classes, examples=8 * case.batch).steps()


def plain_flax(case: Case):
  """nn.Conv, nn.BatchNorm, nn.max_pool, optax, jit."""
  keep_compiled()
  model = peers.PlainFlax(case.classes, **case.network)
  images, labels = map(jnp.asarray, _batch(case))
  variables = jax.jit(lambda: model.init(jax.random.key(0), images[:1], train=False))()
  if not case.train:
    logits = jax.jit(lambda variables, images: model.apply(variables, images, train=False))
    return lambda: jax.block_until_ready(logits(variables, images))
  optimizer = optax.sgd(LR, MOMENTUM)

  def loss(params, batch_stats):
    variables = {'params': params, 'batch_stats': batch_stats}
    logits, updated = model.apply(variables, images, train=True, mutable=['batch_stats'])
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return losses.mean(), updated['batch_stats']

  @jax.jit
  def update(params, batch_stats, opt_state):
    gradients, batch_stats = jax.grad(loss, has_aux=True)(params, batch_stats)
    updates, opt_state = optimizer.update(gradients, opt_state)
    return optax.apply_updates(params, updates), batch_stats, opt_state

  state = variables['params'], variables['batch_stats'], optimizer.init(variables['params'])

  def step():
    nonlocal state
    state = jax.block_until_ready(update(*state))

  return step


def pytorch(case: Case):
  """The GoogLeNet of torchvision, or its CIFAR form, in channels-last."""
  import torch

  if case.size == 224:
    import torchvision

    model = torchvision.models.googlenet(
      num_classes=case.classes, aux_logits=False, init_weights=False
    )
  else:
    model = peers.torch_network(case.classes, **case.network)
  model = model.to(memory_format=torch.channels_last).train(case.train)
  images, labels = map(torch.tensor, _batch(case))
  images = images.permute(0, 3, 1, 2)  # channels-last in memory already
  if not case.train:

    def infer():
      with torch.no_grad():
        model(images)

    return infer
  optimizer = torch.optim.SGD(model.parameters(), LR, MOMENTUM)

  def step():
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(model(images), labels).backward()
    optimizer.step()

  return step


def keep_compiled():
  """A second run finds the programs."""
  cache = os.path.expanduser('~/.cache/googlenet_jax')
  jax.config.update('jax_compilation_cache_dir', os.environ.get('JAX_COMPILATION_CACHE_DIR', cache))


def main(_):
  """Prints the table."""
  case = CASES[CASE.value]
  contestants = {
    name: interleave.Contestant(build, (case,))
    for name, build in (('this project', ours), ('plain Flax', plain_flax), ('PyTorch', pytorch))
  }
  steps = STEPS.value or (10 if case.size == 32 else 2)
  results = interleave.run(contestants, rounds=ROUNDS.value, steps=steps)
  about = machine.describe('flax', 'torch', 'torchvision')
  interleave.report(results, case.batch, f'{CASE.value}: {about}', JSON.value)


if __name__ == '__main__':
  app.run(main)
