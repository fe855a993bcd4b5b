"""What a benchmark prints: a table, or one JSON object."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

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
    columns = _columns(result["rows"])
    for column in columns:
        numbers = any(isinstance(row.get(column), int | float) for row in result["rows"])
        # A number that doesn't fit runs beyond the edge: cut in two it would read as another.
        longest = max(len(_cell(row.get(column))) for row in result["rows"]) if numbers else None
        justify: Literal["left", "right"] = "right" if numbers else "left"
        table.add_column(column.replace("_", " "), justify=justify, overflow="fold", min_width=longest)
    for row in result["rows"]:
        table.add_row(*(_cell(row.get(column)) for column in columns))
    console.print(table, crop=False)


def as_markdown(rows: Sequence[Row]) -> str:
    """The table of some rows for a document, in Markdown.

    >>> print(as_markdown([{"network": "small", "int8_bytes": 50776}, {"network": "large", "int8_bytes": None}]))
    | network | int8 bytes |
    |---|---|
    | small | 50,776 |
    | large |  |
    """
    columns = _columns(rows)
    lines = [[column.replace("_", " ") for column in columns]]
    lines += [[_cell(row.get(column)) for column in columns] for row in rows]
    head, *body = [f"| {' | '.join(cells)} |" for cells in lines]
    return "\n".join([head, "|" + "---|" * len(columns), *body])


def _columns(rows: Sequence[Row]) -> list[str]:
    """Names of all figures that some row has, in their order."""
    return list(dict.fromkeys(key for row in rows for key, value in row.items() if value is not None))


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:,.0f}"
    return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
