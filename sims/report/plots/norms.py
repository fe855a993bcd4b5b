"""How large the updates were, round by round, and whose stood out."""

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from fedkd.results.round import Round
from fedkd.results.run_record import RunRecord
from sims.report.plots.labels import Named, label_points
from sims.report.plots.look import HEIGHT, LIGHT, Look, canvas, legend, plain_logarithms, whole

_OUT = 2.0  # times the median: a largest norm that is named
_MOST = 12  # names in the picture, those of the largest
_FAR = 10  # times the least norm: what a linear axis would press together
_TOP = 20  # times the largest norm that was averaged: what was refused stands there at most, with its norm in words


def update_norms(run: RunRecord, look: Look = LIGHT) -> Figure:
    """The smallest, the middle and the largest L2 norm of the updates that were averaged, and those refused.

    Args:
        run: A run whose history has norms.
        look: Colours.

    Returns:
        The figure: a band with its median; a largest norm of more than twice the median is marked with its client, and
        so is each update that was refused and whose norm is known, at the top where it is far above all others.
    """
    rows = [row for row in run.history if row.norms.get("median") is not None]
    figure, (axes,) = canvas(HEIGHT, look)
    rounds = [row.number for row in rows]
    low, middle, high = (np.array([row.norms[name] for row in rows], float) for name in ("min", "median", "max"))
    axes.fill_between(rounds, low, high, color=look.student, alpha=0.18, linewidth=0)
    band = Patch(facecolor=look.student, alpha=0.18, label="Smallest to largest")
    handles: list[Artist] = [*axes.plot(rounds, middle, color=look.student, marker="o", markersize=3, label="Median")]
    handles.append(band)
    named = {**_outliers(axes, rows, look, handles), **_refused(axes, run, _TOP * high.max(), look, handles)}
    everything = [*low, *high, *(point.place[1] for point in named.values())]
    if min(everything) > 0 and max(everything) > _FAR * min(everything):
        axes.set_yscale("log")
        plain_logarithms(axes.yaxis, min(everything), max(everything))
    axes.set_xlabel("Round")
    axes.set_ylabel("L2 norm of an update")
    axes.xaxis.set_major_locator(whole(10))
    legend(figure, handles, look)
    figure.draw_without_rendering()
    largest = sorted(named, key=lambda name: -named[name].place[1])[:_MOST]
    label_points(axes, {name: named[name] for name in largest}, look)
    return figure


def _outliers(axes: Axes, rows: list[Round], look: Look, handles: list[Artist]) -> dict[str, Named]:
    """Mark largest norms that stand out, and say whose they are."""
    named = {}
    for row in rows:
        median, most, whose = (row.norms.get(name) for name in ("median", "max", "largest"))
        if median and most and whose is not None and most > _OUT * median:
            named[f"client {whose:.0f}, round {row.number}"] = Named((row.number, most), look.teacher)
    _mark(axes, named, "^", f"Largest, over {_OUT:g} times the median", look.teacher, handles)
    return named


def _refused(axes: Axes, run: RunRecord, top: float, look: Look, handles: list[Artist]) -> dict[str, Named]:
    """Mark what was refused, none above the top, and say whose it was."""
    named = {}
    for row in run.history:
        for entry in row.refused:
            norm = entry.get("norm") if isinstance(entry, dict) else None
            if isinstance(norm, int | float) and norm > 0:
                where = (row.number, min(norm, top))
                named[f"client {entry['client']} refused, round {row.number}: {norm:.3g}"] = Named(where, look.ink)
    _mark(axes, named, "x", "Refused", look.ink, handles)
    return named


def _mark(axes: Axes, named: dict[str, Named], marker: str, label: str, colour: str, handles: list[Artist]) -> None:
    if named:
        x, y = zip(*(point.place for point in named.values()), strict=True)
        handles += axes.plot(x, y, color=colour, marker=marker, linestyle="", markersize=6, label=label)
