"""A run's page: one HTML file that needs nothing else, and the same pictures as PNG files."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from fedkd.base.files import replace_file
from fedkd.results.confusion import Confusion
from fedkd.results.run_folder import read
from fedkd.results.run_record import RunRecord
from fedkd.results.summary import Summary
from sims.report.class_rows import class_rows
from sims.report.html import Picture, picture, render
from sims.report.plots import (
    Look,
    client_quality,
    confusion_matrix,
    device_files,
    loss_by_round,
    partition_picture,
    quality_by_megabytes,
    quality_by_round,
    ranks_heatmap,
    update_norms,
)
from sims.report.plots.confusion import MOST as MOST_CLASSES
from sims.report.rows import MOST as MOST_CLIENTS
from sims.report.rows import client_rows, norm_rows
from sims.report.table import NONE, rounds, saving, size, total_bytes

Draw = Callable[[RunRecord, Look], Figure]


def write_report(run: Path) -> Path:
    """Write ``report.html`` and its plots as PNG files into a run's folder.

    Args:
        run: the folder, ``runs/NAME``; the run may have been interrupted.

    Returns:
        The page's path.

    Raises:
        InputError: the folder is missing, or a file in it does not parse.
    """
    folder = read(run)
    pictures = [
        picture(getattr(draw, "__name__", title), title, caption, partial(draw, folder))
        for draw, title, caption in _wanted(folder)
    ]
    for drawn in pictures:
        replace_file(run / f"{drawn.name}.png", drawn.light)
    page = run / "report.html"
    replace_file(page, _html(folder, pictures).encode())
    return page


def _wanted(run: RunRecord) -> Iterator[tuple[Draw, str, str]]:
    """The plots that this run has the figures for, each with its title and caption."""
    if run.history:
        when = "" if run.shared_name == "Shared model" else "; teachers stay with their clients, measured now and then"
        yield quality_by_round, "Quality by round", f"{run.metric.title} after each round{when}."
        beside = ", beside all that FedAvg would take" if run.summary else ""
        text = f"{run.metric.title} against what a client has sent and received so far{beside}."
        yield quality_by_megabytes, "Quality by megabytes", text
    if any(loss is not None for row in run.history for loss in row.loss.values()):
        yield loss_by_round, "Training loss by round", "What the clients' training lost in each round, their mean."
    if run.confusion and run.confusion.classes:
        yield _confusion, "Which classes are taken for which", _confused(run.confusion)
    if client_rows(run) and _measured_at_clients(run):
        models = "its teacher, and of the shared model as the round began," if run.ships else "its own model,"
        text = (
            f"{run.metric.title} at each client, as it measured last: of {models} on the test set and on what the"
            " client held out of its own data."
        )
        yield client_quality, "Quality by client", text
    if any(row.norms.get("median") is not None for row in run.history):
        text = "L2 norms of the updates that were averaged, and of those refused, where a norm is known."
        yield update_norms, "Size of the updates", text
    if run.ranked_tensors():
        text = "Singular values sent of each tensor's update, as a share of its full rank."
        yield ranks_heatmap, "Ranks of the updates", text
    if run.partition and run.partition.counts and run.partition.classes:
        groups = "class" if run.classifies else "group of targets"
        text = f"Examples of each {groups} at each client, below each client's total."
        yield partition_picture, "Who holds what", text
    if run.converted_files():
        yield (
            device_files,
            "Files for devices",
            f"Size of each file, as it is and in gzip, beside its {run.metric.label}.",
        )


def _confusion(run: RunRecord, look: Look) -> Figure:
    assert run.confusion is not None
    return confusion_matrix(run.confusion, look)


_confusion.__name__ = "confusion_matrix"  # of its file


def _confused(held: Confusion) -> str:
    """What the picture of a confusion matrix shows."""
    total, classes = sum(map(sum, held.counts)), len(held.classes)
    most = f" Of {classes} classes, those with most mistakes." if classes > MOST_CLASSES else ""
    return f"The model that ships on {total:,} test examples: how many of each class got which answer.{most}"


def _measured_at_clients(run: RunRecord) -> bool:
    names = {f"teacher_{run.metric.name}", "teacher_personal", "shared_personal"}
    return any(names & set(row.clients) for row in run.history)


def _html(run: RunRecord, pictures: list[Picture]) -> str:
    """The page of a run."""
    summary = run.summary or Summary()
    return render(
        "report.html.j2",
        name=run.name,
        subtitle=_subtitle(run),
        notice=_notice(run),
        tiles=list(_tiles(run)),
        pictures=pictures,
        files=summary.files,
        metric=run.metric,
        traffic=_traffic_rows(run.traffic),
        facts=_facts(summary),
        classes=class_rows(run.by_class, run.metric),
        clients=client_rows(run),
        more_clients=max(0, len(run.client_figures()) - MOST_CLIENTS),
        norms=norm_rows(run),
        refused=[(row.number, _refusal(entry)) for row in run.history for entry in row.refused],
        config=run.config,
    )


def _subtitle(run: RunRecord) -> str:
    """Which run it was, in a line."""
    if run.summary is None:
        return f"{run.clients} clients"
    summary = run.summary
    return f"{summary.method} on {summary.task}, {run.clients} clients, {rounds(summary)}"


def _notice(run: RunRecord) -> str:
    """What a reader must know of a run that did not reach its end, else nothing."""
    if run.summary is not None:
        return ""
    if not run.history:
        return "This run was interrupted before its first round ended."
    reached = f"round {run.history[-1].number} of {run.history[-1].rounds}"
    return f"This run was interrupted after {reached}; its figures are the last it measured."


def _refusal(entry: Any) -> str:
    """Whose update the server refused, and why."""
    if not isinstance(entry, dict):
        return str(entry)
    return f"client {entry.get('client')}, {entry.get('reason')}: {entry.get('why')}"


def _tiles(run: RunRecord) -> Iterator[tuple[str, str, str]]:
    """The headline figures: what it is, the figure, what it compares to."""
    metric, quality, summary = run.metric, run.quality, run.summary or Summary()
    if run.ships and quality.shared is not None:
        when = " before finishing" if summary.finish_rounds and quality.finished is None else ""
        when += f", {metric.text(quality.shared)} before finishing" if quality.finished is not None else ""
        known = [(other, run.shared_figure(other)) for other, _ in summary.named_others]
        others = "".join(f", {other.beside(value)}" for other, value in known if value is not None)
        yield run.shared_name, metric.text(quality.shipped), metric.label + metric.direction + when + others
    if quality.teacher_mean is not None:
        std = quality.teacher_std
        spread = f"± {metric.spread(std)} over clients" if std is not None else "mean over clients"
        yield "Teachers, mean", metric.text(quality.teacher_mean), spread
    traffic = run.traffic
    if traffic:
        less = saving(traffic, "teacher")
        compared = f"{less} than FedAvg of the teacher" if less != NONE else "sent and received"
        yield "Traffic of a client", size(total_bytes(traffic)), compared
    if promised := summary.privacy:
        noise = f"epsilon of a client at delta {promised.get('delta', NONE)}, noise from {promised.get('noise', NONE)}"
        yield "Privacy", f"{promised.get('epsilon', NONE):.3g}", noise
    small = [file for file in run.converted_files() if file.precision.startswith("int8")]
    if small:
        file = min(small, key=lambda file: file.gzip_bytes or 0)
        figure, label = run.metric.text(file.deciding), run.metric.label
        good = f"{figure} accurate" if label == "accuracy" else f"{label} {figure}"
        compared = f"{good}, {size(file.gzip_bytes)} in gzip"
        yield "int8 file", size(file.flash_bytes), compared


def _traffic_rows(traffic: Mapping[str, float | None]) -> list[tuple[str, ...]]:
    """Rows of the traffic table: this run, then FedAvg of both models."""
    if not traffic:
        return []
    up, down = (size(traffic.get(f"{way}_bytes_per_client")) for way in ("up", "down"))
    rows: list[tuple[str, ...]] = [("This run", up, down, size(total_bytes(traffic)), "")]
    for which in ("student", "teacher"):
        dense = traffic.get(f"dense_{which}_bytes_per_client")
        if dense:
            rows.append((f"FedAvg of the {which}", "", "", size(dense), saving(traffic, which)))
    return rows


def _facts(summary: Summary) -> list[tuple[str, str]]:
    """What identifies the run and its result."""
    parameters, seconds = summary.parameters, summary.speed.get("seconds")
    facts = {
        "Seed": summary.seed,
        "Engine": summary.engine,
        "Parameters of the student": _count(parameters.get("student")),
        "Parameters of the teacher": _count(parameters.get("teacher")),
        "Time": f"{seconds:,.0f} s" if seconds is not None else None,
        "SHA-256 of the shared model": summary.shared_sha256,
    }
    return [(label, str(value)) for label, value in facts.items() if value is not None]


def _count(number: int | None) -> str | None:
    """A count with its thousands set apart."""
    return None if number is None else f"{number:,}"
