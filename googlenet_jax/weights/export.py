"""Networks that run without this package: StableHLO with the weights inside, by `jax.export`."""

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
  runs it.

  Raises:
    InputError: another ending, or a file that cannot be written.
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

  preprocessing = network.description.preprocessing

  @jax.jit
  def classify(images):
    images = pixels.normalise(images, preprocessing.mean, preprocessing.std)
    return jax.nn.softmax(network.model.apply(network.variables, images, train=False).logits)

  (batch,) = jax_export.symbolic_shape('b')
  shape = jax.ShapeDtypeStruct((batch, *network.description.image_shape), jnp.uint8)
  exported = jax_export.export(classify, platforms=PLATFORMS)(shape)
  files.write(path, bytes(exported.serialize()))
  return path
