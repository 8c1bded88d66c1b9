"""Pictures of runs, networks and images, as PNG bytes."""

import functools
import io
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import matplotlib
import numpy as np
from matplotlib.figure import Figure

EVALUATED = {'validation': ('C3', 'o-'), 'validation_averaged': ('C4', 's--'), 'test': ('k', '*')}


def plain(draw: Callable) -> Callable:
  """Draws what names have as it is: a class may be called $. The caller's settings stay."""

  @functools.wraps(draw)
  def wrapped(*args, **kwargs):
    with matplotlib.rc_context({'text.parse_math': False}):
      return draw(*args, **kwargs)

  return wrapped


@plain
def curves(lines: list[dict], titles: Mapping[str, str] = MappingProxyType({})) -> bytes:
  """Loss and accuracy of each head, and the learning rate, by epoch.

  Args:
    lines: records of `metrics.jsonl`.
    titles: titles of the heads that are called otherwise than in the records.
  """
  figure = Figure(figsize=(13, 4), layout='constrained')
  loss, top1, rate = figure.subplots(1, 3)
  train = [line for line in lines if line['split'] == 'train' and 'loss' in line]
  heads = [name.removesuffix('_loss') for name in (train[0] if train else {}) if '_loss' in name]
  heads.sort(key=lambda head: (head != 'main', head))
  for i, head in enumerate(heads):
    epochs = [line['epoch'] for line in train]
    label = f'training, {titles.get(head, head)}'
    style = {'color': f'C{i}', 'label': label, 'linewidth': 1}
    loss.plot(epochs, [line[f'{head}_loss'] for line in train], **style)
    top1.plot(epochs, [100 * line[f'{head}_top1'] for line in train], **style)
  for split, (color, style) in EVALUATED.items():
    found = [line for line in lines if line['split'] == split]
    epochs = [line['epoch'] for line in found]
    if found:
      label = split.replace('_', ', ')
      last = f'{label}: {100 * found[-1]["top1"]:.2f}%'
      loss.plot(epochs, [line['loss'] for line in found], style, color=color, label=label, ms=4)
      top1.plot(
        epochs, [100 * line['top1'] for line in found], style, color=color, label=last, ms=4
      )
  rate.plot([line['epoch'] for line in train], [line['learning_rate'] for line in train], 'C5')
  rate.set_ylim(bottom=0)  # a constant rate has no range to choose one by
  for axes, title in ((loss, 'loss (nats)'), (top1, 'top-1 (%)'), (rate, 'learning rate')):
    axes.set_title(title)
    axes.set_xlabel('epoch')
    axes.grid(alpha=0.3)
  for axes in (loss, top1):
    axes.legend(fontsize=8)
  top1.set_yscale('function', functions=(_by_error, _of_error))
  low, high = top1.get_ylim()
  ticks = [x for x in ACCURACIES if low <= x <= high]
  if len(ticks) > 2:  # a narrow range has ticks of its own
    top1.set_yticks(ticks)
    top1.yaxis.set_major_formatter('{x:g}')
  return png(figure)


# Accuracies in percent that an axis by the logarithm of the error is marked at.
ACCURACIES = (0, 20, 40, 60, 70, 80, 85, 90, 95, 97, 98, 99, 99.5, 99.8, 100)
LEAST_ERROR = 0.1  # percent, added: 100% has a place too


def _by_error(accuracy):
  return -np.log10(np.maximum(100 + LEAST_ERROR - accuracy, LEAST_ERROR / 10))  # margins: above 100


def _of_error(place):
  return 100 + LEAST_ERROR - 10.0**-place


@plain
def confusion(counts: np.ndarray, class_names: tuple[str, ...], title: str) -> bytes:
  """A confusion matrix as shares of each label.

  With counts for up to 20 classes, and the shares too for up to 10.
  """
  classes = len(class_names)
  shares = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
  side = min(4 + 0.4 * classes, 12)
  figure = Figure(figsize=(side + 1, side), layout='constrained')
  axes = figure.subplots()
  image = axes.imshow(shares, cmap='Blues', vmin=0, vmax=100)
  axes.set(xlabel='prediction', ylabel='label', title=_shown(title))
  if classes <= 100:
    names, size = [_short(name) for name in class_names], 9 if classes <= 20 else 5
    axes.set_xticks(range(classes), names, rotation=90, fontsize=size)
    axes.set_yticks(range(classes), names, fontsize=size)
  if classes <= 20:
    for row, column in np.ndindex(shares.shape):
      if counts[row, column]:
        color = 'white' if shares[row, column] > 50 else 'black'
        text = f'{counts[row, column]:,.0f}'
        text += f'\n{shares[row, column]:.1f}%' if classes <= 10 else ''
        axes.text(column, row, text, ha='center', va='center', color=color, fontsize=7)
  figure.colorbar(image, label='% of the label')
  return png(figure)


@plain
def range_test(
  rates: np.ndarray, losses: Sequence[float], smoothed: np.ndarray, marks: Mapping[str, float]
) -> bytes:
  """Losses by the learning rate, as they are and smoothed, with some rates marked.

  Args:
    rates: learning rates, ascending.
    losses, smoothed: losses at these, nats.
    marks: rates that get a line and a name.
  """
  figure = Figure(figsize=(7, 4), layout='constrained')
  axes = figure.subplots()
  axes.plot(rates, losses, color='C0', alpha=0.3, linewidth=1)
  axes.plot(rates, smoothed, color='C0', label='mean of the last steps')
  for i, (name, rate) in enumerate(marks.items(), 1):
    axes.axvline(rate, color=f'C{i}', linestyle='--', label=f'{name}: {rate:.2g}')
  low, first = min(losses), smoothed[0]
  axes.set_ylim(low - 0.1 * (first - low), first + 0.5 * (first - low))  # not where it explodes
  axes.set_xscale('log')
  axes.xaxis.set_major_formatter('{x:g}')
  axes.set(xlabel='learning rate', ylabel='loss of training (nats)')
  axes.grid(alpha=0.3)
  axes.legend(fontsize=8)
  return png(figure)


@plain
def grid(images: np.ndarray, titles: list[str], title: str) -> bytes:
  """Images side by side, each under its title.

  Args:
    images: pixels `[N, H, W, C]` in [0, 255]; values outside are cut off.
    titles: title of each image.
    title: title of the picture.
  """
  columns = min(8, len(images))
  rows = -(-len(images) // columns)
  figure = Figure(figsize=(1.7 * columns, 1.95 * rows + 0.5), layout='constrained')
  figure.suptitle(_shown(title))
  places = np.atleast_1d(figure.subplots(rows, columns)).ravel()
  for place in places:
    place.axis('off')
  for place, image, text in zip(places, images, map(_shown, titles), strict=False):
    place.imshow(np.clip(image, 0, 255).astype(np.uint8).squeeze(), cmap='gray', vmin=0, vmax=255)
    place.set_title(text if len(text) < 40 else f'{text[:38]}...', fontsize=8)
  return png(figure)


@plain
def overlays(
  image: np.ndarray,
  maps: dict[str, np.ndarray],
  title: str,
  signed: Mapping[str, np.ndarray] = MappingProxyType({}),
) -> bytes:
  """An image, and beside it one copy under each heat map.

  Args:
    image: pixels `[H, W, C]` uint8, RGB or gray.
    maps: heat maps `[H, W]` in [0, 1], by their titles.
    title: title of the picture.
    signed: maps `[H, W]` about zero, by their titles, each on a scale of its own.
  """
  count = 1 + len(maps) + len(signed)
  figure = Figure(figsize=(3.2 * count + 0.6 + 0.6 * len(signed), 3.8), layout='constrained')
  figure.suptitle(_shown(title), fontsize=14)
  places = figure.subplots(1, count)
  gray = image.mean(-1)  # the only colours under a map are the map's
  places[0].imshow(image.squeeze(), cmap='gray', vmin=0, vmax=255)
  places[0].set_title('image')
  heated, others = places[: 1 + len(maps)], places[1 + len(maps) :]
  for place, (name, heat) in zip(heated[1:], maps.items(), strict=True):
    place.imshow(gray, cmap='gray', vmin=0, vmax=255)
    place.imshow(heat, cmap='turbo', vmin=0, vmax=1, alpha=np.minimum(2 * heat, 0.6))
    place.set_title(name if heat.any() else f'{name}: nothing speaks for it')
  scale = matplotlib.cm.ScalarMappable(cmap='turbo')  # maps go from 0 to 1
  figure.colorbar(scale, ax=heated, label='share of the maximum', shrink=0.85, pad=0.005)
  for place, (name, x) in zip(others, signed.items(), strict=True):
    most = float(np.percentile(np.abs(x), 99.5)) or 1  # a few pixels have most of it
    drawn = place.imshow(x, cmap='seismic', vmin=-most, vmax=most)
    place.set_title(name, fontsize=9)
    figure.colorbar(drawn, ax=place, label='of the logit, a pixel', shrink=0.85, pad=0.005)
  for place in places:
    place.axis('off')
  return png(figure)


@plain
def channels(rows: dict[str, dict[int, np.ndarray]], title: str, image: np.ndarray) -> bytes:
  """An image, and beside it maps of activations, a row for each branch on a scale of its own.

  Args:
    rows: maps `[H, W]` from 0 of each branch, by the channel's number.
    title: title of the picture.
    image: pixels `[H, W, C]` uint8, RGB or gray.
  """
  columns = max(map(len, rows.values()))
  height = max(1.85 * len(rows), 3) + 0.6
  figure = Figure(figsize=(1.6 * columns + 4.4, height), layout='constrained')
  figure.suptitle(title, fontsize=14)
  grid = figure.add_gridspec(len(rows), 2, width_ratios=(3, 1.6 * columns + 0.9))
  crop = figure.add_subplot(grid[:, 0])
  crop.imshow(image.squeeze(), cmap='gray', vmin=0, vmax=255)
  crop.set_title('image')
  crop.axis('off')
  for row, (branch, maps) in enumerate(rows.items()):
    place = figure.add_subplot(grid[row, 1])  # one for all maps: a place each takes seconds
    gap = max(1, next(iter(maps.values())).shape[1] // 12)
    strip = np.concatenate(
      [np.pad(x, ((0, 0), (0, gap)), constant_values=np.nan) for x in maps.values()], 1
    )
    step = strip.shape[1] // len(maps)
    full = ((0, 0), (0, columns * step - strip.shape[1]))
    shown = place.imshow(
      np.pad(strip, full, constant_values=np.nan), cmap='magma', vmin=0, vmax=np.nanmax(strip) or 1
    )
    for i, channel in enumerate(maps):
      middle = i * step + (step - gap) / 2 - 0.5
      place.text(middle, -0.8, f'channel {channel}', ha='center', va='bottom', fontsize=8)
    place.set(xticks=[], yticks=[], frame_on=False, ylabel=branch)
    figure.colorbar(shown, ax=place, shrink=0.85, aspect=12, pad=0.01)
  return png(figure)


@plain
def tiles(images: np.ndarray, title: str) -> bytes:
  """Many small images as one square of tiles.

  Args:
    images: pixels `[N, H, W, C]` uint8, RGB or gray.
    title: title of the picture.
  """
  columns = math.ceil(math.sqrt(len(images)))
  rows = -(-len(images) // columns)
  scale = max(1, 56 // images.shape[2])
  images = images.repeat(scale, 1).repeat(scale, 2)  # so that the pixels stay sharp
  images = np.pad(images, ((0, 0), (3, 3), (3, 3), (0, 0)), constant_values=255)
  empty = np.full((rows * columns - len(images), *images.shape[1:]), 255, np.uint8)
  _, height, width, depth = images.shape
  square = np.concatenate([images, empty]).reshape(rows, columns, height, width, depth)
  square = square.swapaxes(1, 2).reshape(rows * height, columns * width, depth)
  size = 6.5, 6.5 * rows * height / (columns * width) + 0.25
  figure = Figure(figsize=size, layout='constrained')
  axes = figure.subplots()
  axes.imshow(square.squeeze(), cmap='gray', vmin=0, vmax=255)
  axes.set_title(title)
  axes.axis('off')
  return png(figure)


def _short(text: str) -> str:
  """The text as it is shown, its end left out where it is long."""
  shown = _shown(text)
  return shown if len(shown) <= 28 else f'{shown[:26]}...'


def _shown(text: str) -> str:
  """The text with bytes that are no UTF-8, as a folder's name may hold, written as escapes."""
  return text.encode(errors='backslashreplace').decode()


def png(figure: Figure) -> bytes:
  """A figure as PNG."""
  buffer = io.BytesIO()
  with warnings.catch_warnings():
    # A character that the font does not have is drawn as a box.
    warnings.filterwarnings('ignore', r'Glyph \d+ |Matplotlib currently does not support')
    figure.savefig(buffer, format='png', dpi=110)
  return buffer.getvalue()
