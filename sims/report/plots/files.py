"""The files for devices: their sizes, and their accuracies."""

from collections.abc import Sequence
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedkd.results.run_record import RunRecord, file_label
from sims.report.plots.look import LIGHT, Look, canvas, legend, short, size_axis

KB = 1e3


def device_files(run: RunRecord, look: Look = LIGHT) -> Figure:
    """Size and accuracy of the files for devices, a row each: they often agree in one, which would hide points.

    Args:
        run: a run with at least one converted file.
        look: colours.

    Returns:
        The figure: sizes on the left, filled as it is and hollow in gzip; accuracies on the right.
    """
    files = run.converted_files()
    figure, (sizes, accuracies) = canvas(1.3 + 0.36 * len(files), look, ratios=(3, 2), beside=True)
    handles = _sizes(sizes, files, look) + _accuracies(accuracies, run, look)
    sizes.set_yticks(range(len(files)), [short(file_label(file)) for file in files])
    accuracies.set_yticks(range(len(files)), [""] * len(files))
    for axes in (sizes, accuracies):
        axes.set_ylim(len(files) - 0.5, -0.5)
    legend(figure, handles, look)
    return figure


def _sizes(axes: Axes, files: Sequence[dict[str, Any]], look: Look) -> list[Artist]:
    """Each file's size, as it is and in gzip, joined by a line; returns what the legend shows."""
    for index, file in enumerate(files):
        raw, packed = file["bytes"] / KB, file["gzip_bytes"] / KB
        axes.plot([packed, raw], [index] * 2, color=look.student, linewidth=1.2)
        axes.plot([raw], [index], **_dot(look.student, look.student, "File as it is"))
        axes.plot([packed], [index], **_dot(look.student, look.paper, "In gzip"))
    size_axis(axes, [0.0], [file["bytes"] / KB for file in files], log=False)
    axes.set_xlabel("Size, kB")
    return [*axes.lines[1:3]]


def _accuracies(axes: Axes, run: RunRecord, look: Look) -> list[Artist]:
    """Each file's accuracy beside the last round's; returns what the legend shows."""
    accuracy = [100 * file["accuracy"] for file in run.converted_files()]
    axes.plot(accuracy, range(len(accuracy)), **_dot(look.teacher, look.teacher, ""))
    axes.set_xlabel("Accuracy, %")
    handles: list[Artist] = []
    last = run.history[-1].shared.get("accuracy") if run.history else None
    if last is not None:
        label = "Student, last round"
        handles.append(axes.axvline(100 * last, color=look.faint, linestyle="--", linewidth=1.2, label=label))
        accuracy.append(100 * last)
    _accuracy_span(axes, accuracy)
    return handles


def _dot(edge: str, face: str, label: str) -> dict[str, Any]:
    """The style of a point without a line."""
    style: dict[str, Any] = {"marker": "o", "markersize": 7, "markeredgewidth": 1.5, "linestyle": "", "zorder": 3}
    return style | {"color": edge, "markerfacecolor": face, "label": label}


def _accuracy_span(axes: Axes, accuracies: Sequence[float]) -> None:
    """Show at least two points of accuracy, so that noise does not look like a cliff."""
    low, high = min(accuracies), max(accuracies)
    margin = max(0.15 * (high - low), (2 - (high - low)) / 2)
    axes.set_xlim(low - margin, high + margin)
