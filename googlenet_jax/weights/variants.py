"""Published ways from a photo to a network's images, by name."""

import hashlib
import pathlib

from googlenet_jax.errors import InputError, hint
from googlenet_jax.weights.description import Preprocessing

_IMAGENET = {'mean': (123.675, 116.28, 103.53), 'std': (58.395, 57.12, 57.375)}
PREPROCESSINGS: dict[str, Preprocessing] = {
  # torchvision's `ImageClassification`: crop_size=224; the newer weights of ResNet-50 to 152 also
  # have resize_size=232.
  'torchvision_v1': Preprocessing(**_IMAGENET),
  'torchvision_v2': Preprocessing(resize_shorter=232, **_IMAGENET),
  # crop_size=299, resize_size=342; the network brings images from ImageNet's statistics to these.
  'torchvision_inception_v3': Preprocessing(299, 342, (127.5,), (127.5,)),
  # timm: crop_pct 0.875 and 0.8975 of 299 pixels; it resizes by bicubic interpolation.
  'timm_inception_v4': Preprocessing(299, 341, (127.5,), (127.5,)),
  'timm_333': Preprocessing(299, 333, (127.5,), (127.5,)),  # Inception-ResNet-v2, Xception
  'bvlc': Preprocessing(mean=(123.0, 117.0, 104.0)),  # BVLC GoogLeNet's train_val.prototxt
  'caffe': Preprocessing(mean=(122.679, 116.669, 104.007)),  # mean pixel of Caffe's ILSVRC 2012
  'vgg': Preprocessing(mean=(123.68, 116.779, 103.939)),  # means of VGG's authors
  # Of our configs for photos.
  'imagenet': Preprocessing(mean=(123.7, 116.3, 103.5), std=(58.4, 57.1, 57.4)),
}

# Variants that the arrays' names do not tell, by the start of a file's SHA-256, which torchvision's
# names of files end in: resnet50-11ad3fa6.pth, resnet101-cd907fc2.pth, resnet152-f82ba261.pth.
OF_DIGEST = {
  '11ad3fa6': 'torchvision_v2',
  'cd907fc2': 'torchvision_v2',
  'f82ba261': 'torchvision_v2',
}


def find(name: str) -> Preprocessing:
  """The preprocessing of this name; InputError, with the nearest one, where there is none."""
  if name not in PREPROCESSINGS:
    known = hint(name, PREPROCESSINGS) or f': use one of {", ".join(PREPROCESSINGS)}'
    raise InputError(f'preprocessing={name!r}: no such name{known}')
  return PREPROCESSINGS[name]


def of_file(path: pathlib.Path, name: str) -> Preprocessing:
  """The preprocessing of a published file; `name` is that of its kind, where nothing else tells."""
  if name == 'torchvision_v1':
    with path.open('rb') as file:
      name = OF_DIGEST.get(hashlib.file_digest(file, 'sha256').hexdigest()[:8], name)
  return PREPROCESSINGS[name]
