"""What a benchmark prints: a table, or one JSON object."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

Row = Mapping[str, Any]


def report(bench: str, matmul: float, rows: Sequence[Row]) -> dict[str, Any]:
    """Make the object of a benchmark."""
    return {"bench": bench, "matmul_gflops": matmul, "rows": list(rows)}


def show(result: Mapping[str, Any], as_json: bool, console: Console) -> None:
    """Print a benchmark's object."""
    if as_json:
        print(json.dumps(result))
        return
    from sims.bench.machine import in_words

    rate = [f"float32 matmul {result['matmul_gflops']:.0f} GFLOP/s"] if "matmul_gflops" in result else []
    facts = " · ".join([*in_words(result.get("machine", {})), *rate])
    table = Table(box=None, caption=facts, caption_justify="left", caption_style="dim")
    columns = list(dict.fromkeys(key for row in result["rows"] for key, value in row.items() if value is not None))
    for column in columns:
        numbers = any(isinstance(row.get(column), int | float) for row in result["rows"])
        table.add_column(column.replace("_", " "), justify="right" if numbers else "left", overflow="fold")
    for row in result["rows"]:
        table.add_row(*(_cell(row.get(column)) for column in columns))
    console.print(table)


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:,.0f}"
    return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
