"""Quality against what a device must hold and compute, beside the budget's lines."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fedkd.objectives.metric import Scale
from fedkd.results.search import Candidate
from sims.report.edge_file import EdgeFile
from sims.report.edge_words import KB
from sims.report.plots.envelope import envelope, unbeaten
from sims.report.plots.labels import Named, label_points
from sims.report.plots.look import LIGHT, Look, canvas, legend, size_axis

_FAR = 10  # points, of shares, that a file is worse than the best; what fails there would press the others together
_FEW = 12  # files; of more, only those that nothing beats are numbered
_PANEL = 2.5  # inches
_ORDER = [  # of the legend, by columns
    *("Meets the budget", "Fails", "Fails, far below the others"),
    *("Chosen", "Closest", "Budget"),
]  # and last the quality that is allowed


@dataclass(frozen=True)
class _Cost:
    """What a device has little of.

    Args:
        line: of the budget.
        key: of a candidate.
        label: of the axis.
        unit: what the axis counts in.
    """

    line: str
    key: str
    label: str
    unit: float


_COSTS = (
    _Cost("flash", "flash_bytes", "Flash, KB of 1,024 bytes", KB),
    _Cost("arena", "arena_bytes", "Arena in TFLite Micro, KB of 1,024 bytes", KB),
    _Cost("macs", "macs", "Multiply-accumulates, thousands", 1e3),
)


@dataclass(frozen=True)
class _Mark:
    """A candidate in the picture.

    Args:
        number: in the page's table, from 1.
        file: the candidate.
        quality: in the runtime where it is worst, as it is shown: shares in per cent.
        far: whether it is too far below the others to be drawn at its place.
        shown: whether the page is about it.
    """

    number: int
    file: Candidate
    quality: float
    far: bool
    shown: bool

    @property
    def name(self) -> str:
        """Its number; with its quality, where the axis doesn't tell it."""
        return f"{self.number}: {self.quality:.1f} %" if self.far else str(self.number)


def edge_frontier(edge: EdgeFile, look: Look = LIGHT) -> Figure:
    """Quality in the runtime where it is worst, against flash, arena and multiplications.

    Args:
        edge: a search with at least one candidate that ran.
        look: colours.

    Returns:
        The figure: a panel a cost that was measured. Numbers are the candidates' in the page's table; lines are the
        budget's, steps join what nothing cheaper beats; files far below the others stand on the axis.
    """
    marks = _marks(edge)
    costs = [cost for cost in _COSTS if any(getattr(mark.file, cost.key) is not None for mark in marks)]
    figure, panels = canvas(0.7 + _PANEL * len(costs), look, ratios=(1,) * len(costs))
    handles: dict[str, Artist] = {}
    points = [_panel(axes, cost, marks, edge, look, handles) for axes, cost in zip(panels, costs, strict=True)]
    legend(figure, [handles[label] for label in sorted(handles, key=lambda label: [*_ORDER, label].index(label))], look)
    figure.draw_without_rendering()
    for axes, (named, others) in zip(panels, points, strict=True):
        label_points(axes, named, look, others)
    return figure


def _marks(edge: EdgeFile) -> list[_Mark]:
    """The candidates that ran."""
    ran = [(number, file, edge.lowest(file)) for number, file in enumerate(edge.candidates, 1)]
    scale = edge.content.metric
    known = [(number, file, found[1]) for number, file, found in ran if found]
    best = min((quality for *_, quality in known), key=lambda quality: scale.lost(quality, 0.0))
    marks = []
    for number, file, quality in known:
        far = scale.unit == "%" and scale.lost(quality, best) > _FAR and not file.usable
        marks.append(_Mark(number, file, scale.factor * quality, far, file is edge.shown))
    return marks


def _panel(
    axes: Axes, cost: _Cost, marks: Sequence[_Mark], edge: EdgeFile, look: Look, handles: dict[str, Artist]
) -> tuple[dict[str, Named], list[tuple[float, float]]]:
    """One cost's points and lines; returns those to name and the others, and adds what the legend shows."""
    held = [mark for mark in marks if getattr(mark.file, cost.key) is not None]
    scale, inside = edge.content.metric, [mark.quality for mark in marks if not mark.far]
    edge_of_all = min(inside, default=0.0) - 1 if scale.better == "higher" else max(inside, default=0.0) + 1
    at = {mark.name: getattr(mark.file, cost.key) / cost.unit for mark in held}
    places = {mark.name: (at[mark.name], edge_of_all if mark.far else mark.quality) for mark in held}
    for mark in held:
        for style in _styles(mark, edge.content.chosen is not None, look):
            (drawn,) = axes.plot(*([at] for at in places[mark.name]), linestyle="", clip_on=False, **style)
            handles.setdefault(style["label"], drawn)
    near = [places[mark.name] for mark in held if not mark.far]
    envelope(axes, near, look, scale.better)
    limit, allowed = edge.content.budget.get(cost.line), edge.floor()
    lines = {
        "x": [] if limit is None else [limit / cost.unit],
        "y": [] if allowed is None else [scale.factor * allowed],
    }
    handles |= _budget(axes, lines["x"], lines["y"], _allowed(scale), look)
    costs, qualities = zip(*places.values(), strict=True)
    _scale(axes, [*costs, *lines["x"]], [*qualities, *lines["y"]], 2.0 if scale.unit == "%" else 0.0)
    axes.set_xlabel(cost.label)
    axes.set_ylabel(scale.with_unit(scale.title))
    best = unbeaten(near, scale.better)
    named = [mark.name for mark in held if len(held) <= _FEW or mark.shown or places[mark.name] in best]
    others = [place for name, place in places.items() if name not in named]
    return {name: Named(places[name], look.ink) for name in named}, others


def _styles(mark: _Mark, chosen: bool, look: Look) -> list[dict[str, Any]]:
    """How a file is drawn: in shape and colour whether it meets the budget, with a ring if the page is about it."""
    point: dict[str, Any] = {"markersize": 7, "markeredgecolor": look.paper, "markeredgewidth": 0.7, "zorder": 3}
    label, colour, shape = "Fails", look.teacher, "X"
    if mark.file.usable:
        label, colour, shape = "Meets the budget", look.student, "o"
    if mark.far:
        label, shape = "Fails, far below the others", "v"
    styles = [point | {"label": label, "color": colour, "marker": shape}]
    if mark.shown:
        ring = {"marker": "o", "markersize": 11, "markerfacecolor": "none", "markeredgewidth": 1.5, "zorder": 4}
        styles.append(ring | {"label": "Chosen" if chosen else "Closest", "color": look.ink})
    return styles


def _allowed(scale: Scale) -> str:
    """What the legend calls the quality that the budget's drop leaves."""
    return f"{'Lowest' if scale.better == 'higher' else 'Highest'} {scale.label} allowed"


def _budget(
    axes: Axes, limits: Sequence[float], floors: Sequence[float], allowed: str, look: Look
) -> dict[str, Artist]:
    """The budget's limit of a cost and the quality that it leaves, as lines; what the legend shows of them."""
    style: dict[str, Any] = {"color": look.ink, "linewidth": 1.2, "zorder": 2}
    drawn: list[Artist] = [axes.axvline(limit, label="Budget", **style) for limit in limits]
    drawn += [axes.axhline(floor, linestyle=":", label=allowed, **style) for floor in floors]
    return {str(line.get_label()): line for line in drawn}


def _scale(axes: Axes, costs: Sequence[float], qualities: Sequence[float], least: float) -> None:
    """Costs from zero, or logarithmic where they differ a lot; of quality at least so much."""
    size_axis(axes, costs, [], log=0 < 8 * min(costs) < max(costs))
    low, high = min(qualities), max(qualities)
    margin = max(0.12 * (high - low), (least - (high - low)) / 2) or 0.05 * abs(high) or 1.0
    axes.set_ylim(low - margin, high + margin)
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
