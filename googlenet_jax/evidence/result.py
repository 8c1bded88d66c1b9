"""The record of a finished point: all that a comparison needs, so that the run can be deleted."""

import functools
import json
from typing import Any, NamedTuple

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from googlenet_jax import files, parallel
from googlenet_jax.evidence import design, outcomes
from googlenet_jax.run import metrics_log, origin, record, workdirs
from googlenet_jax.tools import cost
from googlenet_jax.weights.description import Description

NAME = 'result.json'
FORMAT = 1


class Result(NamedTuple):
  """The record of a point.

  Attributes:
    content: the file's JSON object.
    path: the file.
  """

  content: dict[str, Any]
  path: str

  @property
  def outcomes(self) -> dict[str, float]:
    """Outcomes by name; {} of a run that failed."""
    return self.content['outcomes']

  @property
  def correct(self) -> np.ndarray | None:
    """`[images]` bool, whether each test image is right."""
    images = self.content['images']
    return record.flags(images['correct'], images['count']) if images else None


@functools.cache
def alike() -> dict[str, Any]:
  """What all records of an experiment have in common: the code and the versions."""
  return {'package': origin.package(), 'versions': origin.versions()}


def unlike(content: dict[str, Any], config: ConfigDict) -> str:
  """What a record, or a run's start, has otherwise, for a person; '' for nothing.

  Args:
    content: the record, or the start.
    config: config whose `origin.parts` are compared too, where both have them.
  """
  pairs = [(what, content.get(what), value) for what, value in alike().items()]
  known = content.get('parts', {})
  pairs += [(name, known.get(name, x), x) for name, x in origin.parts(config).items()]
  return '; '.join(f'{what} {there}, here {here}' for what, there, here in pairs if there != here)


def write(
  point: design.Point, experiment: str, run: epath.Path, folder: epath.Path, failed: str = ''
) -> None:
  """Writes the record of a finished point.

  Args:
    point: the point.
    experiment: name of the experiment that ran it.
    run: workdir of the run.
    folder: folder of the record, made where absent.
    failed: why the run ended early; its outcomes are none then.
  """
  starts = workdirs.starts(run)
  content = {
    'format': FORMAT,
    'key': point.key,
    'experiment': experiment,
    'arm': point.arm,
    'differences': {x: y for x, y in point.fields.items() if x != 'seed'},
    'seed': point.config.seed,
    'failed': origin.without_places(failed),
    **alike(),
    'command': origin.command(),
    'parts': starts[0].get('parts', {}),
    'processor': '; '.join(dict.fromkeys(x['processor'] for x in starts)),
    'device': parallel.describe(),
    'data': files.read_json(run / workdirs.RUN)['data'],
    'config': design.counted(point.config),
    **_network(run),
    **(_course(run) if not failed else {'outcomes': {}, 'images': None, 'curve': [], 'norms': {}}),
  }
  files.make_folder(folder)
  files.write(folder / NAME, json.dumps(content, indent=1) + '\n')


def read(folder: epath.Path) -> list[Result]:
  """The records in a folder's folders, by their names; none where there is no folder.

  Raises:
    InputError: one cannot be read.
  """
  paths = sorted(folder.glob(f'*/{NAME}')) if folder.exists() else []
  found = [Result(files.read_json(path), str(path)) for path in paths]
  return [x for x in found if x.content['format'] == FORMAT]


def _network(run: epath.Path) -> dict[str, int]:
  path = run / workdirs.NETWORK  # not by all processes: one writes
  with files.readable(path):
    text = path.read_text()
  description = Description.from_json(text, str(path))
  found = cost.cost(description.create(), description.image_shape)
  extra = sum(row.parameters for row in found.training_rows)
  total = found.total('parameters')
  return {
    'parameters': total,
    'parameters_with_heads': total + extra,
    'multiply_adds': found.total('macs'),
  }


def _course(run: epath.Path) -> dict[str, Any]:
  summary = files.read_json(run / workdirs.SUMMARY)
  lines = [line for line in metrics_log.read(run) if line['split'] == 'train']
  lines = [line for line in lines if 'loss' in line]  # not those of skipped steps alone
  norms, tested = outcomes.norms(lines), _tested(run, summary['tested_step'])
  return {
    'images_per_second': summary['images_per_second'],
    'minutes': round(summary['seconds'] / 60, 2),
    'outcomes': outcomes.measure(outcomes.Course(lines, summary, norms)),
    'images': tested and {'count': _size(tested), 'correct': tested['correct']},
    'curve': [
      [line['step'], line['epoch'], line['main_loss'], line['main_top1']] for line in lines
    ],
    'norms': norms,
  }


def _tested(run, step):
  """The record of the evaluation that the summary is about; None where no split was tested."""
  for path in sorted(run.glob('evaluation_test*.json')):
    content = files.read_json(path)
    if content['step'] == step and 'correct' in content:
      return content
  return None


def _size(tested):
  return tested['examples'] + tested.get('unreadable', 0)
