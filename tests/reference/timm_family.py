"""Makes `timm_family.json`: logits, names and costs of timm's networks, weights drawn by name.

pip install torch timm
python -m tests.reference.timm_family
"""

import hashlib
import json
import math
import pathlib

import numpy as np

from tests.reference.torchvision_lineage import draw, images

PATH = pathlib.Path(__file__).with_suffix('.json')
NAMES = {  # ours, and timm's
  'inception_v4': 'inception_v4',
  'inception_resnet_v2': 'inception_resnet_v2',
  'xception': 'legacy_xception',
}
SIZE = 299


def digest(shapes: dict[str, tuple[int, ...]]) -> str:
  """Digest of the names and shapes of a state dict, but for its counters."""
  kept = {x: list(y) for x, y in shapes.items() if not x.endswith('num_batches_tracked')}
  return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]


def multiply_adds(model, batch) -> int:
  """Multiply-adds of convolutions and linear layers, an image."""
  import torch

  counts = []

  def count(module, inputs, output):
    del inputs
    each = math.prod(module.weight.shape[1:])
    counts.append(each * math.prod(output.shape[1:]))

  layers = [x for x in model.modules() if isinstance(x, torch.nn.Conv2d | torch.nn.Linear)]
  hooks = [layer.register_forward_hook(count) for layer in layers]
  model(batch)
  for hook in hooks:
    hook.remove()
  return sum(counts)


def main():
  """Writes the file."""
  import timm
  import torch

  kept = {}
  for ours, name in NAMES.items():
    model = timm.create_model(name, pretrained=False).eval()
    shapes = {key: tuple(x.shape) for key, x in model.state_dict().items()}
    model.load_state_dict({k: torch.tensor(draw(k, s)) for k, s in shapes.items()})
    with torch.no_grad():
      batch = torch.tensor(images(SIZE).transpose(0, 3, 1, 2))
      logits = model(batch).numpy()
      macs = multiply_adds(model, batch)
    kept[ours] = {
      'digest': digest(shapes),
      'parameters': sum(x.numel() for x in model.parameters()),
      'macs': macs,
      'logits': logits[:, ::50].tolist(),
    }
    print(name, np.abs(logits).max(), np.ptp(logits, axis=0).max())
  PATH.write_text(json.dumps(kept, indent=1) + '\n')


if __name__ == '__main__':
  main()
