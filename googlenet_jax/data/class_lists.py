"""Names of classes from files like ImageNet's `synset_words.txt`, and ImageNet's own."""

import pathlib

from googlenet_jax.errors import InputError

IMAGENET = pathlib.Path(__file__).with_name('imagenet_classes.txt')


def read_class_list(path: str) -> tuple[dict[str, int], tuple[str, ...]]:
  """Labels by folder name, and what the classes are called, from a file like `synset_words.txt`.

  Raises:
    InputError: no such file, or a folder is listed twice.
  """
  try:
    lines = pathlib.Path(path).expanduser().read_text().splitlines()
  except (OSError, UnicodeDecodeError) as error:
    raise InputError(f'--config.dataset.classes={path}: {error}') from error
  lines = [line.split('\t' if '\t' in line else None, 1) for line in lines if line.strip()]
  folders, called = [line[0] for line in lines], [line[-1].strip() for line in lines]
  if len(set(folders)) != len(folders) or not folders:
    raise InputError(
      f'--config.dataset.classes={path}: give each class one line of its own, a folder that has '
      'blanks in its name with a tab after it'
    )
  # ImageNet has two cranes and two maillots.
  unique = [
    f'{name} ({folder})' if called.count(name) > 1 else name
    for folder, name in zip(folders, called, strict=True)
  ]
  return {folder: label for label, folder in enumerate(folders)}, tuple(unique)


def imagenet() -> tuple[tuple[str, ...], tuple[str, ...]]:
  """WordNet ids and names of ImageNet's classes, in label order."""
  labels, names = read_class_list(str(IMAGENET))
  return tuple(labels), names


def display_names(class_names: tuple[str, ...]) -> tuple[str, ...]:
  """Class names for a person: ImageNet's where they are its WordNet ids."""
  ids, names = imagenet()
  return names if tuple(class_names) == ids else tuple(class_names)


def of_count(classes: int) -> tuple[str, ...]:
  """Names for classes of which only the number is known: ImageNet's for 1000, else numbers."""
  return imagenet()[1] if classes == 1000 else tuple(map(str, range(classes)))
