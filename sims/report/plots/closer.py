"""A second panel that shows the last points of curves apart, where the first ones press them together."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sims.report.plots.look import HEIGHT, TEXT, Look, canvas

Points = Sequence[tuple[float, float]]

_FEWEST = 4  # places along the x axis
_SMALL = 1 / 3  # of the height of all points: what the last ones lie within


def closer(curves: Sequence[Points]) -> tuple[float, float] | None:
    """Where the later half of curves lies, of as many from the first one on as lie close together.

    Args:
        curves: Points (x, y) of each, at least one; the first is what the picture is about.

    Returns:
        Lowest and highest y to show, with a margin; None where one panel shows the first's points apart.

    >>> closer([[(1, 10.0), (2, 90.0), (3, 97.0), (4, 98.0)], [(1, 20.0), (4, 60.0)]])
    (96.9, 98.1)
    >>> closer([[(1, 10.0), (2, 20.0), (3, 30.0), (4, 40.0), (5, 50.0)]])
    """
    everything = np.array([point for curve in curves for point in curve], float).reshape(-1, 2)
    places, whole = np.unique(everything[:, 0]), float(np.ptp(everything[:, 1])) if len(everything) else 0.0
    if len(places) < _FEWEST or not whole:
        return None
    near: list[float] = []
    for place, curve in enumerate(curves):
        together = [*near, *(y for x, y in curve if x >= middle(curve))]
        if together and max(together) - min(together) <= _SMALL * whole:
            near = together
        elif not place:
            return None
    margin = 0.1 * (max(near) - min(near)) or 0.01 * whole
    return min(near) - margin, max(near) + margin


def middle(curve: Points) -> float:
    """Where the later half of a curve begins."""
    places = sorted(x for x, _ in curve)
    return places[len(places) // 2]


def panels(curves: Sequence[Points], look: Look, draw: Callable[[Axes], Any]) -> tuple[Figure, list[Axes], Any]:
    """A figure with what is drawn, and where it helps a second time below, closer to the end.

    Args:
        curves: Points (x, y) of all that is drawn.
        look: Colours.
        draw: Draws into axes; what it returns for the first ones is handed on.

    Returns:
        The figure, its axes, and what was drawn first.
    """
    near = closer(curves)
    figure, axes = canvas(1.6 * HEIGHT if near else HEIGHT, look, ratios=(3, 2) if near else (1,))
    drawn = draw(axes[0])
    if near:
        draw(axes[1])
        if axes[1].get_xscale() == "log":  # within so short a way it would have hardly a number
            axes[1].set_xscale("linear")
            axes[1].xaxis.set_major_locator(MaxNLocator(6))
        axes[1].set_ylabel("")
        axes[1].set_ylim(*near)
        axes[1].set_xlim(min(map(middle, curves)), max(x for curve in curves for x, _ in curve))
        axes[1].set_title("The later half, closer", loc="left", fontsize=TEXT, color=look.faint)
    return figure, axes, drawn
