"""Accuracy: over the rounds, and over what a client has sent and received."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from fedkd.results.run_folder import RunFolder
from sims.report.plots.look import HEIGHT, LIGHT, Look, canvas, first_finishing, legend, size_axis, whole
from sims.report.table import MB


def quality_by_round(run: RunFolder, look: Look = LIGHT) -> Figure:
    """Accuracy of student and teachers, round by round.

    Args:
        run: a run of at least one round.
        look: colours.

    Returns:
        The figure; finishing rounds are shaded, the teachers' spread over clients is a band.
    """
    figure, (axes,) = canvas(HEIGHT, look)
    rounds = [float(row["round"]) for row in run.history]
    handles = _quality(axes, run, rounds, look)
    finish = first_finishing(run)
    if finish is not None:
        handles.append(_shade(axes, rounds[finish] - 0.5, rounds[-1] + 0.5, look))
    axes.set_xlabel("Round")
    axes.xaxis.set_major_locator(whole(10))
    axes.set_xlim(rounds[0] - 0.5, rounds[-1] + 0.5)
    legend(figure, handles, look)
    return figure


def quality_by_megabytes(run: RunFolder, look: Look = LIGHT) -> Figure:
    """Accuracy against what a client has sent and received so far.

    Args:
        run: a run of at least one round.
        look: colours.

    Returns:
        The figure; vertical lines mark what FedAvg of the student and of the teacher would have taken.
    """
    figure, (axes,) = canvas(HEIGHT, look)
    sent = [total / MB for total in run.bytes_per_client()]
    handles = _quality(axes, run, sent, look)
    finish = first_finishing(run)
    if finish is not None:
        handles.append(_shade(axes, sent[max(0, finish - 1)], sent[-1], look))
    traffic = (run.summary or {}).get("traffic") or {}
    marks = {which: (traffic.get(f"dense_{which}_bytes_per_client") or 0) / MB for which in ("student", "teacher")}
    for which, style in (("student", "--"), ("teacher", ":")):
        if marks[which]:
            label = f"FedAvg of {which}: {marks[which]:,.3g} MB"
            handles.append(axes.axvline(marks[which], color=look.ink, linestyle=style, linewidth=1.2, label=label))
    axes.set_xlabel("Sent and received by a client so far, MB")
    size_axis(axes, sent, list(marks.values()), log=max(marks.values()) > 8 * sent[-1] > 0)
    legend(figure, handles, look)
    return figure


def _quality(axes: Axes, run: RunFolder, x: Sequence[float], look: Look) -> list[Artist]:
    """Curves of every accuracy the run has, over the given x; returns what the legend shows."""
    axes.set_ylabel("Accuracy, %")
    curves = (
        ("shared_accuracy", run.shared_name, look.student, "o", "-"),
        ("teacher_mean", "Teachers ± std", look.teacher, "s", "-"),
        ("teacher_personal", "Teachers, own data", look.personal, "^", "--"),
    )
    handles: list[Artist] = []
    for key, label, colour, marker, line in curves:
        points = [(at, 100 * row[key]) for at, row in zip(x, run.history, strict=True) if row.get(key) is not None]
        if points:
            style: dict[str, Any] = {"color": colour, "marker": marker, "linestyle": line, "label": label}
            handles += axes.plot(*zip(*points, strict=True), markersize=3.5 if len(points) < 60 else 0, **style)
    _band(axes, run, x, look)
    majority = ((run.summary or {}).get("accuracy") or {}).get("majority")
    if majority is not None:
        label = "Majority class"
        handles.append(axes.axhline(100 * majority, color=look.faint, linestyle="-.", linewidth=1, label=label))
    return handles


def _band(axes: Axes, run: RunFolder, x: Sequence[float], look: Look) -> None:
    """The teachers' spread over clients."""
    rows = [
        (at, 100 * row["teacher_mean"], 100 * row["teacher_std"])
        for at, row in zip(x, run.history, strict=True)
        if row.get("teacher_mean") is not None and row.get("teacher_std") is not None
    ]
    if rows:
        at, mean, std = np.array(rows).T
        axes.fill_between(at, mean - std, np.minimum(mean + std, 100), color=look.teacher, alpha=0.18, linewidth=0)


def _shade(axes: Axes, left: float, right: float, look: Look) -> Artist:
    """Shade the finishing rounds; returns what the legend shows."""
    axes.axvspan(left, right, color=look.shade, linewidth=0, zorder=0)
    return Patch(facecolor=look.shade, edgecolor=look.grid, label="Finishing rounds")
