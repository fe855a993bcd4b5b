"""Runs side by side: the settings in which they differ, what they reached, and the same as a page."""

import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from fedkd.base.errors import InputError
from fedkd.base.files import replace_file
from fedkd.config.settings import flatten
from fedkd.objectives.metric import ACCURACY, Scale
from fedkd.results.run_folder import read
from fedkd.results.run_record import RunRecord
from sims.report.html import Picture, picture, render
from sims.report.plots import Series, frontier, quality_by_rounds
from sims.report.table import NONE, size, total_bytes

# Settings that name a run's data on its machine, or how it used the machine, rather than what it is.
_NOT_COMPARED = ("data", "threads")


@dataclass(frozen=True)
class Comparison:
    """Runs and what they are called: by their folders' names, or their whole paths where names repeat.

    Args:
        names: A name a run.
        runs: As they lie on the disk.
    """

    names: tuple[str, ...]
    runs: tuple[RunRecord, ...]


def comparison(folders: Sequence[Path]) -> Comparison:
    """Read the runs.

    Raises:
        InputError: Fewer than two, or one that is no run or doesn't parse.
    """
    if len(folders) < 2:
        raise InputError(f"compare takes two runs or more, got {len(folders)}")
    runs = tuple(read(folder) for folder in folders)
    short = [folder.resolve().name for folder in folders]
    alike = len(set(short)) < len(short)
    return Comparison(tuple(map(str, folders)) if alike else tuple(short), runs)


def differences(held: Comparison) -> list[tuple[str, ...]]:
    """Rows of the settings in which runs differ: the key, then its value in each run."""
    settings = [_settings(run) for run in held.runs]
    keys = dict.fromkeys(key for given in settings for key in given if key not in _NOT_COMPARED)
    rows = [(key, *(_text(given.get(key)) for given in settings)) for key in keys]
    return [row for row in rows if len(set(row[1:])) > 1]


def notices(held: Comparison) -> Iterator[str]:
    """What a reader must know before comparing the figures."""
    tasks = list(dict.fromkeys(_task(run) for run in held.runs))
    if len(tasks) > 1:
        what = "accuracies" if {run.metric.name for run in held.runs} == {ACCURACY.name} else "figures"
        yield f"These runs are of different tasks ({', '.join(tasks)}): their {what} don't compare."
    for name, run in zip(held.names, held.runs, strict=True):
        if run.summary is None:
            yield f"{name} isn't finished, rounds {_rounds(run)}; its figures are the last it measured."


def figures(held: Comparison) -> list[tuple[str, ...]]:
    """Headings, then a row of figures a run; figures that no run has are left out."""
    metrics = list({metric.name: metric for run in held.runs for metric in run.metrics}.values())
    labels = [metric.label + metric.direction for metric in metrics]
    headings = ("run", *labels, "teachers", "a client", "times less", "rounds", "time")
    rows = [headings, *(_figures(name, run, metrics) for name, run in zip(held.names, held.runs, strict=True))]
    columns = [column for column in zip(*rows, strict=True) if set(column[1:]) != {NONE}]
    return list(zip(*columns, strict=True))


def tables(held: Comparison) -> list[RenderableType]:
    """What a terminal shows: notices, the figures, and the settings that differ, runs by their numbers."""
    table, (headings, *rows) = Table(box=None), figures(held)
    for heading in ("", *headings):
        right = heading not in ("run", "rounds")
        table.add_column(heading, justify="right" if right else "left", overflow="fold")
    for number, row in enumerate(rows, 1):
        table.add_row(*map(Text, (str(number), *row)))
    settings = Table("setting", *(str(number + 1) for number in range(len(held.runs))), box=None)
    for line in differences(held):
        settings.add_row(*map(Text, line))
    words = [Text(text, style="yellow") for text in notices(held)]
    return [*words, table, Text(), settings if settings.row_count else Text("The runs have the same settings.")]


def write_page(held: Comparison, out: Path) -> Path:
    """Write the comparison as one HTML file.

    Raises:
        InputError: The file can't be written.
    """
    headings, *rows = figures(held)
    text = render(
        "compare.html.j2",
        name=f"{len(held.runs)} runs compared",
        subtitle=", ".join(held.names),
        notices=list(notices(held)),
        headings=headings,
        figures=rows,
        runs=held.names,
        differences=differences(held),
        pictures=list(_pictures(held)),
    )
    try:
        replace_file(out, text.encode())
    except OSError as error:
        raise InputError(f"--out {out}: can't be written ({error.strerror})") from None
    return out


def _pictures(held: Comparison) -> Iterator[Picture]:
    """Two pictures a task, of its runs that have a round."""
    tasks = dict.fromkeys(_task(run) for run in held.runs)
    for task in tasks:
        pairs = zip(held.names, held.runs, strict=True)
        series = [Series(name, (run,)) for name, run in pairs if _task(run) == task and run.history]
        if not series:
            continue
        of = f", {task}" if len(tasks) > 1 else ""
        metric = series[0].runs[0].metric
        text = f"{metric.title} at each run's end, and on the way there, against what a client has sent and received."
        yield picture("frontier", f"Quality by megabytes{of}", text, partial(frontier, series, metric))
        text = f"{metric.title} of the shared model after each round."
        yield picture("rounds", f"Quality by round{of}", text, partial(quality_by_rounds, series, metric))


def _settings(run: RunRecord) -> dict[str, object]:
    try:
        return dict(flatten(tomllib.loads(run.config)))
    except tomllib.TOMLDecodeError:
        raise InputError(f"{run.path / 'config.toml'}: not a TOML file") from None


def _task(run: RunRecord) -> str:
    return str((run.summary and run.summary.task) or _settings(run).get("task") or "an unknown task")


def _text(value: object) -> str:
    return NONE if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _figures(name: str, run: RunRecord, metrics: Sequence[Scale]) -> tuple[str, ...]:
    traffic, seconds = run.traffic, run.summary.speed.get("seconds") if run.summary else None
    less = traffic.get("reduction_vs_teacher")
    return (
        name,
        *(metric.text(run.shared_figure(metric), _digits(metric)) for metric in metrics),
        run.metric.text(run.quality.teacher_mean, _digits(run.metric)),
        size(total_bytes(traffic)),
        NONE if less is None else f"{less:,.3g}",
        _rounds(run),
        NONE if seconds is None else f"{seconds:,.0f} s",
    )


def _digits(metric: Scale) -> int | None:
    """Decimals with which runs are told apart: two of shares."""
    return 2 if metric.unit == "%" else None


def _rounds(run: RunRecord) -> str:
    """Rounds of a finished run; of how many, where it was stopped or still goes on."""
    if not run.history:
        return "0"
    last = run.history[-1]
    return str(last.number) if run.summary else f"{last.number} of {last.rounds}"
