"""What training lost, round by round."""

from typing import Any

from matplotlib.artist import Artist
from matplotlib.figure import Figure

from fedkd.results.run_record import RunRecord
from sims.report.plots.look import (
    HEIGHT,
    LIGHT,
    Look,
    canvas,
    first_finishing,
    legend,
    plain_logarithms,
    shade_finishing,
    whole,
)

_FAR = 30  # times the least loss: what a linear axis would press together
_STYLES = {"student": ("Student", "o", "-"), "teacher": ("Teachers", "s", "-")}


def loss_by_round(run: RunRecord, look: Look = LIGHT) -> Figure:
    """Mean training loss over clients, of each model they train.

    Args:
        run: A run whose history has losses.
        look: Colours.
    """
    figure, (axes,) = canvas(HEIGHT, look)
    handles, values = list[Artist](), list[float]()
    for role, (label, marker, line) in _STYLES.items():
        known = [(row.number, loss) for row in run.history if (loss := row.loss.get(role)) is not None]
        if known:
            size = 3.5 if len(known) < 60 else 0
            style: dict[str, Any] = {"color": getattr(look, role), "marker": marker, "linestyle": line}
            handles += axes.plot(*zip(*known, strict=True), label=label, markersize=size, **style)
            values += [loss for _, loss in known]
    if min(values) > 0 and max(values) > _FAR * min(values):
        axes.set_yscale("log")
        plain_logarithms(axes.yaxis, min(values), max(values))
    if (finish := first_finishing(run)) is not None:
        rounds = [row.number for row in run.history]
        handles.append(shade_finishing(axes, rounds[finish] - 0.5, rounds[-1] + 0.5, look))
    axes.set_xlim(run.history[0].number - 0.5, run.history[-1].number + 0.5)
    axes.set_xlabel("Round")
    axes.set_ylabel("Training loss, mean over clients")
    axes.xaxis.set_major_locator(whole(10))
    legend(figure, handles, look)
    return figure
