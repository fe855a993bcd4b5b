"""How good the models are at each client."""

from typing import Any

from matplotlib.artist import Artist
from matplotlib.figure import Figure

from fedkd.results.run_record import RunRecord
from sims.report.plots.look import HEIGHT, LIGHT, Look, canvas, legend, whole

_MANY = 40  # clients; of more, smaller marks


def client_quality(run: RunRecord, look: Look = LIGHT) -> Figure:
    """Quality of each client's teacher, and of the shared model on what the client held out, as measured last.

    Args:
        run: A run whose history has figures of clients' quality.
        look: Colours.

    Returns:
        The figure: a column of marks a client; a line where the shared model is on the test set.
    """
    metric, figures = run.metric, run.client_figures()
    figure, (axes,) = canvas(HEIGHT, look)
    curves = (
        (f"teacher_{metric.name}", "Teacher, test set", look.teacher, "s"),
        ("teacher_personal", "Teacher, own data", look.personal, "^"),
        ("shared_personal", "Shared model, own data", look.student, "o"),
    )
    handles: list[Artist] = []
    for name, label, colour, marker in curves:
        known = [(client, metric.factor * held[name]) for client, held in figures.items() if name in held]
        if known:
            size = 5.5 if len(figures) <= _MANY else 2.5
            style: dict[str, Any] = {"color": colour, "marker": marker, "markersize": size, "linestyle": ""}
            handles += axes.plot(*zip(*known, strict=True), label=label, **style)
    if run.ships and (shared := run.quality.shipped) is not None:
        line: dict[str, Any] = {"color": look.student, "linestyle": "--", "linewidth": 1.2}
        handles.append(axes.axhline(metric.factor * shared, label="Shared model, test set", **line))
    axes.set_xlim(min(figures) - 0.5, max(figures) + 0.5)
    axes.xaxis.set_major_locator(whole(20))
    axes.set_xlabel("Client")
    axes.set_ylabel(metric.axis)
    legend(figure, handles, look)
    return figure
