"""Makes `torchvision_lineage.json`: logits of torchvision's networks, weights drawn by name.

pip install torch torchvision
python -m tests.reference.torchvision_lineage
"""

import json
import pathlib
import zlib

import numpy as np

PATH = pathlib.Path(__file__).with_suffix('.json')
NAMES = ('alexnet', 'vgg11', 'vgg11_bn', 'resnet18', 'resnet50', 'inception_v3')


def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
  """An array of a state dict, by its name in torchvision."""
  rng = np.random.default_rng(zlib.crc32(name.encode()))
  if name.endswith('num_batches_tracked'):
    return np.zeros(shape, np.int64)
  if len(shape) > 1:
    scale = np.float32(np.sqrt(2 / np.prod(shape[1:])))
    return rng.standard_normal(shape, np.float32) * scale
  if name.endswith(('weight', 'running_var')):  # weights of batch norm too
    return rng.uniform(0.5, 1.5, shape).astype(np.float32)
  return (0.1 * rng.normal(size=shape)).astype(np.float32)


def images(size: int) -> np.ndarray:
  """Two images `[2, size, size, 3]`, as if normalised."""
  coarse = np.random.default_rng(0).normal(size=(2, size // 13, size // 13, 3))
  rows = np.arange(size) * len(coarse[0]) // size
  return coarse[:, rows][:, :, rows].astype(np.float32)


def main():
  """Writes the file."""
  import torch
  import torchvision

  kept = {}
  for name in NAMES:
    fields = {'aux_logits': True, 'transform_input': False} if name == 'inception_v3' else {}
    model = getattr(torchvision.models, name)(weights=None, **fields).eval()
    shapes = {key: list(x.shape) for key, x in model.state_dict().items()}
    model.load_state_dict({k: torch.tensor(draw(k, tuple(s))) for k, s in shapes.items()})
    size = 299 if name == 'inception_v3' else 224
    with torch.no_grad():
      logits = model(torch.tensor(images(size).transpose(0, 3, 1, 2))).numpy()
    kept[name] = {'shapes': shapes, 'size': size, 'logits': logits[:, ::50].tolist()}
    print(name, np.abs(logits).max())
  PATH.write_text(json.dumps(kept) + '\n')


if __name__ == '__main__':
  main()
