"""What a person sees of a run: a bar in a terminal, plain lines elsewhere."""

import contextlib
import sys
import time

from tqdm import tqdm


class Progress:
  """Shows how far a run is and how long it will take.

  Args:
    total: steps of the run.
    start: steps that were done before.
    active: whether this process shows anything.
  """

  def __init__(self, total: int, start: int, active: bool = True):
    self._total, self._active = total, active
    # Of the clock, which begins when the first step is finished: its step, its time, its pauses.
    self._start, self._began, self._pauses = start, None, []
    self._step, self._record = start, ''
    self._bar = None
    if active and sys.stderr.isatty():
      form = '{percentage:3.0f}%|{bar}| {n}/{total} [{elapsed}{postfix}]'
      self._bar = tqdm(total=total, initial=start, bar_format=form, dynamic_ncols=True)

  def say(self, text: str) -> None:
    """Prints a line, above the bar where there is one."""
    if self._active:
      tqdm.write(text) if self._bar is not None else print(text, flush=True)

  @contextlib.contextmanager
  def compiling(self):
    """Says that what is inside waits for the training step, and how long its first call took."""
    text, began = 'compiling the training step ...', time.monotonic()
    self._bar.set_postfix_str(text) if self._bar is not None else self.say(text)
    yield
    self.say(f'compiled the training step and ran it once: {time.monotonic() - began:.1f} s')

  def advance(self, step: int) -> None:
    """Moves the bar; the first step, which compiles, has to be finished."""
    if self._began is None or step <= self._step:  # it went back
      self._start, self._began, self._pauses = step, time.monotonic(), []
    self._step = step
    if self._bar is not None:
      self._bar.set_postfix_str((self._record + self._left()).removeprefix(', '), refresh=False)
      self._bar.update(step - self._bar.n)

  @contextlib.contextmanager
  def pause(self):
    """Keeps what is inside, an evaluation and a checkpoint, out of the time of the steps."""
    began = time.monotonic()
    yield
    self._pauses.append(time.monotonic() - began)

  def _left(self) -> str:
    """', 2:05 left' by the steps of this process; '' before there are two of them.

    A pause counts as the shortest so far, and the first, which compiles, as none before the second.
    """
    done, seconds = self._step - self._start, 0.0
    if self._step < self._total:
      if not done:
        return ''
      pauses = len(self._pauses) * min(self._pauses[1:], default=0) - sum(self._pauses)
      seconds = time.monotonic() - self._began + pauses
      seconds *= (self._total - self._step) / done
    left = tqdm.format_interval(round(seconds)).removeprefix('0')  # '02:05'
    return f', {left} left'

  def show(self, step: int, line: dict) -> None:
    """Shows a training record."""
    speed = line.get('images_per_second')
    text = f'epoch {line["epoch"]:.2f}, loss {line["loss"]:.3f}, top-1 {line["main_top1"]:.1%}'
    if speed:
      text += f', {speed:,.0f} images/s'
    self._record = text
    if self._bar is not None:
      self._bar.set_postfix_str(text + self._left())
    else:
      self.say(f'step {step}/{self._total}: {text}{self._left()}')

  def close(self) -> None:
    """Leaves the bar as it is."""
    if self._bar is not None:
      self._bar.close()


def passing(total: int, what: str, active: bool = True):
  """`range(total)` under a bar that goes when it is done; no bar where there is no terminal."""
  form = '{desc} {percentage:3.0f}%|{bar}| [{elapsed}, {remaining} left]'
  quiet = None if active else True  # None: tqdm asks whether there is a terminal
  return tqdm(range(total), what, bar_format=form, leave=False, disable=quiet, dynamic_ncols=True)
