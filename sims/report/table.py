"""What ``fedkd run`` prints at its end, and figures written the way a person reads them."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from fedkd.objectives.metric import ACCURACY, Scale
from fedkd.objectives.metric import NONE as NONE
from fedkd.results.summary import Quality, Summary
from fedkd.results.task_record import LARGEST_CLASS
from sims.report.class_rows import class_rows

KB, MB = 1e3, 1e6


def percent(share: float | None, digits: int = 1) -> str:
    """A share of one in per cent.

    Args:
        share: in [0, 1], or None where nothing was measured.
        digits: decimals.

    Returns:
        The figure with its unit, a dash for None.

    >>> percent(0.9489), percent(None)
    ('94.9 %', '–')
    """
    return NONE if share is None else f"{100 * share:.{digits}f} %"


def size(count: float | None) -> str:
    """A number of bytes in the decimal unit that keeps it short.

    Args:
        count: bytes, or None where nothing was measured.

    Returns:
        Three digits and a unit, a dash for None.

    >>> size(980), size(36_060), size(1_234_567)
    ('980 B', '36.1 kB', '1.23 MB')
    """
    if count is None:
        return NONE
    if count < 1000:
        return f"{count:.0f} B"
    for unit in ("kB", "MB", "GB"):
        count /= 1000
        if count < 999.5 or unit == "GB":
            break
    return f"{count:.{max(0, 2 - (count >= 9.995) - (count >= 99.95))}f} {unit}"


def saving(traffic: Mapping[str, float | None], which: str) -> str:
    """How much less (or more) a client sent and received than FedAvg of that model.

    Args:
        traffic: the summary's.
        which: ``teacher`` or ``student``.

    Returns:
        The difference as a share of FedAvg's, ``less`` or ``more``; a dash where it is unknown.

    >>> saving({"up_bytes_per_client": 4, "down_bytes_per_client": 1, "dense_teacher_bytes_per_client": 100}, "teacher")
    '95.0 % less'
    """
    sent, dense = total_bytes(traffic), traffic.get(f"dense_{which}_bytes_per_client")
    if sent is None or not dense:
        return NONE
    return f"{percent(abs(1 - sent / dense))} {'less' if sent <= dense else 'more'}"


def total_bytes(traffic: Mapping[str, float | None]) -> float | None:
    """Bytes a client sent and received in the whole run, None where the summary lacks either."""
    up, down = traffic.get("up_bytes_per_client"), traffic.get("down_bytes_per_client")
    return None if up is None or down is None else float(up + down)


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


def rounds(summary: Summary) -> str:
    """The run's length: ``20 rounds``, ``20 + 3 rounds`` with those of finishing."""
    finish, count = summary.finish_rounds, or_none(summary.rounds)
    return f"{count} + {finish} rounds" if finish else f"{count} round{'' if count == '1' else 's'}"


def or_none(value: object) -> str:
    """What is known as a text, a dash for None."""
    return NONE if value is None else str(value)


def lead(metric: Scale) -> str:
    """What figures of quality begin with in a line: their metric, but for accuracy, which per cent alone stand for.

    >>> lead(ACCURACY), lead(Scale("mae", "mean absolute error"))
    ('', 'mean absolute error: ')
    """
    return "" if metric.name == ACCURACY.name else f"{metric.label}: "


def summary_table(summary: Summary, report: Path | None = None, baseline: str = LARGEST_CLASS) -> RenderableType:
    """The end of a run in a few lines that fit 80 columns.

    Args:
        summary: what the run wrote to ``summary.json``.
        report: the run's page; left out if not given, for a run may lie anywhere.
        baseline: what the model does that has learnt nothing.

    Returns:
        What a rich console prints.
    """
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for label, text in (
        ("Quality", _quality(summary)),
        ("", _baseline(summary, baseline)),
        ("Traffic", _traffic(summary.traffic)),
        ("", _savings(summary.traffic)),
        ("Speed", _speed(summary.speed)),
        ("Privacy", _privacy(summary.privacy)),
        ("Teacher" if summary.shared == "teacher" else "Student", _shared(summary)),
        ("Report", str(report or "")),
    ):
        if text:
            table.add_row(label, Text(text))  # Text, not markup: a run may be called [red]
    return Group(
        Text(_title(summary), style="bold"), Padding(table, (0, 0, 0, 1)), *_classes(summary), *_files(summary)
    )


def _title(summary: Summary) -> str:
    """Which run it was."""
    what = f"{or_none(summary.method)} on {or_none(summary.task)}"
    return f"{summary.name}: {what}, {or_none(summary.clients)} clients, {rounds(summary)}"


def _quality(summary: Summary) -> str:
    """Figures of quality, those that were measured."""
    metric, held = summary.metric, summary.quality or Quality()
    parts = []
    if summary.shared != "none":  # else these are the teachers'
        named = "shared model" if held.teacher_mean is None else "student"
        before = f" ({metric.text(held.shared)} before finishing)" if held.finished is not None else ""
        parts = [f"{named} {metric.text(held.shipped)}{before}"]
        parts += [other.beside(value) for other, value in summary.shipped_others]
    if held.teacher_mean is not None:
        spread = f" ± {metric.spread(held.teacher_std)}" if held.teacher_std is not None else ""
        means = [(other, figures.teacher_mean) for other, figures in summary.named_others]
        others = "".join(f", {other.beside(mean)}" for other, mean in means if mean is not None)
        parts.append(f"teachers {metric.text(held.teacher_mean)}{spread}{others}")
    if held.teacher_personal is not None:
        parts.append(f"own data {metric.text(held.teacher_personal)}")
    return lead(metric) + " · ".join(parts)


def _baseline(summary: Summary, label: str) -> str:
    """What a model that has learnt nothing scores."""
    baseline = (summary.quality or Quality()).baseline
    return "" if baseline is None else f"{label} {summary.metric.text(baseline)}"


def _privacy(held: Mapping[str, float | str]) -> str:
    """What the run has promised its clients and kept; empty where it promised nothing."""
    if "epsilon" not in held:
        return ""
    return f"epsilon {held['epsilon']:.3g} at delta {held['delta']:g} a client · noise from {held['noise']}"


def _traffic(traffic: Mapping[str, float | None]) -> str:
    """Bytes a client, both ways."""
    up, down = traffic.get("up_bytes_per_client"), traffic.get("down_bytes_per_client")
    return f"{size(up)} up + {size(down)} down a client"


def _savings(traffic: Mapping[str, float | None]) -> str:
    """Against FedAvg, empty where the summary has nothing to compare with."""
    found = [(which, saving(traffic, which)) for which in ("teacher", "student")]
    texts = [f"{text} ({which})" for which, text in found if text != NONE]
    return f"against FedAvg: {', '.join(texts)}" if texts else ""


def _speed(speed: Mapping[str, float | None]) -> str:
    """How long it took."""
    seconds, updates = speed.get("seconds"), speed.get("client_updates_per_second")
    parts = [f"{seconds:,.0f} s"] if seconds is not None else []
    return " · ".join(parts + ([f"{updates:,.2f} client updates a second"] if updates is not None else []))


def _shared(summary: Summary) -> str:
    """The shared model's size and the start of its hash; empty where none is shared."""
    if summary.shared == "none":
        return ""
    role = "teacher" if summary.shared == "teacher" else "student"  # of both it is the student that ships
    count, digest = summary.parameters.get(role), or_none(summary.shared_sha256)[:12]
    left = next((file.parameters for file in summary.files if file.parameters), count)
    after = f", {left:,} after finishing" if count and left != count and summary.finish_rounds else ""
    return (f"{count:,} parameters{after} · " if count else "") + f"sha256 {digest}"


def _classes(summary: Summary) -> Sequence[RenderableType]:
    """The classes of devices, a row each."""
    headings, *rows = class_rows(summary.by_class, summary.metric) or [()]
    table = Table(box=None, padding=(0, 1), header_style="dim")
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return [table] if rows else []


def _files(summary: Summary) -> Sequence[RenderableType]:
    """The device files, a row each; below them, those that aren't to be used or that failed, and why."""
    table, metric = Table(box=None, padding=(0, 1), header_style="dim"), summary.metric
    table.add_column("device file", overflow="fold", min_width=24)
    for heading in ("bytes", "gzip", metric.label, "agreement"):
        table.add_column(heading, justify="right", no_wrap=True)
    for file in summary.files:
        if file.made:
            sizes = size(file.flash_bytes), size(file.gzip_bytes)
            style = "red" if file.warning else None
            table.add_row(Text(file.label), *sizes, metric.text(file.deciding), percent(file.alike), style=style)
    marked = [f" {file.label}: {file.warning}" for file in summary.files if file.warning]
    failed = [f" {file.label} failed: {file.error}" for file in summary.files if not file.made]
    return ([table] if table.row_count else []) + [Text(line, style="red") for line in (*marked, *failed)]
