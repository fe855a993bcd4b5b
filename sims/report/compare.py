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
from fedkd.results.run_folder import RunFolder, read
from sims.report.html import Picture, picture, render
from sims.report.plots import Series, frontier, quality_by_rounds
from sims.report.table import NONE, percent, size, total_bytes

HEADINGS = ("run", "accuracy", "F1", "teachers", "a client", "times less", "rounds", "time")
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
    runs: tuple[RunFolder, ...]


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
        yield f"These runs are of different tasks ({', '.join(tasks)}): their accuracies don't compare."
    for name, run in zip(held.names, held.runs, strict=True):
        if run.summary is None:
            yield f"{name} isn't finished, rounds {_rounds(run)}; its figures are the last it measured."


def figures(held: Comparison) -> list[tuple[str, ...]]:
    """Headings, then a row of figures a run; figures that no run has are left out."""
    rows = [HEADINGS, *(_figures(name, run) for name, run in zip(held.names, held.runs, strict=True))]
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
        text = "Accuracy at each run's end, and on the way there, against what a client has sent and received."
        yield picture("frontier", f"Quality by megabytes{of}", text, partial(frontier, series))
        text = "Accuracy of the shared model after each round."
        yield picture("rounds", f"Quality by round{of}", text, partial(quality_by_rounds, series))


def _settings(run: RunFolder) -> dict[str, object]:
    try:
        return dict(flatten(tomllib.loads(run.config)))
    except tomllib.TOMLDecodeError:
        raise InputError(f"{run.path / 'config.toml'}: not a TOML file") from None


def _task(run: RunFolder) -> str:
    return str((run.summary or {}).get("task") or _settings(run).get("task") or "an unknown task")


def _text(value: object) -> str:
    return NONE if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _figures(name: str, run: RunFolder) -> tuple[str, ...]:
    summary, accuracy, traffic = run.summary or {}, run.accuracy, run.traffic
    f1, less = summary.get("f1_positive"), traffic.get("reduction_vs_teacher")
    seconds = (summary.get("speed") or {}).get("seconds")
    return (
        name,
        percent(accuracy.get("shared"), 2),
        percent(f1, 2),
        percent(accuracy.get("teacher_mean"), 2),
        size(total_bytes(traffic)),
        NONE if less is None else f"{less:,.3g}",
        _rounds(run),
        NONE if seconds is None else f"{seconds:,.0f} s",
    )


def _rounds(run: RunFolder) -> str:
    """Rounds of a finished run; of how many, where it was stopped or still goes on."""
    if not run.history:
        return "0"
    last = run.history[-1]
    return str(last["round"]) if run.summary else f"{last['round']} of {last['rounds']}"
