"""What ``fedkd run`` prints at its end, and figures written the way a person reads them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from fedkd.results.device_file import DeviceFile
from fedkd.results.run_folder import files_of

NONE = "–"
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


def saving(traffic: dict[str, Any], which: str) -> str:
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


def total_bytes(traffic: dict[str, Any]) -> float | None:
    """Bytes a client sent and received in the whole run, None where the summary lacks either."""
    up, down = traffic.get("up_bytes_per_client"), traffic.get("down_bytes_per_client")
    return None if up is None or down is None else float(up + down)


def rounds(summary: dict[str, Any]) -> str:
    """The run's length: ``20 rounds``, ``20 + 3 rounds`` with those of finishing."""
    finish = summary.get("finish_rounds") or 0
    count = summary.get("rounds", NONE)
    return f"{count} + {finish} rounds" if finish else f"{count} round{'' if count == 1 else 's'}"


def summary_table(summary: dict[str, Any], report: Path | None = None) -> RenderableType:
    """The end of a run in a few lines that fit 80 columns.

    Args:
        summary: what the run wrote to ``summary.json``.
        report: the run's page; left out if not given, for a run may lie anywhere.

    Returns:
        What a rich console prints.
    """
    traffic = summary.get("traffic") or {}
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for label, text in (
        ("Quality", _quality(summary)),
        ("", _majority(summary)),
        ("Traffic", _traffic(traffic)),
        ("", _savings(traffic)),
        ("Speed", _speed(summary.get("speed") or {})),
        ("Student", _student(summary)),
        ("Report", str(report or "")),
    ):
        if text:
            table.add_row(label, Text(text))  # Text, not markup: a run may be called [red]
    return Group(Text(_title(summary), style="bold"), Padding(table, (0, 0, 0, 1)), *_files(files_of(summary)))


def _title(summary: dict[str, Any]) -> str:
    """Which run it was."""
    what = f"{summary.get('method', NONE)} on {summary.get('task', NONE)}"
    return f"{summary.get('name')}: {what}, {summary.get('clients', NONE)} clients, {rounds(summary)}"


def _quality(summary: dict[str, Any]) -> str:
    """Accuracies, those that were measured."""
    accuracy = summary.get("accuracy") or {}
    teachers = accuracy.get("teacher_mean")
    parts = [f"{'student' if teachers is not None else 'shared model'} {percent(accuracy.get('shared'))}"]
    if summary.get("f1_positive") is not None:
        parts.append(f"F1 {summary['f1_positive']:.3f}")
    if teachers is not None:
        std = accuracy.get("teacher_std")
        spread = f" ± {100 * std:.1f}" if std is not None else ""
        f1 = f", F1 {summary['teacher_f1']:.3f}" if summary.get("teacher_f1") is not None else ""
        parts.append(f"teachers {percent(teachers)}{spread}{f1}")
    if accuracy.get("teacher_personal") is not None:
        parts.append(f"own data {percent(accuracy['teacher_personal'])}")
    return " · ".join(parts)


def _majority(summary: dict[str, Any]) -> str:
    """What a model that has learnt nothing scores."""
    majority = (summary.get("accuracy") or {}).get("majority")
    return "" if majority is None else f"always the largest class {percent(majority)}"


def _traffic(traffic: dict[str, Any]) -> str:
    """Bytes a client, both ways."""
    up, down = traffic.get("up_bytes_per_client"), traffic.get("down_bytes_per_client")
    return f"{size(up)} up + {size(down)} down a client"


def _savings(traffic: dict[str, Any]) -> str:
    """Against FedAvg, empty where the summary has nothing to compare with."""
    found = [(which, saving(traffic, which)) for which in ("teacher", "student")]
    texts = [f"{text} ({which})" for which, text in found if text != NONE]
    return f"against FedAvg: {', '.join(texts)}" if texts else ""


def _speed(speed: dict[str, Any]) -> str:
    """How long it took."""
    updates = speed.get("client_updates_per_second")
    parts = [f"{speed['seconds']:,.0f} s"] if speed.get("seconds") is not None else []
    return " · ".join(parts + ([f"{updates:,.2f} client updates a second"] if updates is not None else []))


def _student(summary: dict[str, Any]) -> str:
    """The shared model's size and the start of its hash."""
    count = (summary.get("parameters") or {}).get("student")
    digest = str(summary.get("shared_sha256") or NONE)[:12]
    left = next((file.parameters for file in files_of(summary) if file.parameters), count)
    after = f", {left:,} after finishing" if count and left != count and summary.get("finish_rounds") else ""
    return (f"{count:,} parameters{after} · " if count else "") + f"sha256 {digest}"


def _files(files: Sequence[DeviceFile]) -> Sequence[RenderableType]:
    """The device files, a row each; below them, those that failed and why."""
    table = Table(box=None, padding=(0, 1), header_style="dim")
    table.add_column("device file", overflow="fold", min_width=24)
    for heading in ("bytes", "gzip", "accuracy", "agreement"):
        table.add_column(heading, justify="right", no_wrap=True)
    for file in files:
        if file.error is None:
            figures = (size(file.flash_bytes), size(file.gzip_bytes), percent(file.quality.get("litert")))
            table.add_row(Text(file.label), *figures, percent(file.agreement.get("litert")))
    failed = [f" {file.label} failed: {file.error}" for file in files if file.error is not None]
    return ([table] if table.row_count else []) + [Text(line, style="red") for line in failed]
