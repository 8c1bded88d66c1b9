"""The paper's test (section 7): softmax averaged over crops, then over models."""

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from googlenet_jax import experiment, files, inputs, parallel
from googlenet_jax.data import class_lists, sources
from googlenet_jax.data.crops import named_unreadable, too_many_bad
from googlenet_jax.errors import InputError
from googlenet_jax.run import record
from googlenet_jax.tools.probabilities import class_names, probabilities
from googlenet_jax.weights import Network

MOST = 64  # images at once: those of weights are large


def evaluate(config: ConfigDict, networks: list[Network], workdir: epath.Path) -> dict:
  """Scores networks and their ensemble on a split of photos; prints Table 3's layout.

  Args:
    config: checked config; its `dataset`, `eval.split`, `eval.crops` and `eval.batch_size` count.
    networks: networks with their weights, all of the same classes.
    workdir: folder that `evaluation_SPLIT_CROPS_crops.json` is written to (`record.place`).

  Returns:
    The ensemble's scores.

  Raises:
    InputError: unusable photos, or classes that are not the networks'.
  """
  names = class_names(networks)
  classes = config.dataset.classes or (
    str(class_lists.IMAGENET) if names == class_lists.imagenet()[1] else ''
  )
  records = inputs.records(config, config.eval.split, classes)
  if class_lists.display_names(records.class_names) != names:
    raise InputError(
      f'{networks[0].source} knows {len(names)} classes ({", ".join(names[:3])}, ...), the dataset '
      f'has {len(records.class_names)} ({", ".join(records.class_names[:3])}, ...): '
      '--config.dataset.classes=FILE lists those of the weights'
    )
  shares = np.zeros((len(networks), records.count, len(names)), np.float32)
  valid, labels = np.zeros(records.count, bool), np.zeros(records.count, int)
  for batch in probabilities(
    networks,
    records,
    batch_size=min(config.eval.batch_size, MOST),
    crops=config.eval.crops,
    threads=config.dataset.threads,
  ):
    shares[:, batch.rows], valid[batch.rows], labels[batch.rows] = batch[1:]
  _check_read(config, records, valid)
  each = zip(networks, shares, strict=True)
  rows = [{'models': 1, 'source': x.source} | scores(found, labels, valid) for x, found in each]
  mean = shares.mean(0, dtype=np.float64)
  ensemble = {'models': len(networks)} | scores(mean, labels, valid)
  if len(networks) > 1:
    rows.append(ensemble | {'source': 'all of these'})
  if parallel.is_main():
    _print(rows, config.eval.crops)
    files.make_folder(workdir)
    _record(config, networks, records, rows, workdir)
  return ensemble | {'crops': config.eval.crops, 'unreadable': int((~valid).sum())}


def _record(config: ConfigDict, networks, records, rows: list[dict], workdir: epath.Path) -> None:
  """Writes the record of an evaluation; one of other weights, data or overrides keeps its own."""
  crops, split = config.eval.crops, config.eval.split
  accounts = [
    record.network(x.description, source=x.source, digest=record.digest(x.variables))
    for x in networks
  ]
  told = record.about(config, split, records.digest, accounts)
  path = record.place(workdir, f'evaluation_{split}_{crops}_crops', told)
  fields = experiment.model_fields(config)
  changed = {f'model.{name}': value for name, value in fields.items()}
  record.write(path, told, changed, {'crops': crops, 'rows': rows})


def _check_read(config: ConfigDict, records: sources.Records, valid: np.ndarray) -> None:
  """Raises InputError where more photos cannot be read than the config allows."""
  if not valid.any():
    raise InputError(
      f'{config.dataset[config.eval.split]!r}: none of the {records.count} photos can be read: '
      f'replace {named_unreadable(records, 0)}, ...'
    )
  bad, most = int((~valid).sum()), inputs.max_bad_records(config, records.count)
  if bad > most:
    raise too_many_bad(bad, records.count, most, 'those named above')


def scores(shares: np.ndarray, labels: np.ndarray, valid: np.ndarray) -> dict:
  """Accuracies and the mean negative log likelihood (nats) of probabilities `[N, classes]`."""
  shares, labels = shares[valid], labels[valid]
  best = np.argsort(-shares, axis=1, kind='stable')[:, :5]
  likelihood = shares[np.arange(len(labels)), labels]
  return {
    'examples': len(labels),
    'top1': float((best[:, 0] == labels).mean()),
    'top5': float((best == labels[:, None]).any(1).mean()),
    'loss': float(-np.log(np.maximum(likelihood, 1e-30)).mean()),
  }


def _print(rows: list[dict], crops: int) -> None:
  print('models  crops  cost  top-5 error  compared to base  top-1 error  weights')
  for row in rows:
    change = f'{rows[0]["top5"] - row["top5"]:+.2%}' if row is not rows[0] else 'base'
    print(
      f'{row["models"]:>6}  {crops:>5}  {row["models"] * crops:>4}  {1 - row["top5"]:>11.2%}  '
      f'{change:>16}  {1 - row["top1"]:>11.2%}  {row["source"]}'
    )
