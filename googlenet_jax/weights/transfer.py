"""Training that starts from weights: which arrays a run takes over, which stay as initialised."""

from flax.traverse_util import flatten_dict, unflatten_dict

from googlenet_jax.errors import InputError
from googlenet_jax.models.layers import CLASSIFIERS
from googlenet_jax.weights.arrays import differences
from googlenet_jax.weights.network import Network


def assign(
  variables: dict, network: Network, class_names: tuple[str, ...], allow_head: bool
) -> tuple[dict, list[str]]:
  """Variables of a run, with a network's arrays put in.

  Args:
    variables: arrays `{'params', 'batch_stats'}` as initialised; not changed.
    network: source of the arrays; auxiliary heads that it lacks stay initialised.
    class_names: names of the run's classes.
    allow_head: permission for other classes than the network's; the layers to them stay
      initialised then.

  Returns:
    The variables, and the layers that stay initialised.

  Raises:
    InputError: other classes, which is not allowed, or arrays are missing, extra or misshapen.
  """
  where = f'config.init.weights={network.source}'
  other = class_names != network.description.class_names
  if other and not allow_head:
    raise InputError(
      f'{where} knows {len(network.description.class_names)} classes, and not those of the data: '
      '--config.init.allow_head=True makes a new head'
    )
  own, given = flatten_dict(variables), flatten_dict(network.variables)
  new = {
    path
    for path in own
    if (path[1].startswith('aux') and path not in given) or (other and set(path) & set(CLASSIFIERS))
  }
  unused = {path for path in given if path[1].startswith('aux') and path not in own}
  given = {path: x for path, x in given.items() if path not in new | unused}
  report = differences({path: x for path, x in own.items() if path not in new}, given)
  if report:
    raise InputError(f'{where} does not fit: {report}')
  # `variables` first: a collection without arrays has no paths.
  return variables | unflatten_dict(own | given), sorted({'/'.join(p[1:-1]) for p in new})
