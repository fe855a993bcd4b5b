"""Several runs in one picture: quality against megabytes and against rounds, seeds as error bars and bands."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedkd.objectives.metric import Scale
from fedkd.results.run_record import RunRecord
from sims.report.plots.closer import panels
from sims.report.plots.envelope import envelope
from sims.report.plots.labels import Named, label_points
from sims.report.plots.look import HEIGHT, LIGHT, TEXT, Look, canvas, legend, short, size_axis, whole
from sims.report.table import MB, total_bytes

_MARKERS = "os^Dv"


@dataclass(frozen=True)
class Series:
    """Runs that differ in their seeds alone, or one run.

    Args:
        label: What the picture calls them.
        runs: A run a seed, each of at least one round.
    """

    label: str
    runs: tuple[RunRecord, ...]

    def rounds(self) -> np.ndarray:
        """Numbers of the rounds that all seeds have reached."""
        return np.array([row.number for row in self.runs[0].history[: self._shared_length]])

    def quality(self, metric: Scale) -> np.ndarray:
        """Quality of the shared model as it is shown, of shape (seeds, rounds); NaN where it wasn't measured."""
        histories = [run.history[: self._shared_length] for run in self.runs]
        # Rounds of the teacher alone say nothing of what ships.
        rows = [[row.shared.get(metric.name) if row.phase != "teacher" else None for row in each] for each in histories]
        return metric.factor * np.array(rows, float)

    def megabytes(self) -> np.ndarray:
        """What a client has sent and received after each round, the mean over seeds."""
        return np.mean([run.bytes_per_client()[: self._shared_length] for run in self.runs], axis=0) / MB

    def ends(self, metric: Scale) -> np.ndarray:
        """Megabytes a client and quality as shown at each run's end, of shape (seeds, 2); NaN where not measured."""
        return np.array([_end(run, metric) for run in self.runs], float)

    @property
    def _shared_length(self) -> int:
        return min(len(run.history) for run in self.runs)


def _end(run: RunRecord, metric: Scale) -> tuple[float, float]:
    """The summary's figures, or those of the last round of a run without one."""
    quality = run.shared_figure(metric)
    return (total_bytes(run.traffic) or 0.0) / MB, float("nan") if quality is None else metric.factor * quality


def frontier(series: Sequence[Series], metric: Scale, look: Look = LIGHT, title: str = "") -> Figure:
    """Quality against megabytes: where each method ends, how it came there, and the best for so many bytes.

    Args:
        series: At least one.
        metric: What is shown.
        look: Colours.
        title: Above it, for a picture that stands alone.

    Returns:
        The figure: a labelled point a series with the standard deviation over seeds both ways, its rounds as a line
        with a band; what sends nothing is a horizontal line. A dashed line joins what nothing else beats.
    """
    figure, (axes,) = canvas(1.5 * HEIGHT, look)
    ends, points = [item.ends(metric) for item in series], dict[str, Named]()
    worst = _worst_shown(ends, metric)
    near = [_shown(item, metric, worst) for item in series]
    _scale(axes, [*(mb for item, which in zip(series, near, strict=True) for mb in item.megabytes()[which])])
    for item, end, which, style in zip(series, ends, near, _styles(look), strict=False):
        sent, quality = end.mean(axis=0)
        if not np.isfinite(quality):
            continue
        if sent == 0:
            _nothing_sent(axes, item.label, quality, style["color"])
            continue
        drawn = np.where(which, item.quality(metric), np.nan)
        _curve(axes, item.megabytes(), drawn, {**style, "marker": ""}, faint=True)
        _end_point(axes, end, style)
        points[short(item.label)] = Named((sent, quality), style["color"])
    axes.margins(y=0.02)
    axes.set_title(title, loc="left", fontsize=TEXT, color=look.ink, wrap=True)
    envelope(axes, [point.place for point in points.values()], look, metric.better)
    axes.set_xlabel("Sent and received by a client, MB")
    axes.set_ylabel(metric.axis)
    figure.draw_without_rendering()
    label_points(axes, points, look)
    return figure


def _end_point(axes: Axes, end: np.ndarray, style: Mapping[str, Any]) -> None:
    """Where runs end, their mean with the standard deviation over seeds both ways."""
    sent, quality = end.mean(axis=0)
    across, up = end.std(axis=0, ddof=1) if len(end) > 1 else np.zeros(2)
    bars: dict[str, Any] = {"capsize": 2, "elinewidth": 1.2, "markersize": 6, "zorder": 4, "linestyle": ""}
    axes.errorbar(sent, quality, up, across, **bars, **style)


def quality_by_rounds(series: Sequence[Series], metric: Scale, look: Look = LIGHT) -> Figure:
    """Quality after each round, a line with a band over seeds for each series.

    Args:
        series: At least one.
        metric: What is shown.
        look: Colours.
    """

    def draw(axes: Axes) -> list[Artist]:
        handles: list[Artist] = []
        for item, style in zip(series, _styles(look), strict=False):
            known = {**style, "label": short(item.label), "markersize": 3.5}
            handles += _curve(axes, item.rounds(), item.quality(metric), known)
        axes.set_ylabel(metric.axis)
        axes.xaxis.set_major_locator(whole(10))
        return handles

    figure, axes, handles = panels([points for item in series if (points := _points(item, metric))], look, draw)
    axes[-1].set_xlabel("Round")
    legend(figure, handles, look)
    return figure


def _points(series: Series, metric: Scale) -> list[tuple[float, float]]:
    """Mean over seeds by round, where it was measured."""
    means = zip(series.rounds().tolist(), series.quality(metric).mean(axis=0).tolist(), strict=True)
    return [(number, value) for number, value in means if np.isfinite(value)]


def quality_by_setting(
    key: str,
    lines: Mapping[str, Mapping[float, Sequence[float]]],
    metric: Scale,
    look: Look = LIGHT,
    title: str = "",
) -> Figure:
    """Quality at the runs' ends against a setting of theirs, a line with a band over seeds for each label.

    Args:
        key: The setting.
        lines: By label and value of the setting, a figure for each seed, as it is kept.
        metric: What the figures are.
        look: Colours.
        title: Above it.
    """
    figure, (axes,) = canvas(HEIGHT, look)
    handles: list[Artist] = []
    for (label, ends), style in zip(lines.items(), _styles(look), strict=False):
        values = sorted(ends)
        low, middle, high = metric.factor * np.transpose([_band(ends[value]) for value in values])
        axes.fill_between(values, low, high, color=style["color"], alpha=0.12, linewidth=0)
        handles += axes.plot(values, middle, label=label, markersize=4.5, linewidth=1.1, **style)
    ticks = sorted({value for ends in lines.values() for value in ends})
    if ticks[0] > 0 and ticks[-1] >= 8 * ticks[0]:
        axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xlabel(key)
    axes.set_ylabel(metric.axis)
    axes.set_title(title, loc="left", fontsize=TEXT, color=look.ink, wrap=True)
    legend(figure, handles, look)
    return figure


def _band(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean minus, mean, and mean plus the standard deviation."""
    middle, spread = float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return middle - spread, middle, middle + spread


def _styles(look: Look) -> Any:
    """Colours and markers in turn; their numbers have no common factor, so pairs repeat late."""
    return ({"color": colour, "marker": marker} for colour, marker in zip(cycle(look.series), cycle(_MARKERS)))


def _curve(
    axes: Axes, x: np.ndarray, quality: np.ndarray, style: dict[str, Any], faint: bool = False
) -> Sequence[Artist]:
    """The mean over seeds along x, with a band of its standard deviation."""
    middle = quality.mean(axis=0)
    if len(quality) > 1:
        spread = quality.std(axis=0, ddof=1)
        axes.fill_between(x, middle - spread, middle + spread, color=style["color"], alpha=0.12, linewidth=0)
    return axes.plot(x, middle, alpha=0.55 if faint else 1, linewidth=1.1, **style)


def _scale(axes: Axes, sent: Sequence[float]) -> None:
    if positive := [mb for mb in sent if mb > 0]:
        size_axis(axes, positive, [], log=True)


def _worst_shown(ends: Sequence[np.ndarray], metric: Scale) -> float:
    """Quality beyond which no round is drawn: the first ones would press the ends together."""
    sign = 1 if metric.better == "higher" else -1
    edges = [sign * edge for end in ends for edge in _band(end[:, 1].tolist()) if np.isfinite(edge)]
    if not edges:
        return -sign * float("inf")
    least = 5.0 if metric.unit == "%" else 0.05 * float(np.abs(edges).max())
    return float(sign * (min(edges) - max(least, np.ptp(edges))))


def _shown(series: Series, metric: Scale, worst: float) -> np.ndarray:
    """Which of a series' rounds are drawn: those whose band is, too."""
    sign = 1 if metric.better == "higher" else -1
    bands = np.array([_band(column) for column in series.quality(metric).T.tolist()])
    inside: np.ndarray = np.all(sign * bands >= sign * worst, axis=1)
    return inside


def _nothing_sent(axes: Axes, label: str, quality: float, colour: str) -> None:
    axes.axhline(quality, color=colour, linestyle=":", linewidth=1.2)
    place: dict[str, Any] = {"ha": "left", "va": "bottom", "transform": axes.get_yaxis_transform()}
    axes.text(0.01, quality, f"{label}, nothing sent", color=colour, fontsize=TEXT - 1.5, **place)
