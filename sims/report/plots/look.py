"""What the pictures share: their colours, and the making of figures, axes and legends."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from fedkd.results.run_record import RunRecord

WIDTH, HEIGHT = 6.4, 3.9  # inches; at this width the text is still readable on a phone
TEXT = 10.0  # points


@dataclass(frozen=True)
class Look:
    """Colours of a figure, after Okabe and Ito's palette, which colour-blind readers tell apart."""

    ink: str = "#1f2328"
    faint: str = "#6e7781"
    grid: str = "#e4e8ec"
    paper: str = "#ffffff"
    shade: str = "#e9edf1"
    student: str = "#0072b2"
    teacher: str = "#d55e00"
    personal: str = "#009e73"
    dense: str = "#d9cfbd"
    ramp: tuple[str, ...] = ("#eef5fb", "#9ecae1", "#3f8fc5", "#08306b")
    series: tuple[str, ...] = ("#0072b2", "#d55e00", "#009e73", "#b3508a", "#a67c00", "#3a8fc2", "#5a5f66")


LIGHT = Look()
DARK = Look(
    ink="#e6edf3",
    faint="#9198a1",
    grid="#262c34",
    paper="#0d1117",
    shade="#1f2731",
    student="#56b4e9",
    teacher="#f0883e",
    personal="#3fc79a",
    dense="#5b5244",
    ramp=("#16222f", "#1f5d8c", "#4fa3d8", "#d6ecfa"),
    series=("#56b4e9", "#f0883e", "#3fc79a", "#e08fc0", "#e0c050", "#8ab8ff", "#b8bfc7"),
)


def canvas(
    height: float, look: Look, ratios: Sequence[float] = (1,), beside: bool = False
) -> tuple[Figure, list[Axes]]:
    """A figure with axes below (or beside) each other, dressed alike."""
    figure = Figure(figsize=(WIDTH, height), facecolor=look.paper, layout="constrained")
    FigureCanvasAgg(figure)
    shape: dict[str, Any] = {"ncols": len(ratios), "width_ratios": ratios}
    if not beside:
        shape = {"nrows": len(ratios), "height_ratios": ratios}
    panels = list(figure.subplots(**shape, squeeze=False).flat)
    for axes in panels:
        axes.set_facecolor(look.paper)
        axes.tick_params(colors=look.ink, labelsize=TEXT, length=3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(look.faint)
        axes.grid(color=look.grid, linewidth=0.7)
        axes.set_axisbelow(True)
        for label in (axes.xaxis.label, axes.yaxis.label):
            label.set(color=look.ink, fontsize=TEXT)
    return figure, panels


def legend(figure: Figure, handles: Sequence[Artist], look: Look) -> None:
    """A legend above the axes, where it can hide nothing; as many columns as the figure is wide for."""
    style: dict[str, Any] = {"fontsize": TEXT, "labelcolor": look.ink, "frameon": False, "columnspacing": 1.4}
    for columns in (3, 2, 1):
        drawn = figure.legend(handles=list(handles), loc="outside upper left", ncols=columns, **style)
        if columns == 1 or drawn.get_window_extent().width < figure.bbox.width:
            return
        drawn.remove()


def whole(ticks: int) -> MaxNLocator:
    """Ticks at whole numbers, in ones, twos, fives or tens."""
    return MaxNLocator(ticks, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1)


def size_axis(axes: Axes, sent: Sequence[float], marks: Sequence[float], log: bool) -> None:
    """Scale the x axis to hold every size: from zero, or logarithmic where the marks are far off."""
    far = max([*sent, *marks])
    if not log:
        axes.set_xlim(0, 1.06 * far if far else 1)
        return
    axes.set_xscale("log")
    near = min(size for size in sent if size > 0)
    axes.set_xlim(0.8 * near, 1.3 * far)
    plain_logarithms(axes.xaxis, near, far)


def plain_logarithms(axis: Axis, near: float, far: float) -> None:
    """Write the numbers of a logarithmic axis from near to far as people do, without powers."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if far < 100 * near else (1,)))
    axis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:,g}"))
    axis.set_minor_formatter(NullFormatter())


def shade_finishing(axes: Axes, left: float, right: float, look: Look) -> Artist:
    """Shade the finishing rounds; returns what the legend shows."""
    axes.axvspan(left, right, color=look.shade, linewidth=0, zorder=0)
    return Patch(facecolor=look.shade, edgecolor=look.grid, label="Finishing rounds")


def first_finishing(run: RunRecord) -> int | None:
    """Index of the first finishing round, None where the run has none."""
    return next((index for index, row in enumerate(run.history) if row.phase == "finish"), None)


def short(name: str, longest: int = 32) -> str:
    """The name, its middle left out if it is too long for the margin, and never read as mathematics."""
    cut = name if len(name) <= longest else f"{name[: longest // 2 - 1]}…{name[-longest // 2 :]}"
    return cut.replace("$", r"\$")
