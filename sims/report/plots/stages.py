"""Quality at each stage from the teacher to the file, with its confidence interval."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedkd.results.search import Stage
from sims.report.edge_file import EdgeFile
from sims.report.edge_words import runtime
from sims.report.plots.look import LIGHT, TEXT, Look, canvas, legend, short

_MARKERS = "os^Dv"


def edge_stages(edge: EdgeFile, look: Look = LIGHT) -> Figure:
    """Quality of teacher, student and what became of it, a row each.

    Args:
        edge: a search with at least one stage.
        look: colours.

    Returns:
        The figure: a point a stage with its interval as a bar, in the colour and shape of the runtime it ran in.
    """
    stages, metric = edge.stages(), edge.content.metric
    factor = metric.factor
    figure, (axes,) = canvas(1.2 + 0.34 * len(stages), look)
    handles = {}
    for index, stage in enumerate(stages):
        style = _style(stage.runtime, stages, look)
        at, spread = factor * stage.quality, None
        if stage.low is not None and stage.high is not None:
            spread = [[at - factor * stage.low], [factor * stage.high - at]]
        axes.errorbar(at, index, xerr=spread, capsize=3, elinewidth=1.4, markersize=6.5, linestyle="", **style)
        handles[stage.runtime] = axes.plot([], [], linestyle="", **style, label=short(runtime(stage.runtime)))[0]
        _figure_beside(axes, index, metric.text(stage.quality), look)
    axes.set_yticks(range(len(stages)), [short(stage.name) for stage in stages])
    axes.set_ylim(len(stages) - 0.5, -0.5)
    axes.set_xlabel(f"{metric.axis}, with its 95 % interval")
    legend(figure, list(handles.values()), look)
    return figure


def _style(name: str, stages: list[Stage], look: Look) -> dict[str, Any]:
    """Colour and marker of a runtime, in the order in which runtimes appear."""
    index = list(dict.fromkeys(stage.runtime for stage in stages)).index(name)
    return {"color": look.series[index % len(look.series)], "marker": _MARKERS[index % len(_MARKERS)]}


def _figure_beside(axes: Axes, index: int, text: str, look: Look) -> None:
    """The figure itself, right of the axes."""
    place: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "ha": "left", "va": "center"}
    axes.text(1.01, index, text, color=look.ink, fontsize=TEXT, **place)
