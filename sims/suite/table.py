"""The table of a suite as Markdown: a row for each group, means over seeds."""

from collections.abc import Callable, Sequence
from functools import partial
from statistics import mean
from typing import NamedTuple

from fedkd.objectives.metric import Scale
from sims.report.table import spread
from sims.suite.groups import Group


class Column(NamedTuple):
    """A column of figures in the Markdown table.

    Args:
        heading: What stands above it.
        figure: Names the figure in a group's rows, None where the column is of other groups.
        factor: What the figure is multiplied by.
        decimals: As many as make three digits where None.
    """

    heading: str
    figure: Callable[[Group], str | None]
    factor: float = 1.0
    decimals: int | None = None

    def values(self, group: Group) -> list[float]:
        """The figure of each seed of a group, where it was measured."""
        return group.values(self.figure(group))


def _columns(found: Sequence[Group]) -> list[Column]:
    """Columns of quality by each metric, those that decide first; then sizes and bytes."""
    deciding = {group.metric.name: group.metric for group in found}
    metrics = list((deciding | {metric.name: metric for group in found for metric in group.metrics}).values())
    alone = len(deciding) == 1  # then it goes without saying whose figures they are
    teachers = {m.name: "teachers" if alone and m.name in deciding else f"teachers' {m.label}" for m in metrics}
    int8 = "int8 in LiteRT" if alone else "int8 in LiteRT, {}"
    return [
        *(_of(m, m.with_unit(m.label) + m.direction, partial(Group.figure, metric=m)) for m in metrics),
        *(_of(m, m.with_unit(teachers[m.name]), partial(Group.teacher_figure, metric=m)) for m in metrics),
        *(_of(m, m.with_unit(int8.format(m.label)), _deciding("int8", m)) for m in deciding.values()),
        *(_of(m, m.difference(f"int8 - {m.label}"), _deciding("int8_gain", m)) for m in deciding.values()),
        *(Column(heading, _always(figure)) for heading, figure in _COSTS),
    ]


def _of(metric: Scale, heading: str, figure: Callable[[Group], str | None]) -> Column:
    return Column(heading, figure, metric.factor, 2 if metric.unit == "%" else None)


def _deciding(figure: str, metric: Scale) -> Callable[[Group], str | None]:
    """The figure in groups whose quality a metric decides."""
    return lambda group: figure if group.metric.name == metric.name else None


def _always(figure: str) -> Callable[[Group], str]:
    return lambda _: figure


_COSTS = (("int8, kB", "int8_kb"), ("MB a client", "total_mb"), ("times less", "reduction_vs_teacher"))


def times_less(group: Group, found: Sequence[Group]) -> float | None:
    """Megabytes of the suite's FedAvg of the teacher, over its own rounds, for one of a group's; None without one."""
    same = (other for other in found if (other.task, other.varied) == (group.task, group.varied))
    baseline = next((other for other in same if other.members[0][1]["method"] == "fedavg_teacher"), None)
    own = mean(group.values("total_mb"))
    return mean(baseline.values("total_mb")) / own if baseline and own else None


def markdown_table(found: Sequence[Group]) -> str:
    """Return a row a group, mean ± standard deviation over seeds, without columns that nothing was measured for."""
    varied = list(dict.fromkeys(key for group in found for key in group.varied))
    shown = [column for column in _columns(found) if any(column.values(group) for group in found)]
    compared = [times_less(group, found) for group in found]
    against = ["than fedavg_teacher"] if any(compared) else []
    lines = [["task", "method", *varied, *(column.heading for column in shown), *against, "seeds"]]
    lines.append([*(["---"] * (2 + len(varied))), *(["--:"] * (len(shown) + len(against) + 1))])
    for group, less in zip(found, compared, strict=True):
        settings = [str(group.varied.get(key, "")) for key in varied]
        figures = [spread(column.values(group), column.factor, column.decimals) for column in shown]
        figures += [spread([less] if less else [])] if against else []
        lines.append([group.task_title, group.label, *settings, *figures, str(len(group.members))])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
