"""What a person sees of a run: a bar in a terminal, plain lines elsewhere."""

import sys
import time

from tqdm import tqdm


class Progress:
  """Shows how far a run is and how long it will take.

  Args:
    total: steps of the run.
    start: steps done before.
    active: whether this process shows anything.
  """

  def __init__(self, total: int, start: int, active: bool = True):
    self._total, self._start, self._active = total, start, active
    self._began = time.monotonic()
    self._bar = None
    if active and sys.stderr.isatty():
      form = '{percentage:3.0f}%|{bar}| {n}/{total} [{elapsed}, {remaining} left{postfix}]'
      self._bar = tqdm(total=total, initial=start, bar_format=form, dynamic_ncols=True)

  def say(self, text: str) -> None:
    """Prints a line, above the bar where there is one."""
    if self._active:
      tqdm.write(text) if self._bar is not None else print(text, flush=True)

  def advance(self, step: int) -> None:
    """Moves the bar."""
    if self._bar is not None:
      self._bar.update(step - self._bar.n)

  def show(self, step: int, line: dict) -> None:
    """Shows a training record."""
    speed = line.get('images_per_second')
    text = f'epoch {line["epoch"]:.2f}, loss {line["loss"]:.3f}, top-1 {line["main_top1"]:.1%}'
    if speed:
      text += f', {speed:,.0f} images/s'
    if self._bar is not None:
      self._bar.set_postfix_str(text)
    else:
      left = (time.monotonic() - self._began) * (self._total - step) / (step - self._start)
      self.say(f'step {step}/{self._total}: {text}, {duration(left)} left')

  def close(self) -> None:
    """Leaves the bar as it is."""
    if self._bar is not None:
      self._bar.close()


def passing(total: int, what: str, active: bool = True):
  """`range(total)` under a bar that goes when it is done; no bar where there is no terminal."""
  form = '{desc} {percentage:3.0f}%|{bar}| [{elapsed}, {remaining} left]'
  quiet = None if active else True  # None: tqdm asks whether there is a terminal
  return tqdm(range(total), what, bar_format=form, leave=False, disable=quiet, dynamic_ncols=True)


def duration(seconds: float) -> str:
  """'2:05' (minutes and seconds) or '3:02:05'."""
  minutes, seconds = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  return f'{hours}:{minutes:02}:{seconds:02}' if hours else f'{minutes}:{seconds:02}'
