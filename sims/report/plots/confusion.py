"""Which classes are taken for which."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from fedkd.results.confusion import Confusion
from sims.report.plots.look import LIGHT, TEXT, WIDTH, Look, canvas, short

MOST = 24  # classes that are drawn; of more, those with most mistakes, and the others together
_NUMBERED = 16  # classes up to which cells have room for numbers


def confusion_matrix(confusion: Confusion, look: Look = LIGHT) -> Figure:
    """Counts of the test examples by their class and the model's answer.

    Args:
        confusion: Of two classes or more.
        look: Colours.

    Returns:
        The figure: rows are classes, columns answers, colours the share of a row; of many classes those with most
        mistakes, and all others together as the last.
    """
    names, counts = _shown(confusion)
    size = len(names)
    figure, (axes,) = canvas(min(WIDTH, 2.4 + 0.36 * size), look)
    totals = counts.sum(axis=1, keepdims=True)
    share = np.divide(100 * counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    ramp = LinearSegmentedColormap.from_list("share", (look.paper, *look.ramp[1:]))
    drawn = axes.imshow(share, cmap=ramp, vmin=0, vmax=100, aspect="auto")
    fine = TEXT if size <= 12 else 7.5
    axes.set_xticks(range(size), names, fontsize=fine, rotation=90 if _long(names) else 0)
    axes.set_yticks(range(size), names, fontsize=fine)
    axes.set_xlabel("Answer")
    axes.set_ylabel("Class")
    axes.grid(False)
    for row, column in np.argwhere(counts > 0) if size <= _NUMBERED else ():
        red, green, blue, _ = ramp(share[row, column] / 100)
        ink = "#000000" if 0.3 * red + 0.59 * green + 0.11 * blue > 0.5 else "#ffffff"
        place: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 9 if size <= 12 else 7}
        axes.text(column, row, f"{counts[row, column]:,.0f}", color=ink, **place)
    bar = figure.colorbar(drawn, ax=axes, aspect=40, pad=0.02)
    bar.set_label("Share of the class, %", color=look.ink, fontsize=TEXT)
    bar.ax.tick_params(colors=look.ink, labelsize=TEXT - 1)
    bar.outline.set_visible(False)
    return figure


def _shown(confusion: Confusion) -> tuple[list[str], np.ndarray]:
    """Names and counts of the classes that are drawn."""
    counts, names = np.array(confusion.counts), [short(name, 18) for name in confusion.classes]
    if len(names) <= MOST:
        return names, counts
    wrong = counts.sum(axis=0) + counts.sum(axis=1) - 2 * np.diag(counts)
    worst = np.sort(np.argsort(-wrong, kind="stable")[: MOST - 1])
    others = np.setdiff1d(np.arange(len(names)), worst)
    order, starts = np.concatenate([worst, others]), np.arange(len(worst) + 1)
    table = np.add.reduceat(np.add.reduceat(counts[order][:, order], starts, axis=0), starts, axis=1)
    return [*(names[place] for place in worst), f"{len(others)} others"], table


def _long(names: Sequence[str]) -> bool:
    return sum(map(len, names)) > 48
