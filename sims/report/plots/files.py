"""The files for devices: their sizes, and their quality."""

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedkd.results.device_file import DeviceFile
from fedkd.results.run_record import RunRecord
from sims.report.plots.look import LIGHT, Look, canvas, legend, short, size_axis

KB = 1e3


def device_files(run: RunRecord, look: Look = LIGHT) -> Figure:
    """Size and quality of the files for devices, a row each: they often agree in one, which would hide points.

    Args:
        run: a run with at least one converted file.
        look: colours.

    Returns:
        The figure: sizes on the left, filled as it is and hollow in gzip; quality on the right.
    """
    files = run.converted_files()
    figure, (sizes, accuracies) = canvas(1.3 + 0.36 * len(files), look, ratios=(3, 2), beside=True)
    handles = _sizes(sizes, files, look) + _quality(accuracies, run, look)
    sizes.set_yticks(range(len(files)), [short(file.label) for file in files])
    accuracies.set_yticks(range(len(files)), [""] * len(files))
    for axes in (sizes, accuracies):
        axes.set_ylim(len(files) - 0.5, -0.5)
    legend(figure, handles, look)
    return figure


def _sizes(axes: Axes, files: Sequence[DeviceFile], look: Look) -> list[Artist]:
    """Each file's size, as it is and in gzip, joined by a line; returns what the legend shows."""
    for index, file in enumerate(files):
        raw, packed = (file.flash_bytes or 0) / KB, (file.gzip_bytes or 0) / KB
        axes.plot([packed, raw], [index] * 2, color=look.student, linewidth=1.2)
        axes.plot([raw], [index], **_dot(look.student, look.student, "File as it is"))
        axes.plot([packed], [index], **_dot(look.student, look.paper, "In gzip"))
    size_axis(axes, [0.0], [(file.flash_bytes or 0) / KB for file in files], log=False)
    axes.set_xlabel("Size, kB")
    return [*axes.lines[1:3]]


def _quality(axes: Axes, run: RunRecord, look: Look) -> list[Artist]:
    """Each file's quality beside the last round's; returns what the legend shows."""
    metric = run.metric
    shown = [metric.factor * file.deciding if file.deciding is not None else math.nan for file in run.converted_files()]
    axes.plot(shown, range(len(shown)), **_dot(look.teacher, look.teacher, ""))
    axes.set_xlabel(metric.axis.replace(" (", "\n("))  # the narrower half of the picture
    handles: list[Artist] = []
    last = run.history[-1].shared.get(metric.name) if run.history else None
    if last is not None:
        end = metric.factor * last
        label = "Student, last round"
        handles.append(axes.axvline(end, color=look.faint, linestyle="--", linewidth=1.2, label=label))
        shown.append(end)
    _span(axes, [value for value in shown if math.isfinite(value)], least=2.0 if metric.unit == "%" else 0.0)
    return handles


def _dot(edge: str, face: str, label: str) -> dict[str, Any]:
    """The style of a point without a line."""
    style: dict[str, Any] = {"marker": "o", "markersize": 7, "markeredgewidth": 1.5, "linestyle": "", "zorder": 3}
    return style | {"color": edge, "markerfacecolor": face, "label": label}


def _span(axes: Axes, values: Sequence[float], least: float) -> None:
    """Show at least two points of a share, so that noise does not look like a cliff."""
    if values:
        low, high = min(values), max(values)
        margin = max(0.15 * (high - low), (least - (high - low)) / 2, 1e-9)
        axes.set_xlim(low - margin, high + margin)
