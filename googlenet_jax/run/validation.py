"""The evaluations of a run while it trains."""

from collections.abc import Callable, Sequence

from googlenet_jax import experiment, train_state
from googlenet_jax.data.pipeline import Pipeline
from googlenet_jax.evaluation import Evaluator, Result
from googlenet_jax.train_state import TrainState


class Validation:
  """Scores the last and the averaged parameters of a run on the validation split.

  Args:
    run: parts of the run.
    data: pipeline of the validation split; None where none is named.
    batch_size, flip: see `Evaluator`.
    every: duration between two evaluations, '5 epochs'.
    patience: evaluations without a better top-1 that end the training; 0 for none.
  """

  def __init__(
    self,
    run: experiment.Run,
    data: Pipeline | None,
    *,
    batch_size: int,
    flip: bool,
    every: str,
    patience: int,
  ):
    self._clock, self._every, self._patience = run.clock, every, patience
    self._evaluator = None
    if data is not None:
      self._evaluator = Evaluator(run.model, data, run.metrics, batch_size, flip=flip)

  def next(self, step: int) -> int:
    """The first step after `step` at which one is due."""
    return self._clock.due(step, self._every)

  def due(self, step: int) -> bool:
    """Whether a score is due at this very step."""
    return bool(self._evaluator and step and self.next(step - 1) == step)

  def results(self, state: TrainState, stop: Callable) -> dict[str, Result] | None:
    """Results by split, 'validation' and, where there are averages, 'validation_averaged'.

    Args:
      state: replicated state.
      stop: whether to stop, by a signal.

    Returns:
      No results without a validation split; None where stopped.

    Raises:
      InputError: too many records cannot be read.
    """
    results = {}
    if self._evaluator:
      for split in ('validation', 'validation_averaged') if state.average else ('validation',):
        variables = train_state.variables(state, averaged=split != 'validation')
        results[split] = self._evaluator(variables, stop)
        if results[split] is None:
          return None
    return results

  def out_of_patience(self, lines: Sequence[dict], averaged: bool) -> bool:
    """Whether the last `patience` evaluations among the records are no better than one before."""
    split = 'validation_averaged' if averaged else 'validation'
    scores = [line['top1'] for line in lines if line['split'] == split]
    # By the records alone: a run that goes on ends where the one that never stopped does.
    return bool(self._patience and scores) and (
      len(scores) - 1 - scores.index(max(scores)) >= self._patience
    )
