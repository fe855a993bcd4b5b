"""The finished cells of a suite, gathered over their seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fedkd.objectives.metric import ACCURACY, Scale
from fedkd.results.summary import Summary
from fedkd.results.task_record import task_titles
from sims.suite.plan import Job
from sims.suite.results import Row


@dataclass(frozen=True)
class Group:
    """Finished cells that differ in their seeds alone.

    Args:
        task: Of all of them, as the suite's file says.
        task_title: What tables and pictures call it.
        label: What the tables call them.
        varied: What the grid sets for them.
        metrics: How their figures are read, the deciding one first.
        members: Their jobs and rows.
    """

    task: str
    task_title: str
    label: str
    varied: Mapping[str, Any]
    metrics: Sequence[Scale]
    members: tuple[tuple[Job, Row], ...]

    @property
    def metric(self) -> Scale:
        """The deciding metric."""
        return self.metrics[0]

    def figure(self, metric: Scale) -> str | None:
        """Column of the shared model's figure by a metric, None where the task doesn't have it."""
        if metric.name == self.metric.name:
            return "shared"
        return metric.name if metric.name in {held.name for held in self.metrics} else None

    def teacher_figure(self, metric: Scale) -> str | None:
        """Column of the teachers' mean figure by a metric, None where the task doesn't have it."""
        column = self.figure(metric)
        return {None: None, "shared": "teacher_mean"}.get(column, f"teacher_{column}")

    @property
    def title(self) -> str:
        """The label, with what the grid sets."""
        return ", ".join([self.label, *(f"{key.rpartition('.')[2]} {value}" for key, value in self.varied.items())])

    def values(self, figure: str | None) -> list[float]:
        """A figure of each seed, where it was measured; none of no figure."""
        return [row[figure] for _, row in self.members if figure and row[figure] is not None]


def groups(jobs: Sequence[Job], summaries: Sequence[Summary | None], rows: Sequence[Row]) -> list[Group]:
    """Gather finished cells over their seeds, task by task, in the order of the suite."""
    found: dict[tuple[Any, ...], Group] = {}
    titles = task_titles(line["task"] for line in rows)
    for job, summary, line in zip(jobs, summaries, rows, strict=True):
        if summary:
            key = (line["task"], job.cell.label, *job.cell.varied.items())
            new = Group(
                line["task"], titles[line["task"]], job.cell.label, dict(key[2:]), summary.metrics or (ACCURACY,), ()
            )
            held = found.setdefault(key, new)
            found[key] = replace(held, members=(*held.members, (job, line)))
    tasks = list(dict.fromkeys(key[0] for key in found))
    return sorted(found.values(), key=lambda group: tasks.index(group.task))


def varied_number(found: Sequence[Group]) -> str | None:
    """The last key of the grid that has three or more numbers in these groups: what a picture can be drawn along."""
    numbers: dict[str, set[float]] = {}
    for group in found:
        for key, value in group.varied.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                numbers.setdefault(key, set()).add(value)
    return next((key for key, values in reversed(numbers.items()) if len(values) >= 3), None)


def lines_by(key: str, found: Sequence[Group], figure: str | None) -> dict[str, dict[float, list[float]]]:
    """Values of a figure over seeds, by what else the groups are called and by their value of a key of the grid."""
    lines: dict[str, dict[float, list[float]]] = {}
    for group in found:
        if key in group.varied and (values := group.values(figure)):
            others = {name: value for name, value in group.varied.items() if name != key}
            lines.setdefault(replace(group, varied=others).title, {})[group.varied[key]] = values
    return lines
