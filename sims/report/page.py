"""A run's page: one HTML file that needs nothing else, and the same pictures as PNG files."""

import os
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure

from sims.report.plots import (
    DARK,
    LIGHT,
    Look,
    device_files,
    partition_picture,
    quality_by_megabytes,
    quality_by_round,
    ranks_heatmap,
)
from sims.report.run_folder import RunFolder, file_label, read
from sims.report.table import NONE, percent, rounds, saving, size, total_bytes

RESOLUTION = 160  # dots an inch: sharp at the page's width on a screen of double density
Draw = Callable[[RunFolder, Look], Figure]


@dataclass(frozen=True)
class Picture:
    """A plot as the page shows it.

    Args:
        name: the PNG file's name without its ending.
        title: the heading above it.
        caption: one sentence below it.
        light: PNG for a light page, which is also the file's content.
        dark: PNG for a dark page.
    """

    name: str
    title: str
    caption: str
    light: bytes
    dark: bytes


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
    pictures = [_picture(folder, *wanted) for wanted in _wanted(folder)]
    for picture in pictures:
        _replace(run / f"{picture.name}.png", picture.light)
    page = run / "report.html"
    _replace(page, _html(folder, pictures).encode())
    return page


def _wanted(run: RunFolder) -> Iterator[tuple[Draw, str, str]]:
    """The plots that this run has the figures for, each with its title and caption."""
    if run.history:
        when = "" if run.shared_name == "Shared model" else "; teachers stay with their clients, measured now and then"
        yield quality_by_round, "Quality by round", f"Accuracy after each round{when}."
        beside = ", beside all that FedAvg would take" if run.summary else ""
        text = f"Accuracy against what a client has sent and received so far{beside}."
        yield quality_by_megabytes, "Quality by megabytes", text
    if run.ranked_tensors():
        text = "Singular values sent of each tensor's update, as a share of its full rank."
        yield ranks_heatmap, "Ranks of the updates", text
    if run.partition and run.partition.counts and run.partition.classes:
        yield partition_picture, "Who holds what", "Examples of each class at each client, below each client's total."
    if run.converted_files():
        yield device_files, "Files for devices", "Size of each file, as it is and in gzip, beside its accuracy."


def _picture(run: RunFolder, draw: Draw, title: str, caption: str) -> Picture:
    """Draw a plot for a light and for a dark page."""
    light, dark = _png(draw(run, LIGHT)), _png(draw(run, DARK))
    return Picture(getattr(draw, "__name__", title), title, caption, light, dark)


def _png(figure: Figure) -> bytes:
    """The figure's PNG, without the date and version that would make equal pictures differ."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=RESOLUTION, metadata={"Software": None})
    return buffer.getvalue()


def _html(run: RunFolder, pictures: list[Picture]) -> str:
    """The page; the template escapes every text it is given."""
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters.update(base64=lambda data: b64encode(data).decode(), percent=percent, size=size)
    summary = run.summary or {}
    return environment.get_template("report.html.j2").render(
        name=run.name,
        subtitle=_subtitle(run),
        notice=_notice(run),
        tiles=list(_tiles(run)),
        pictures=pictures,
        files=[(file_label(file), file) for file in summary.get("edge") or []],
        traffic=_traffic_rows(_traffic(run)),
        facts=_facts(summary),
        refused=[(row["round"], _refusal(entry)) for row in run.history for entry in row.get("refused") or ()],
        config=run.config,
    )


def _subtitle(run: RunFolder) -> str:
    """Which run it was, in a line."""
    if run.summary is None:
        return f"{run.clients} clients"
    summary = run.summary
    return f"{summary.get('method')} on {summary.get('task')}, {run.clients} clients, {rounds(summary)}"


def _notice(run: RunFolder) -> str:
    """What a reader must know of a run that did not reach its end, else nothing."""
    if run.summary is not None:
        return ""
    if not run.history:
        return "This run was interrupted before its first round ended."
    reached = f"round {run.history[-1]['round']} of {run.history[-1]['rounds']}"
    return f"This run was interrupted after {reached}; its figures are the last it measured."


def _refusal(entry: Any) -> str:
    """Whose update the server refused, and why."""
    if not isinstance(entry, dict):
        return str(entry)
    return f"client {entry.get('client')}, {entry.get('reason')}: {entry.get('why')}"


def _tiles(run: RunFolder) -> Iterator[tuple[str, str, str]]:
    """The headline figures: what it is, the figure, what it compares to."""
    accuracy = (run.summary or {}).get("accuracy") or _last_accuracy(run)
    if accuracy.get("shared") is not None:
        positive = (run.summary or {}).get("f1_positive")
        when = "accuracy before pruning" if (run.summary or {}).get("finish_rounds") else "accuracy"
        extra = f", F1 {positive:.3f}" if positive is not None else ""
        yield run.shared_name, percent(accuracy["shared"]), when + extra
    if accuracy.get("teacher_mean") is not None:
        std = accuracy.get("teacher_std")
        spread = f"± {100 * std:.1f} over clients" if std is not None else "mean over clients"
        yield "Teachers, mean", percent(accuracy["teacher_mean"]), spread
    traffic = _traffic(run)
    if traffic:
        less = saving(traffic, "teacher")
        compared = f"{less} than FedAvg of the teacher" if less != NONE else "sent and received"
        yield "Traffic of a client", size(total_bytes(traffic)), compared
    small = [file for file in run.converted_files() if str(file.get("precision")).startswith("int8")]
    if small:
        file = min(small, key=lambda file: file["gzip_bytes"])
        compared = f"{percent(file['accuracy'])} accurate, {size(file['gzip_bytes'])} in gzip"
        yield "int8 file", size(file["bytes"]), compared


def _last_accuracy(run: RunFolder) -> dict[str, Any]:
    """The last accuracies measured, in the summary's words, for a run without one."""
    last: dict[str, Any] = {}
    for row in run.history:
        measured = {"shared": row["shared_accuracy"]} | {key: row.get(key) for key in ("teacher_mean", "teacher_std")}
        last.update({key: value for key, value in measured.items() if value is not None})
    return last


def _traffic(run: RunFolder) -> dict[str, Any]:
    """The summary's traffic, or what the rounds so far add up to."""
    if run.summary is not None or not run.history:
        return (run.summary or {}).get("traffic") or {}
    ways = ("up", "down")
    return {f"{way}_bytes_per_client": sum(row[f"{way}_bytes"] for row in run.history) / run.clients for way in ways}


def _traffic_rows(traffic: dict[str, Any]) -> list[tuple[str, ...]]:
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


def _facts(summary: dict[str, Any]) -> list[tuple[str, str]]:
    """What identifies the run and its result."""
    parameters, speed = summary.get("parameters") or {}, summary.get("speed") or {}
    facts = {
        "Seed": summary.get("seed"),
        "Engine": summary.get("engine"),
        "Parameters of the student": _count(parameters.get("student")),
        "Parameters of the teacher": _count(parameters.get("teacher")),
        "Time": f"{speed['seconds']:,.0f} s" if speed.get("seconds") is not None else None,
        "SHA-256 of the shared model": summary.get("shared_sha256"),
    }
    return [(label, str(value)) for label, value in facts.items() if value is not None]


def _count(number: int | None) -> str | None:
    """A count with its thousands set apart."""
    return None if number is None else f"{number:,}"


def _replace(path: Path, data: bytes) -> None:
    """Write a file so that a reader finds the old one or the new one, never half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
