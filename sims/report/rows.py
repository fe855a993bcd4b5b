"""Rows of a run's page: its clients, and its updates round by round."""

from typing import Any

from fedkd.results.run_record import RunRecord
from sims.report.table import NONE, or_none, size

MOST = 200  # clients with a row of their own


def client_rows(run: RunRecord) -> list[tuple[str, ...]]:
    """Headings, then a row for each of the first clients; columns of which nothing is known are left out."""
    metric = run.metric
    headings: tuple[str, ...] = (
        *("client", "examples", f"teacher's {metric.label}", "teacher, own data", "shared model, own data"),
        *("sent", "received", "seconds", "averaged", "refused"),
    )
    rows = [headings]
    for client, held in list(run.client_figures().items())[:MOST]:
        quality = (f"teacher_{metric.name}", "teacher_personal", "shared_personal")
        rows.append(
            (
                str(client),
                or_none(None if "examples" not in held else f"{held['examples']:,.0f}"),
                *(metric.text(held.get(name)) for name in quality),
                *(size(held.get(name)) for name in ("up_bytes", "down_bytes")),
                NONE if "seconds" not in held else f"{held['seconds']:,.1f}",
                f"{held['rounds']:.0f}",
                f"{held['refused']:.0f}",
            )
        )
    columns = [column for column in zip(*rows, strict=True) if set(column[1:]) != {NONE}]
    return list(zip(*columns, strict=True)) if len(rows) > 1 else []


def norm_rows(run: RunRecord) -> list[tuple[str, ...]]:
    """Round, smallest, middle and largest norm of the updates, whose the largest is, and which clients were refused."""
    return [
        (
            str(row.number),
            *(_norm(row.norms.get(name)) for name in ("min", "median", "max")),
            NONE if row.norms.get("largest") is None else f"{row.norms['largest']:.0f}",
            ", ".join(_who(entry) for entry in row.refused) or NONE,
        )
        for row in run.history
        if row.norms or row.refused
    ]


def _norm(value: float | None) -> str:
    return NONE if value is None else f"{value:.3g}"


def _who(entry: Any) -> str:
    """Whose update was refused, and its norm where that is known."""
    if not isinstance(entry, dict):
        return str(entry)
    norm = entry.get("norm")
    whose = "?" if entry.get("client") is None else str(entry["client"])
    return f"{whose} ({norm:.3g})" if isinstance(norm, int | float) else whose
