"""Several runs in one picture: quality against megabytes and against rounds, seeds as error bars and bands."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedkd.results.run_folder import RunFolder
from sims.report.plots.envelope import envelope
from sims.report.plots.labels import Named, label_points
from sims.report.plots.look import HEIGHT, LIGHT, TEXT, Look, canvas, legend, size_axis, whole
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
    runs: tuple[RunFolder, ...]

    def rounds(self) -> np.ndarray:
        """Numbers of the rounds that all seeds have reached."""
        return np.array([row["round"] for row in self.runs[0].history[: self._shared_length]])

    def quality(self, f1: bool = False) -> np.ndarray:
        """Accuracy, or F1, of the shared model in per cent, of shape (seeds, rounds)."""
        key = "shared_f1" if f1 else "shared_accuracy"
        rows = [[row.get(key) for row in run.history[: self._shared_length]] for run in self.runs]
        return 100 * np.array(rows, float)

    def megabytes(self) -> np.ndarray:
        """What a client has sent and received after each round, the mean over seeds."""
        return np.mean([run.bytes_per_client()[: self._shared_length] for run in self.runs], axis=0) / MB

    def ends(self, f1: bool) -> np.ndarray:
        """Megabytes a client and quality in per cent at each run's end, of shape (seeds, 2); NaN where not measured."""
        return np.array([_end(run, f1) for run in self.runs], float)

    @property
    def _shared_length(self) -> int:
        return min(len(run.history) for run in self.runs)


def _end(run: RunFolder, f1: bool) -> tuple[float, float]:
    """The summary's figures, or those of the last round of a run without one."""
    quality = (run.summary or {}).get("f1_positive") if f1 else run.accuracy.get("shared")
    return (total_bytes(run.traffic) or 0.0) / MB, float("nan") if quality is None else 100 * quality


def frontier(series: Sequence[Series], look: Look = LIGHT, f1: bool = False) -> Figure:
    """Quality against megabytes: where each method ends, how it came there, and the best for so many bytes.

    Args:
        series: At least one.
        look: Colours.
        f1: Show F1 instead of accuracy.

    Returns:
        The figure: a labelled point a series with the standard deviation over seeds both ways, its rounds as a line
        with a band; what sends nothing is a horizontal line. A dashed line joins what nothing else beats.
    """
    figure, (axes,) = canvas(1.5 * HEIGHT, look)
    ends = [item.ends(f1) for item in series]
    middles, points = np.array([end.mean(axis=0) for end in ends]), dict[str, Named]()
    lowest = _lowest_shown(middles[:, 1])
    shown = [mb for item in series for mb in item.megabytes()[item.quality(f1).mean(axis=0) >= lowest]]
    _scale(axes, [*shown, *middles[:, 0]])
    for item, end, (sent, quality), style in zip(series, ends, middles, _styles(look), strict=False):
        if not np.isfinite(quality):
            continue
        if sent == 0:
            _nothing_sent(axes, item.label, quality, style["color"])
            continue
        _curve(axes, item.megabytes(), item.quality(f1), {**style, "marker": ""}, faint=True)
        spread = end.std(axis=0, ddof=1) if len(end) > 1 else np.zeros(2)
        axes.errorbar(
            sent,
            quality,
            spread[1],
            spread[0],
            capsize=2,
            elinewidth=1.2,
            markersize=6,
            zorder=4,
            linestyle="",
            **style,
        )
        points[item.label] = Named((sent, quality), style["color"])
    axes.margins(y=0.01)
    axes.set_ylim(bottom=max(axes.get_ylim()[0], lowest))
    envelope(axes, [point.place for point in points.values()], look)
    axes.set_xlabel("Sent and received by a client, MB")
    axes.set_ylabel("F1, %" if f1 else "Accuracy, %")
    figure.draw_without_rendering()
    label_points(axes, points, look)
    return figure


def quality_by_rounds(series: Sequence[Series], look: Look = LIGHT) -> Figure:
    """Accuracy after each round, a line with a band over seeds for each series.

    Args:
        series: At least one.
        look: Colours.
    """
    figure, (axes,) = canvas(HEIGHT, look)
    handles: list[Artist] = []
    for item, style in zip(series, _styles(look), strict=False):
        rounds = item.rounds()
        handles += _curve(axes, rounds, item.quality(), {**style, "label": item.label, "markersize": 3.5})
    axes.set_xlabel("Round")
    axes.set_ylabel("Accuracy, %")
    axes.xaxis.set_major_locator(whole(10))
    legend(figure, handles, look)
    return figure


def quality_by_setting(
    key: str, lines: Mapping[str, Mapping[float, Sequence[float]]], look: Look = LIGHT, f1: bool = False
) -> Figure:
    """Quality at the runs' ends against a setting of theirs, a line with a band over seeds for each label.

    Args:
        key: The setting.
        lines: By label and value of the setting, a share in [0, 1] a seed.
        look: Colours.
        f1: Whether the shares are F1.
    """
    figure, (axes,) = canvas(HEIGHT, look)
    handles: list[Artist] = []
    for (label, ends), style in zip(lines.items(), _styles(look), strict=False):
        values = sorted(ends)
        low, middle, high = 100 * np.transpose([_band(ends[value]) for value in values])
        axes.fill_between(values, low, high, color=style["color"], alpha=0.12, linewidth=0)
        handles += axes.plot(values, middle, label=label, markersize=4.5, linewidth=1.1, **style)
    ticks = sorted({value for ends in lines.values() for value in ends})
    if ticks[0] > 0 and ticks[-1] >= 8 * ticks[0]:
        axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xlabel(key)
    axes.set_ylabel("F1, %" if f1 else "Accuracy, %")
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


def _lowest_shown(ends: np.ndarray) -> float:
    """Quality below which nothing is drawn: the first rounds would press the ends together."""
    known = ends[np.isfinite(ends)]
    return float(known.min() - max(5.0, np.ptp(known))) if len(known) else 0.0


def _nothing_sent(axes: Axes, label: str, quality: float, colour: str) -> None:
    axes.axhline(quality, color=colour, linestyle=":", linewidth=1.2)
    place: dict[str, Any] = {"ha": "left", "va": "bottom", "transform": axes.get_yaxis_transform()}
    axes.text(0.01, quality, f"{label}, nothing sent", color=colour, fontsize=TEXT - 1.5, **place)
