"""The recipe of a widely read tutorial: GoogLeNet in PyTorch on CIFAR-10, 71.99% there.

    python main.py --config=configs/tutorial.py --config.dataset.data_dir=DIR

Known: the stem without norms, `conv2_reduce` and ReLUs, no auxiliary heads, dropout 0.4, 5,979,642
parameters, Adam at a constant 2e-4, batches of 100, 100 epochs, no augmentation, one run. Guessed:
images enlarged to 224 pixels (its classifier fits 193 to 224) and scaled to [0, 1], PyTorch's
default initial weights, and biases of 0 where PyTorch draws them. It is some 47 PFLOP, for a GPU.
Reached: not yet run so. At 32 pixels (--config.dataset.image_size=32), in ten epochs, 67.51% test
top-1 (one run, 17 minutes on two cores; docs/results.md).
"""

from googlenet_jax import schema


def get_config():
  """See the module's docstring."""
  c = schema.config()
  c.model.stem = 'tutorial'
  c.model.norm = 'none'
  c.model.aux_heads = ()
  c.model.dropout = 0.4
  c.model.kernel_init = 'torch'
  c.model.bias_init = 0.0
  c.dataset.name = 'cifar10'
  c.dataset.image_size = 224
  c.dataset.mean = (0.0,)
  c.dataset.std = (255.0,)

  c.train.duration = '100 epochs'
  c.train.batch_size = 100
  c.optimizer.name = 'adam'
  c.optimizer.lr = 2e-4
  c.schedule.name = 'constant'
  c.eval.every = '10 epochs'
  c.log.every = '100 steps'
  return c
