"""A run's pictures: figures that stand alone, without pyplot and its global state."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PatchCollection
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from sims.report.run_folder import RunFolder, file_label

WIDTH, HEIGHT = 6.4, 3.9  # inches; at this width the text is still readable on a phone
TEXT = 10.0  # points
MB, KB = 1e6, 1e3


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
)


def quality_by_round(run: RunFolder, look: Look = LIGHT) -> Figure:
    """Accuracy of student and teachers, round by round.

    Args:
        run: a run of at least one round.
        look: colours.

    Returns:
        The figure; finishing rounds are shaded, the teachers' spread over clients is a band.
    """
    figure, (axes,) = _canvas(HEIGHT, look)
    rounds = [float(row["round"]) for row in run.history]
    handles = _quality(axes, run, rounds, look)
    finish = _first_finishing(run)
    if finish is not None:
        handles.append(_shade(axes, rounds[finish] - 0.5, rounds[-1] + 0.5, look))
    axes.set_xlabel("Round")
    axes.xaxis.set_major_locator(_whole(10))
    axes.set_xlim(rounds[0] - 0.5, rounds[-1] + 0.5)
    _legend(figure, handles, look)
    return figure


def quality_by_megabytes(run: RunFolder, look: Look = LIGHT) -> Figure:
    """Accuracy against what a client has sent and received so far.

    Args:
        run: a run of at least one round.
        look: colours.

    Returns:
        The figure; vertical lines mark what FedAvg of the student and of the teacher would have taken.
    """
    figure, (axes,) = _canvas(HEIGHT, look)
    sent = [total / MB for total in run.bytes_per_client()]
    handles = _quality(axes, run, sent, look)
    finish = _first_finishing(run)
    if finish is not None:
        handles.append(_shade(axes, sent[max(0, finish - 1)], sent[-1], look))
    traffic = (run.summary or {}).get("traffic") or {}
    marks = {which: (traffic.get(f"dense_{which}_bytes_per_client") or 0) / MB for which in ("student", "teacher")}
    for which, style in (("student", "--"), ("teacher", ":")):
        if marks[which]:
            label = f"FedAvg of {which}: {marks[which]:,.3g} MB"
            handles.append(axes.axvline(marks[which], color=look.ink, linestyle=style, linewidth=1.2, label=label))
    axes.set_xlabel("Sent and received by a client so far, MB")
    _size_axis(axes, sent, list(marks.values()), log=max(marks.values()) > 8 * sent[-1] > 0)
    _legend(figure, handles, look)
    return figure


def ranks_heatmap(run: RunFolder, look: Look = LIGHT) -> Figure:
    """How many singular values each tensor's update needed, round by round, both ways.

    Args:
        run: a run whose history has ranks.
        look: colours.

    Returns:
        The figure: a panel for clients to server, one for server to clients; rows are tensors.
    """
    full = run.ranked_tensors()
    row = min(0.25, max(0.12, 4 / len(full)))
    figure, panels = _canvas(2 * row * len(full) + 1.9, look, ratios=(1, 1))
    ramp = LinearSegmentedColormap.from_list("rank", look.ramp)
    colours = ramp.with_extremes(bad=look.dense, under=look.paper)
    names = [f"{_short(name.removesuffix('/kernel'))} ({rank})" for name, rank in full.items()]
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
    _legend(figure, handles + marks, look)
    return figure


def partition_picture(run: RunFolder, look: Look = LIGHT) -> Figure:
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
    figure, (totals, axes) = _canvas(1.7 + row * classes, look, ratios=(0.7, row * classes))
    width = min(0.8, 0.06 * clients)
    totals.bar(range(clients), counts.sum(axis=1), width=width, color=look.faint)
    totals.set_ylabel("Examples")
    totals.yaxis.set_major_locator(_whole(3))
    totals.tick_params(axis="x", labelbottom=False)
    _class_rows(axes, counts, width, look)
    names = [_short(name) for name in run.partition.classes]
    axes.set_yticks(range(classes), names, fontsize=min(TEXT, 60 * row), va="bottom")
    axes.set_xlabel("Client")
    for panel in (totals, axes):
        panel.set_xlim(-0.6, clients - 0.4)
        panel.xaxis.set_major_locator(_whole(20))
        panel.grid(axis="x", visible=False)
    return figure


def device_files(run: RunFolder, look: Look = LIGHT) -> Figure:
    """Size and accuracy of the files for devices, a row each: they often agree in one, which would hide points.

    Args:
        run: a run with at least one converted file.
        look: colours.

    Returns:
        The figure: sizes on the left, filled as it is and hollow in gzip; accuracies on the right.
    """
    files = run.converted_files()
    figure, (sizes, accuracies) = _canvas(1.3 + 0.36 * len(files), look, ratios=(3, 2), beside=True)
    accuracy = [100 * file["accuracy"] for file in files]
    for index, file in enumerate(files):
        raw, packed = file["bytes"] / KB, file["gzip_bytes"] / KB
        sizes.plot([packed, raw], [index] * 2, color=look.student, linewidth=1.2)
        sizes.plot([raw], [index], **_dot(look.student, look.student, "File as it is"))
        sizes.plot([packed], [index], **_dot(look.student, look.paper, "In gzip"))
    accuracies.plot(accuracy, range(len(files)), **_dot(look.teacher, look.teacher, ""))
    handles: list[Artist] = [*sizes.lines[1:3]]
    last = run.history[-1]["shared_accuracy"] if run.history else None
    if last is not None:
        label = "Student, last round"
        handles.append(accuracies.axvline(100 * last, color=look.faint, linestyle="--", linewidth=1.2, label=label))
        accuracy.append(100 * last)
    sizes.set_yticks(range(len(files)), [_short(file_label(file)) for file in files])
    accuracies.set_yticks(range(len(files)), [""] * len(files))
    for axes in (sizes, accuracies):
        axes.set_ylim(len(files) - 0.5, -0.5)
    _size_axis(sizes, [0.0], [file["bytes"] / KB for file in files], log=False)
    _accuracy_span(accuracies, accuracy)
    sizes.set_xlabel("Size, kB")
    accuracies.set_xlabel("Accuracy, %")
    _legend(figure, handles, look)
    return figure


def _dot(edge: str, face: str, label: str) -> dict[str, Any]:
    """The style of a point without a line."""
    style: dict[str, Any] = {"marker": "o", "markersize": 7, "markeredgewidth": 1.5, "linestyle": "", "zorder": 3}
    return style | {"color": edge, "markerfacecolor": face, "label": label}


def _canvas(
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


def _legend(figure: Figure, handles: Sequence[Artist], look: Look) -> None:
    """A legend above the axes, where it can hide nothing; as many columns as the figure is wide for."""
    style: dict[str, Any] = {"fontsize": TEXT, "labelcolor": look.ink, "frameon": False, "columnspacing": 1.4}
    for columns in (3, 2, 1):
        legend = figure.legend(handles=list(handles), loc="outside upper left", ncols=columns, **style)
        if columns == 1 or legend.get_window_extent().width < figure.bbox.width:
            return
        legend.remove()


def _whole(ticks: int) -> MaxNLocator:
    """Ticks at whole numbers, in ones, twos, fives or tens."""
    return MaxNLocator(ticks, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1)


def _quality(axes: Axes, run: RunFolder, x: Sequence[float], look: Look) -> list[Artist]:
    """Curves of every accuracy the run has, over the given x; returns what the legend shows."""
    axes.set_ylabel("Accuracy, %")
    curves = (
        ("shared_accuracy", run.shared_name, look.student, "o", "-"),
        ("teacher_mean", "Teachers ± std", look.teacher, "s", "-"),
        ("teacher_personal", "Teachers, own data", look.personal, "^", "--"),
    )
    handles: list[Artist] = []
    for key, label, colour, marker, line in curves:
        points = [(at, 100 * row[key]) for at, row in zip(x, run.history, strict=True) if row.get(key) is not None]
        if points:
            style: dict[str, Any] = {"color": colour, "marker": marker, "linestyle": line, "label": label}
            handles += axes.plot(*zip(*points, strict=True), markersize=3.5 if len(points) < 60 else 0, **style)
    _band(axes, run, x, look)
    majority = ((run.summary or {}).get("accuracy") or {}).get("majority")
    if majority is not None:
        label = "Majority class"
        handles.append(axes.axhline(100 * majority, color=look.faint, linestyle="-.", linewidth=1, label=label))
    return handles


def _band(axes: Axes, run: RunFolder, x: Sequence[float], look: Look) -> None:
    """The teachers' spread over clients."""
    rows = [
        (at, 100 * row["teacher_mean"], 100 * row["teacher_std"])
        for at, row in zip(x, run.history, strict=True)
        if row.get("teacher_mean") is not None and row.get("teacher_std") is not None
    ]
    if rows:
        at, mean, std = np.array(rows).T
        axes.fill_between(at, mean - std, np.minimum(mean + std, 100), color=look.teacher, alpha=0.18, linewidth=0)


def _first_finishing(run: RunFolder) -> int | None:
    """Index of the first finishing round, None where the run has none."""
    return next((index for index, row in enumerate(run.history) if row["phase"] == "finish"), None)


def _shade(axes: Axes, left: float, right: float, look: Look) -> Artist:
    """Shade the finishing rounds; returns what the legend shows."""
    axes.axvspan(left, right, color=look.shade, linewidth=0, zorder=0)
    return Patch(facecolor=look.shade, edgecolor=look.grid, label="Finishing rounds")


def _size_axis(axes: Axes, sent: Sequence[float], marks: Sequence[float], log: bool) -> None:
    """Scale the x axis to hold every size: from zero, or logarithmic where the marks are far off."""
    far = max([*sent, *marks])
    if not log:
        axes.set_xlim(0, 1.06 * far if far else 1)
        return
    axes.set_xscale("log")
    near = min(size for size in sent if size > 0)
    axes.set_xlim(0.8 * near, 1.3 * far)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if far < 100 * near else (1,)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda size, _: f"{size:,g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _accuracy_span(axes: Axes, accuracies: Sequence[float]) -> None:
    """Show at least two points of accuracy, so that noise does not look like a cliff."""
    low, high = min(accuracies), max(accuracies)
    margin = max(0.15 * (high - low), (2 - (high - low)) / 2)
    axes.set_xlim(low - margin, high + margin)


def _ranks(axes: Axes, run: RunFolder, full: dict[str, int], which: int, colours: Colormap, look: Look) -> list[Artist]:
    """One way's ranks, coloured by their share and numbered where there is room; returns what the legend shows."""
    ranks = np.array([[_rank(row, name, which) for row in run.history] for name in full])
    share = np.where(ranks < 0, -1, 100 * ranks / np.array(list(full.values()))[:, None])
    rounds = np.array([row["round"] for row in run.history])
    edges = np.append(rounds - 0.5, rounds[-1] + 0.5)
    axes.pcolormesh(edges, np.arange(len(full) + 1) - 0.5, share, cmap=colours, vmin=0, vmax=100)
    axes.invert_yaxis()
    axes.grid(False)
    axes.xaxis.set_major_locator(_whole(10))
    _numbers(axes, rounds, ranks, share, colours)
    finish = _first_finishing(run)
    if finish is None:
        return []
    span = [edges[finish], edges[-1]]
    style: dict[str, Any] = {"color": look.teacher, "linewidth": 3, "solid_capstyle": "butt", "clip_on": False}
    top = axes.get_xaxis_transform()
    return [*axes.plot(span, [1, 1], transform=top, label="Finishing rounds", **style)]


def _rank(row: dict[str, Any], name: str, which: int) -> float:
    """A tensor's rank in a round: NaN where it went dense, -1 where the round says nothing of it."""
    entry = (row.get("ranks") or {}).get(name)
    if entry is None:
        return -1.0
    return float("nan") if entry[which] is None else float(entry[which])


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


def _short(name: str, longest: int = 32) -> str:
    """The name, its middle left out if it is too long for the margin."""
    return name if len(name) <= longest else f"{name[: longest // 2 - 1]}…{name[-longest // 2 :]}"
