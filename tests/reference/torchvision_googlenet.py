"""Makes `torchvision_googlenet.json`: torchvision's activations with weights drawn by name.

    pip install torch torchvision
    python -m tests.reference.torchvision_googlenet

For each layer: a few of its values, the greatest magnitude and the norm; in evaluation and in
training mode (dropout off), both auxiliary heads included.
"""

import json
import pathlib
import zlib

import numpy as np

PATH = pathlib.Path(__file__).with_suffix('.json')
SAMPLES = 6


def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
  """An array of a state dict, by its name in torchvision."""
  rng = np.random.default_rng(zlib.crc32(name.encode()))
  if name.endswith(('bn.weight', 'running_var')):
    return rng.uniform(0.5, 1.5, shape).astype(np.float32)
  if len(shape) > 1:
    fan_in = np.prod(shape[1:])
    return (rng.normal(size=shape) * np.sqrt(2 / fan_in)).astype(np.float32)
  return (0.1 * rng.normal(size=shape)).astype(np.float32)


def images() -> np.ndarray:
  """Two images `[2, 224, 224, 3]`, as if normalised."""
  rng = np.random.default_rng(0)
  coarse = rng.normal(size=(2, 14, 14, 3))
  return np.kron(coarse, np.ones((1, 16, 16, 1))).astype(np.float32)


def summary(name: str, values: np.ndarray) -> dict:
  """What is kept of an activation; maps in NHWC."""
  rng = np.random.default_rng(zlib.crc32(name.encode()))
  places = rng.choice(np.flatnonzero(values), SAMPLES)  # a ReLU leaves many zeros
  return {
    'shape': list(values.shape),
    'places': places.tolist(),
    'samples': values.ravel()[places].tolist(),
    'greatest': float(np.abs(values).max()),
    'norm': float(np.linalg.norm(values.astype(np.float64))),
  }


def main():
  """Writes the file."""
  import torch
  from torchvision.models.googlenet import GoogLeNet

  from googlenet_jax.weights.published.googlenet import MODULES, TORCHVISION

  model = GoogLeNet(transform_input=True, aux_logits=True, init_weights=False)
  state = {
    name: torch.tensor(draw(name, tuple(x.shape)))
    for name, x in model.state_dict().items()
    if not name.endswith('num_batches_tracked')
  }
  model.load_state_dict(state, strict=False)
  modules = set(TORCHVISION.values()) | {f'inception{name}' for name in MODULES}
  found = {}

  def keep(name):
    def hook(module, inputs, output):
      x = output.detach().clone().numpy()  # torchvision's ReLUs work in place
      found[name] = x.transpose(0, 2, 3, 1) if x.ndim == 4 else x

    return hook

  for name, module in model.named_modules():
    if name in modules:
      module.register_forward_hook(keep(name))
    if isinstance(module, torch.nn.Dropout):
      module.p = 0.0
  kept = {}
  for mode in ('evaluation', 'training'):
    found.clear()
    model.train(mode == 'training')
    model.load_state_dict(state, strict=False)
    with torch.no_grad():
      model(torch.tensor(images().transpose(0, 3, 1, 2)))
    kept[mode] = {name: summary(name, x) for name, x in sorted(found.items())}
  PATH.write_text(json.dumps(kept, indent=1) + '\n')
  print({mode: len(layers) for mode, layers in kept.items()})


if __name__ == '__main__':
  main()
