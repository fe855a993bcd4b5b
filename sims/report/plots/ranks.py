"""Ranks of the updates: a heatmap of the singular values each tensor needed."""

from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from fedkd.results.round import Round
from fedkd.results.run_record import RunRecord
from sims.report.plots.look import LIGHT, TEXT, Look, canvas, first_finishing, legend, short, whole


def ranks_heatmap(run: RunRecord, look: Look = LIGHT) -> Figure:
    """How many singular values each tensor's update needed, round by round, both ways.

    Args:
        run: a run whose history has ranks.
        look: colours.

    Returns:
        The figure: a panel for clients to server, one for server to clients; rows are tensors.
    """
    full = run.ranked_tensors()
    row = min(0.25, max(0.12, 4 / len(full)))
    figure, panels = canvas(2 * row * len(full) + 1.9, look, ratios=(1, 1))
    ramp = LinearSegmentedColormap.from_list("rank", look.ramp)
    colours = ramp.with_extremes(bad=look.dense, under=look.paper)
    names = [f"{short(name.removesuffix('/kernel'))} ({rank})" for name, rank in full.items()]
    handles: list[Artist] = [Patch(facecolor=look.dense, label="Sent dense, not as factors")]
    for axes, which, title in zip(panels, (1, 0), ("Clients to server, mean", "Server to clients"), strict=True):
        marks = _ranks(axes, run, full, which, colours, look)
        axes.set_title(title, loc="left", fontsize=TEXT, color=look.ink)
        axes.set_yticks(range(len(full)), names, fontsize=min(8, 50 * row))
    panels[1].set_xlabel("Round")
    bar = figure.colorbar(ScalarMappable(Normalize(0, 100), colours), ax=panels, aspect=40, pad=0.02)
    bar.set_label("Rank, % of full rank (in brackets)", color=look.ink, fontsize=TEXT)
    bar.ax.tick_params(colors=look.ink, labelsize=TEXT - 1)
    bar.outline.set_visible(False)
    legend(figure, handles + marks, look)
    return figure


def _ranks(axes: Axes, run: RunRecord, full: dict[str, int], which: int, colours: Colormap, look: Look) -> list[Artist]:
    """One way's ranks, coloured by their share and numbered where there is room; returns what the legend shows."""
    ranks = np.array([[_rank(row, name, which) for row in run.history] for name in full])
    highest = np.array([[_full(row, name) for row in run.history] for name in full])
    share = np.where(ranks < 0, -1, 100 * ranks / highest)
    rounds = np.array([row.number for row in run.history])
    edges = np.append(rounds - 0.5, rounds[-1] + 0.5)
    axes.pcolormesh(edges, np.arange(len(full) + 1) - 0.5, share, cmap=colours, vmin=0, vmax=100)
    axes.invert_yaxis()
    axes.grid(False)
    axes.xaxis.set_major_locator(whole(10))
    _numbers(axes, rounds, ranks, share, colours)
    finish = first_finishing(run)
    if finish is None:
        return []
    span = [edges[finish], edges[-1]]
    style: dict[str, Any] = {"color": look.teacher, "linewidth": 3, "solid_capstyle": "butt", "clip_on": False}
    top = axes.get_xaxis_transform()
    return [*axes.plot(span, [1, 1], transform=top, label="Finishing rounds", **style)]


def _rank(row: Round, name: str, which: int) -> float:
    """A tensor's rank in a round: NaN where it went dense, -1 where the round says nothing of it."""
    entry = row.ranks.get(name)
    if entry is None:
        return -1.0
    rank = entry[which]
    return float("nan") if rank is None else float(rank)


def _full(row: Round, name: str) -> float:
    """A tensor's full rank in a round: finishing rounds may have a smaller model."""
    return float(row.ranks.get(name, (None, None, 1))[2] or 1)


def _numbers(axes: Axes, rounds: np.ndarray, ranks: np.ndarray, share: np.ndarray, colours: Colormap) -> None:
    """Write the ranks into their cells, if cells are wide and high enough for the longest."""
    longest = max((len(f"{rank:.0f}") for rank in ranks[np.isfinite(ranks)]), default=1)
    width, size = 3.3 / len(rounds), min(6.5, 72 * 3.0 / len(ranks))
    if longest * 0.62 * size / 72 > 0.9 * width or size < 5:
        return
    for (tensor, index), rank in np.ndenumerate(ranks):
        if rank >= 0:
            red, green, blue, _ = colours(share[tensor, index] / 100)
            colour = "#000000" if 0.3 * red + 0.59 * green + 0.11 * blue > 0.5 else "#ffffff"
            place: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": size, "in_layout": False}
            axes.text(float(rounds[index]), tensor, f"{rank:.0f}", color=colour, **place)
