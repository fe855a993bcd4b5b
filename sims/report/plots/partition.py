"""The partition: how many examples of each class each client holds."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from fedkd.results.run_record import RunRecord
from sims.report.plots.look import LIGHT, TEXT, Look, canvas, short, whole


def partition_picture(run: RunRecord, look: Look = LIGHT) -> Figure:
    """Who holds what: a row of bars for each class, and above them a client's total.

    Args:
        run: a run with a partition.
        look: colours.

    Returns:
        The figure; the bars of all classes have one scale.

    Raises:
        ValueError: the run wrote no partition.
    """
    if run.partition is None:
        raise ValueError(f"a picture of the partition needs partition.json, {run.path} has none")
    counts = np.array(run.partition.counts, dtype=float)  # (clients, classes)
    clients, classes = counts.shape
    row = min(0.55, max(0.15, 4.2 / classes))
    figure, (totals, axes) = canvas(1.7 + row * classes, look, ratios=(0.7, row * classes))
    width = min(0.8, 0.06 * clients)
    totals.bar(range(clients), counts.sum(axis=1), width=width, color=look.faint)
    totals.set_ylabel("Examples")
    totals.yaxis.set_major_locator(whole(3))
    totals.tick_params(axis="x", labelbottom=False)
    _class_rows(axes, counts, width, look)
    names = [short(name) for name in run.partition.classes]
    axes.set_yticks(range(classes), names, fontsize=min(TEXT, 60 * row), va="bottom")
    axes.set_xlabel("Client")
    for panel in (totals, axes):
        panel.set_xlim(-0.6, clients - 0.4)
        panel.xaxis.set_major_locator(whole(20))
        panel.grid(axis="x", visible=False)
    return figure


def _class_rows(axes: Axes, counts: np.ndarray, width: float, look: Look) -> None:
    """A row of bars for each class, all to one scale; numbered where there is room."""
    clients, classes = counts.shape
    peak = max(1.0, counts.max())
    tallest = 0.6 if clients <= 12 else 0.85  # of a row; a few clients leave room for numbers
    bars = []
    for client, label in np.argwhere(counts > 0).tolist():
        # A bar that rounds to nothing would say that the client holds none.
        height = max(tallest * counts[client, label] / peak, 0.04)
        bars.append(Rectangle((client - width / 2, label - height), width, height))
        if clients <= 12:
            style: dict[str, Any] = {"ha": "center", "va": "bottom", "fontsize": 6.5, "in_layout": False}
            axes.text(client, label - height - 0.02, f"{counts[client, label]:,.0f}", color=look.faint, **style)
    axes.add_collection(PatchCollection(bars, color=look.student, linewidth=0))
    axes.set_ylim(classes - 0.85, -1.05)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    if clients > 12:
        axes.set_title(f"Tallest bar: {peak:,.0f} examples", loc="left", fontsize=TEXT - 1, color=look.faint)
