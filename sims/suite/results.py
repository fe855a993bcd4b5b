"""The rows of a suite's table: one for each cell, as CSV."""

import csv
from collections.abc import Sequence
from io import StringIO
from typing import Any

from fedkd.config.settings import to_settings
from fedkd.objectives.metric import ACCURACY, F1
from fedkd.results.summary import Quality, Summary
from sims.report.table import KB, MB, total_bytes
from sims.suite.plan import Job

Row = dict[str, Any]
_SHOWN_ALWAYS = ("method", "task", "seed")
# Where a task's file lies is of this machine, not of the experiment.
_NOT_SHOWN = (*_SHOWN_ALWAYS, "data")


def varied_keys(jobs: Sequence[Job]) -> list[str]:
    """Keys that the suite sets and whose values differ between cells, beside method, task and seed."""
    settings = [to_settings(job.config) for job in jobs]
    given = dict.fromkeys(key for job in jobs for key in job.cell.settings if key not in _NOT_SHOWN)
    return [key for key in given if len({held.get(key) for held in settings}) > 1]


def further_metrics(summaries: Sequence[Summary | None]) -> list[str]:
    """Names of metrics beside the deciding one that cells have; F1's where accuracy decides, whether or not it is."""
    known = [summary for summary in summaries if summary]
    by_accuracy = all(summary.metric.name == ACCURACY.name for summary in known)
    names = dict.fromkeys(metric.name for summary in known for metric in summary.metrics[1:])
    return list(dict.fromkeys([F1.name, *names] if by_accuracy else names))


def row(job: Job, summary: Summary | None, varied: Sequence[str], others: Sequence[str]) -> Row:
    """Return a cell's line of the table.

    Args:
        job: The cell.
        summary: Of its run; None where it isn't finished.
        varied: Keys of ``varied_keys``.
        others: Names of ``further_metrics``.

    Returns:
        Columns in their order; figures are None where there are none. Seconds come last: they alone aren't repeated.
    """
    config, held = job.config, to_settings(job.config)
    first: Row = {"cell": job.cell.name, "label": job.cell.label, "method": config.method}
    # The configuration holds the absolute path of a task's file.
    first |= {"task": job.cell.settings["task"], "seed": config.seed, **{key: held.get(key) for key in varied}}
    first["status"] = "finished" if summary else "missing"
    figures = _figures(summary or Summary(), others)
    return first | (figures if summary else dict.fromkeys(figures))


def _figures(summary: Summary, others: Sequence[str]) -> Row:
    quality, traffic = summary.quality or Quality(), summary.traffic
    further = {name: summary.others.get(name, Quality()) for name in others}
    int8, gain, kilobytes = _int8(summary)
    return {
        "shared": quality.shared,
        **{name: held.shared for name, held in further.items()},
        "teacher_mean": quality.teacher_mean,
        **{f"teacher_{name}": held.teacher_mean for name, held in further.items()},
        "int8": int8,
        "int8_gain": gain,
        "int8_kb": kilobytes,
        "up_mb": (traffic.get("up_bytes_per_client") or 0.0) / MB,
        "down_mb": (traffic.get("down_bytes_per_client") or 0.0) / MB,
        "total_mb": (total_bytes(traffic) or 0.0) / MB,
        "reduction_vs_teacher": traffic.get("reduction_vs_teacher"),
        "sha256": summary.shared_sha256,
        "seconds": summary.speed.get("seconds"),
    }


def _int8(summary: Summary) -> tuple[float | None, float | None, float | None]:
    """Accuracy of the int8 file in LiteRT, what that is above the shared model's after training, and its kilobytes."""
    found = next((file for file in summary.files if file.precision == "int8" and file.made), None)
    shared = summary.quality.shared if summary.quality else None
    if found is None or found.deciding is None or found.flash_bytes is None or shared is None:
        return None, None, None
    return found.deciding, found.deciding - shared, found.flash_bytes / KB


def csv_text(rows: Sequence[Row]) -> str:
    """Return the rows as CSV; numbers have six significant digits."""
    text = StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _written(value) for key, value in row.items()} for row in rows)
    return text.getvalue()


def _written(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value
