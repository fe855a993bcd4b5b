"""Quality: over the rounds, and over what a client has sent and received."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedkd.results.round import Round
from fedkd.results.run_record import RunRecord
from fedkd.results.task_record import LARGEST_CLASS
from sims.report.plots.closer import Points, panels
from sims.report.plots.look import LIGHT, Look, first_finishing, legend, shade_finishing, size_axis, whole
from sims.report.table import MB


def quality_by_round(run: RunRecord, look: Look = LIGHT) -> Figure:
    """Quality of student and teachers, round by round.

    Args:
        run: a run of at least one round.
        look: colours.

    Returns:
        The figure; finishing rounds are shaded, the teachers' spread over clients is a band. Where the last points lie
        close together, a second panel shows them apart.
    """
    rounds = [float(row.number) for row in run.history]
    finish = first_finishing(run)

    def draw(axes: Axes) -> list[Artist]:
        handles = _quality(axes, run, rounds, look)
        if finish is not None:
            handles.append(shade_finishing(axes, rounds[finish] - 0.5, rounds[-1] + 0.5, look))
        axes.xaxis.set_major_locator(whole(10))
        axes.set_xlim(rounds[0] - 0.5, rounds[-1] + 0.5)
        return handles

    figure, axes, handles = panels([points for points, *_ in _curves(run, rounds, look)], look, draw)
    axes[-1].set_xlabel("Round")
    legend(figure, handles, look)
    return figure


def quality_by_megabytes(run: RunRecord, look: Look = LIGHT) -> Figure:
    """Quality against what a client has sent and received so far.

    Args:
        run: a run of at least one round.
        look: colours.

    Returns:
        The figure; vertical lines mark what FedAvg of the student and of the teacher would have taken. Where the last
        points lie close together, a second panel shows them apart.
    """
    sent = [total / MB for total in run.bytes_per_client()]
    finish = first_finishing(run)
    traffic = run.summary.traffic if run.summary else {}
    marks = {which: (traffic.get(f"dense_{which}_bytes_per_client") or 0) / MB for which in ("student", "teacher")}

    def draw(axes: Axes) -> list[Artist]:
        handles = _quality(axes, run, sent, look)
        if finish is not None:
            handles.append(shade_finishing(axes, sent[max(0, finish - 1)], sent[-1], look))
        for which, style in (("student", "--"), ("teacher", ":")):
            if marks[which]:
                label = f"FedAvg of {which}: {marks[which]:,.3g} MB"
                handles.append(axes.axvline(marks[which], color=look.ink, linestyle=style, linewidth=1.2, label=label))
        size_axis(axes, sent, list(marks.values()), log=max(marks.values()) > 8 * sent[-1] > 0)
        return handles

    figure, axes, handles = panels([points for points, *_ in _curves(run, sent, look)], look, draw)
    axes[-1].set_xlabel("Sent and received by a client so far, MB")
    legend(figure, handles, look)
    return figure


def _quality(axes: Axes, run: RunRecord, x: Sequence[float], look: Look) -> list[Artist]:
    """Curves of all that the run has of the deciding metric, over the given x; returns what the legend shows."""
    axes.set_ylabel(run.metric.axis)
    handles: list[Artist] = []
    for points, label, style in _curves(run, x, look):
        size = 3.5 if len(points) < 60 else 0
        handles += axes.plot(*zip(*points, strict=True), markersize=size, label=label, **style)
    _band(axes, run, x, look)
    return handles + _baseline(axes, run, look)


def _curves(run: RunRecord, x: Sequence[float], look: Look) -> list[tuple[Points, str, dict[str, Any]]]:
    """Points, label and style of each curve that the run has."""
    metric = run.metric
    curves: tuple[tuple[Callable[[Round], float | None], str, dict[str, Any]], ...] = (
        *(
            [(partial(_shared, metric.name, False), run.shared_name, _line(look.student, "o", "-"))]
            if run.ships
            else []
        ),
        (partial(_shared, metric.name, True), "Teacher, before it teaches", _line(look.teacher, "D", "-")),
        (lambda row: row.teacher_mean, "Teachers ± std", _line(look.teacher, "s", "-")),
        (lambda row: row.teacher_personal, "Teachers, own data", _line(look.personal, "^", "--")),
    )
    found: list[tuple[Points, str, dict[str, Any]]] = []
    for figure, label, style in curves:
        known = [(at, figure(row)) for at, row in zip(x, run.history, strict=True)]
        points = [(at, metric.factor * value) for at, value in known if value is not None]
        if points:
            found.append((points, label, style))
    return found


def _shared(metric: str, teacher: bool, row: Round) -> float | None:
    """Quality of what is shared in a round, the teacher alone or not."""
    return row.shared.get(metric) if (row.phase == "teacher") == teacher else None


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
