"""ZFNet on ImageNet (Zeiler and Fergus 2013, arXiv 1311.2901): AlexNet's recipe, 70 epochs.

    python main.py --config=configs/zfnet.py --config.dataset.data_dir=DIR

With 512, 1024 and 512 filters in the last convolutions: `--config.model.name=zfnet_wide`.
Reached: not yet run.
"""

from configs import alexnet


def get_config():
  """See the module's docstring."""
  c = alexnet.get_config()
  c.model.name = 'zfnet'
  c.train.duration = '70 epochs'
  return c
