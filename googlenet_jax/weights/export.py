"""Networks that run without this package: StableHLO with the weights inside, by `jax.export`."""

import json
import pathlib

import jax
import jax.numpy as jnp
from jax import export as jax_export

from googlenet_jax import files, weights
from googlenet_jax.data import pixels
from googlenet_jax.errors import InputError

PLATFORMS = ('cpu', 'cuda', 'tpu')


def export(network: weights.Network, output: str) -> pathlib.Path:
  """Writes a network as `.safetensors` (`weights.load` reads it) or `.stablehlo`.

  The latter holds `images [b, H, W, C] uint8 -> probabilities [b, classes] float32`, for any
  batch and for `PLATFORMS`, normalisation included; `jax.export.deserialize(bytes).call(images)`
  runs it. Beside it, a `.json` of the same name tells how photos become images, and the classes.

  Raises:
    InputError: another ending, a `.json` of something else, or a file that cannot be written.
  """
  path = pathlib.Path(output)
  ending = path.suffix.lower()
  if ending not in ('.safetensors', '.stablehlo'):
    raise InputError(f'--output={output}: its name must end in .safetensors or .stablehlo')
  if not path.parent.is_dir():
    raise InputError(f'--output={output}: no folder {path.parent}')
  if ending == '.safetensors':
    weights.save(output, network)
    return path
  beside = path.with_suffix('.json')
  if beside.exists() and not path.exists():  # a run's network.json, perhaps
    raise InputError(f'--output={output}: {beside} exists, and would be replaced: use another name')
  content = stablehlo(network)
  files.write(beside, json.dumps(_use(network.description), indent=1) + '\n')
  files.write(path, content)
  return path


def stablehlo(network: weights.Network) -> bytes:
  """A network as the content of a `.stablehlo` file; see `export`."""
  preprocessing = network.description.preprocessing

  def classify(image):
    image = pixels.normalise(image, preprocessing.mean, preprocessing.std)
    logits = network.model.apply(network.variables, image[None], train=False).logits
    return jax.nn.softmax(logits[0])

  # Of one image: what flattens a map need not know a batch whose size is a symbol.
  classify = jax.jit(jax.vmap(classify))
  (batch,) = jax_export.symbolic_shape('b')
  shape = jax.ShapeDtypeStruct((batch, *network.description.image_shape), jnp.uint8)
  return bytes(jax_export.export(classify, platforms=PLATFORMS)(shape).serialize())


def _use(description: weights.Description) -> dict:
  """What one who runs a `.stablehlo` file has to know."""
  preprocessing = description.preprocessing
  return {
    'images': {
      'dtype': 'uint8',
      'shape': ['b', *description.image_shape],
      'channels': 'RGB' if preprocessing.channels == 3 else 'gray',
      'resize_shorter': preprocessing.resize_shorter,
      'interpolation': 'bilinear, antialiased',
      'crop': 'centre',
    },
    'class_names': list(description.class_names),
  }
