"""Quality: over the rounds, and over what a client has sent and received."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from fedkd.results.round import Round
from fedkd.results.run_record import RunRecord
from fedkd.results.task_record import LARGEST_CLASS
from sims.report.plots.look import HEIGHT, LIGHT, Look, canvas, first_finishing, legend, size_axis, whole
from sims.report.table import MB


def quality_by_round(run: RunRecord, look: Look = LIGHT) -> Figure:
    """Quality of student and teachers, round by round.

    Args:
        run: a run of at least one round.
        look: colours.

    Returns:
        The figure; finishing rounds are shaded, the teachers' spread over clients is a band.
    """
    figure, (axes,) = canvas(HEIGHT, look)
    rounds = [float(row.number) for row in run.history]
    handles = _quality(axes, run, rounds, look)
    finish = first_finishing(run)
    if finish is not None:
        handles.append(_shade(axes, rounds[finish] - 0.5, rounds[-1] + 0.5, look))
    axes.set_xlabel("Round")
    axes.xaxis.set_major_locator(whole(10))
    axes.set_xlim(rounds[0] - 0.5, rounds[-1] + 0.5)
    legend(figure, handles, look)
    return figure


def quality_by_megabytes(run: RunRecord, look: Look = LIGHT) -> Figure:
    """Quality against what a client has sent and received so far.

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
    traffic = run.summary.traffic if run.summary else {}
    marks = {which: (traffic.get(f"dense_{which}_bytes_per_client") or 0) / MB for which in ("student", "teacher")}
    for which, style in (("student", "--"), ("teacher", ":")):
        if marks[which]:
            label = f"FedAvg of {which}: {marks[which]:,.3g} MB"
            handles.append(axes.axvline(marks[which], color=look.ink, linestyle=style, linewidth=1.2, label=label))
    axes.set_xlabel("Sent and received by a client so far, MB")
    size_axis(axes, sent, list(marks.values()), log=max(marks.values()) > 8 * sent[-1] > 0)
    legend(figure, handles, look)
    return figure


def _quality(axes: Axes, run: RunRecord, x: Sequence[float], look: Look) -> list[Artist]:
    """Curves of all that the run has of the deciding metric, over the given x; returns what the legend shows."""
    metric = run.metric
    axes.set_ylabel(metric.axis)
    curves: tuple[tuple[Callable[[Round], float | None], str, dict[str, Any]], ...] = (
        (lambda row: row.shared.get(metric.name), run.shared_name, _line(look.student, "o", "-")),
        (lambda row: row.teacher_mean, "Teachers ± std", _line(look.teacher, "s", "-")),
        (lambda row: row.teacher_personal, "Teachers, own data", _line(look.personal, "^", "--")),
    )
    handles: list[Artist] = []
    for figure, label, style in curves:
        known = [(at, figure(row)) for at, row in zip(x, run.history, strict=True)]
        points = [(at, metric.factor * value) for at, value in known if value is not None]
        if points:
            size = 3.5 if len(points) < 60 else 0
            handles += axes.plot(*zip(*points, strict=True), markersize=size, label=label, **style)
    _band(axes, run, x, look)
    return handles + _baseline(axes, run, look)


def _line(colour: str, marker: str, line: str) -> dict[str, Any]:
    return {"color": colour, "marker": marker, "linestyle": line}


def _band(axes: Axes, run: RunRecord, x: Sequence[float], look: Look) -> None:
    """The teachers' spread over clients."""
    rows = [
        (at, row.teacher_mean, row.teacher_std)
        for at, row in zip(x, run.history, strict=True)
        if row.teacher_mean is not None and row.teacher_std is not None
    ]
    if rows:
        at, *figures = np.array(rows).T
        mean, std = (run.metric.factor * figure for figure in figures)
        most = 100 if run.metric.unit == "%" else np.inf
        axes.fill_between(at, mean - std, np.minimum(mean + std, most), color=look.teacher, alpha=0.18, linewidth=0)


def _baseline(axes: Axes, run: RunRecord, look: Look) -> list[Artist]:
    """A line where a model is that has learnt nothing; returns what the legend shows."""
    baseline = run.quality.baseline
    if baseline is None:
        return []
    said = run.baseline_label
    label = "Majority class" if said == LARGEST_CLASS else said[:1].upper() + said[1:]
    style: dict[str, Any] = {"color": look.faint, "linestyle": "-.", "linewidth": 1}
    return [axes.axhline(run.metric.factor * baseline, label=label, **style)]


def _shade(axes: Axes, left: float, right: float, look: Look) -> Artist:
    """Shade the finishing rounds; returns what the legend shows."""
    axes.axvspan(left, right, color=look.shade, linewidth=0, zorder=0)
    return Patch(facecolor=look.shade, edgecolor=look.grid, label="Finishing rounds")
