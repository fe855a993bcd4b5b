"""The table of a suite: a row a cell as CSV, and a row of means over seeds as Markdown."""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from io import StringIO
from statistics import mean, stdev
from typing import Any

from fedkd.config.settings import to_settings
from fedkd.results.run_folder import files_of
from sims.report.table import KB, MB, NONE, total_bytes
from sims.suite.plan import Job

Row = dict[str, Any]
FIGURES = (
    *("shared", "f1", "teacher_mean", "teacher_f1"),
    *("int8", "int8_gain", "int8_kb"),
    *("up_mb", "down_mb", "total_mb", "reduction_vs_teacher", "sha256", "seconds"),
)
_SHOWN_ALWAYS = ("method", "task", "seed")
# Where a task's file lies is of this machine, not of the experiment.
_NOT_SHOWN = (*_SHOWN_ALWAYS, "data")


def varied_keys(jobs: Sequence[Job]) -> list[str]:
    """Keys that the suite sets and whose values differ between cells, beside method, task and seed."""
    settings = [to_settings(job.config) for job in jobs]
    given = dict.fromkeys(key for job in jobs for key in job.cell.settings if key not in _NOT_SHOWN)
    return [key for key in given if len({held[key] for held in settings}) > 1]


def row(job: Job, summary: Mapping[str, Any] | None, varied: Sequence[str]) -> Row:
    """Return a cell's line of the table.

    Args:
        job: The cell.
        summary: Of its run; None where it isn't finished.
        varied: Keys of ``varied_keys``.

    Returns:
        Columns in their order; figures are None where there are none. Seconds come last: they alone aren't repeated.
    """
    config, held = job.config, to_settings(job.config)
    first: Row = {"cell": job.cell.name, "label": job.cell.label, "method": config.method}
    # The configuration holds the absolute path of a task's file.
    first |= {"task": job.cell.settings["task"], "seed": config.seed, **{key: held[key] for key in varied}}
    first["status"] = "finished" if summary else "missing"
    return first | (_figures(summary) if summary else dict.fromkeys(FIGURES))


def _figures(summary: Mapping[str, Any]) -> Row:
    accuracy, traffic = summary["accuracy"], summary["traffic"]
    values = (
        accuracy.get("shared"),
        summary.get("f1_positive"),
        accuracy.get("teacher_mean"),
        summary.get("teacher_f1"),
        *_int8(summary),
        traffic["up_bytes_per_client"] / MB,
        traffic["down_bytes_per_client"] / MB,
        (total_bytes(traffic) or 0.0) / MB,
        traffic.get("reduction_vs_teacher"),
        summary["shared_sha256"],
        summary["speed"]["seconds"],
    )
    return dict(zip(FIGURES, values, strict=True))


def _int8(summary: Mapping[str, Any]) -> tuple[float | None, float | None, float | None]:
    """Accuracy of the int8 file in LiteRT, what that is above the shared model's after training, and its kilobytes."""
    found = next((file for file in files_of(summary) if file.precision == "int8" and file.error is None), None)
    if found is None or (quality := found.quality.get("litert")) is None:
        return None, None, None
    return quality, quality - summary["accuracy"]["shared"], (found.flash_bytes or 0) / KB


def csv_text(rows: Sequence[Row]) -> str:
    """Return the rows as CSV; numbers have six significant digits."""
    text = StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _written(value) for key, value in row.items()} for row in rows)
    return text.getvalue()


def _written(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value


@dataclass(frozen=True)
class Group:
    """Finished cells that differ in their seeds alone.

    Args:
        task: Of all of them.
        label: What the tables call them.
        varied: What the grid sets for them.
        members: Their jobs and rows.
    """

    task: str
    label: str
    varied: Mapping[str, Any]
    members: tuple[tuple[Job, Row], ...]

    @property
    def title(self) -> str:
        """The label, with what the grid sets."""
        return ", ".join([self.label, *(f"{key.rpartition('.')[2]} {value}" for key, value in self.varied.items())])

    def values(self, figure: str) -> list[float]:
        """A figure of each seed, where it was measured."""
        return [row[figure] for _, row in self.members if row[figure] is not None]


def groups(jobs: Sequence[Job], rows: Sequence[Row]) -> list[Group]:
    """Gather finished cells over their seeds, task by task, in the order of the suite."""
    found: dict[tuple[Any, ...], list[tuple[Job, Row]]] = {}
    for job, line in zip(jobs, rows, strict=True):
        if line["status"] == "finished":
            key = (line["task"], job.cell.label, *job.cell.varied.items())
            found.setdefault(key, []).append((job, line))
    tasks = list(dict.fromkeys(key[0] for key in found))
    ordered = sorted(found.items(), key=lambda item: tasks.index(item[0][0]))
    return [Group(key[0], key[1], dict(key[2:]), tuple(members)) for key, members in ordered]


def varied_number(found: Sequence[Group]) -> str | None:
    """The last key of the grid that has three or more numbers in these groups: what a picture can be drawn along."""
    numbers: dict[str, set[float]] = {}
    for group in found:
        for key, value in group.varied.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                numbers.setdefault(key, set()).add(value)
    return next((key for key, values in reversed(numbers.items()) if len(values) >= 3), None)


def lines_by(key: str, found: Sequence[Group], figure: str) -> dict[str, dict[float, list[float]]]:
    """Values of a figure over seeds, by what else the groups are called and by their value of a key of the grid."""
    lines: dict[str, dict[float, list[float]]] = {}
    for group in found:
        if key in group.varied and (values := group.values(figure)):
            others = {name: value for name, value in group.varied.items() if name != key}
            lines.setdefault(replace(group, varied=others).title, {})[group.varied[key]] = values
    return lines


def spread(values: Sequence[float], scale: float = 1.0, decimals: int | None = None) -> str:
    """Mean and, of two values or more, sample standard deviation.

    Args:
        values: One a seed.
        scale: What they are multiplied by.
        decimals: As many as make three digits of the mean where None.

    >>> spread([0.9, 0.92], 100, 2), spread([0.9], 100, 1), spread([0.1, 0.3]), spread([1234.5]), spread([])
    ('91.00 ± 1.41', '90.0', '0.200 ± 0.141', '1,234', '–')
    """
    if not values:
        return NONE
    scaled = [scale * value for value in values]
    middle = mean(scaled)
    if decimals is None:
        decimals = max(0, 2 - math.floor(math.log10(abs(middle)))) if middle else 0
    return f"{middle:,.{decimals}f}" + (f" ± {stdev(scaled):,.{decimals}f}" if len(scaled) > 1 else "")


# Heading, figure, what it is multiplied by, and decimals of each column of the Markdown table.
_COLUMNS = (
    ("accuracy, %", "shared", 100.0, 2),
    ("F1, %", "f1", 100.0, 2),
    ("teachers, %", "teacher_mean", 100.0, 2),
    ("teachers' F1, %", "teacher_f1", 100.0, 2),
    ("int8 in LiteRT, %", "int8", 100.0, 2),
    ("int8 - accuracy, points", "int8_gain", 100.0, 2),
    ("int8, kB", "int8_kb", 1.0, None),
    ("MB a client", "total_mb", 1.0, None),
    ("times less", "reduction_vs_teacher", 1.0, None),
)


def times_less(group: Group, found: Sequence[Group]) -> float | None:
    """Megabytes of the suite's FedAvg of the teacher, over its own rounds, for one of a group's; None without one."""
    same = (other for other in found if (other.task, other.varied) == (group.task, group.varied))
    baseline = next((other for other in same if other.members[0][1]["method"] == "fedavg_teacher"), None)
    own = mean(group.values("total_mb"))
    return mean(baseline.values("total_mb")) / own if baseline and own else None


def markdown_table(found: Sequence[Group]) -> str:
    """Return a row a group, mean ± standard deviation over seeds, without columns that nothing was measured for."""
    varied = list(dict.fromkeys(key for group in found for key in group.varied))
    shown = [column for column in _COLUMNS if any(group.values(column[1]) for group in found)]
    compared = [times_less(group, found) for group in found]
    against = ["than fedavg_teacher"] if any(compared) else []
    lines = [["task", "method", *varied, *(column[0] for column in shown), *against, "seeds"]]
    lines.append([*(["---"] * (2 + len(varied))), *(["--:"] * (len(shown) + len(against) + 1))])
    for group, less in zip(found, compared, strict=True):
        settings = [str(group.varied.get(key, "")) for key in varied]
        figures = [spread(group.values(figure), scale, decimals) for _, figure, scale, decimals in shown]
        figures += [spread([less] if less else [])] if against else []
        lines.append([group.task, group.label, *settings, *figures, str(len(group.members))])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
