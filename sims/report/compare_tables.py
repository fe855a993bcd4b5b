"""A comparison on a terminal of 80 columns: the runs with what sets them apart, then their figures by number."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

from sims.report.compare import Comparison, differences, figures, notices

_GAP = 2  # columns between two of a table

# Columns, heading first, each with its width.
Block = list[tuple[Sequence[str], int]]


def tables(held: Comparison) -> list[RenderableType]:
    """Notices, a line a run with the settings in which it differs, and the figures, runs by their numbers."""
    words = [Text(text, style="yellow") for text in notices(held)]
    parts: list[RenderableType] = [shown for part in held.parts for shown in (Text(), _Figures(part))]
    arrows = any(metric.better == "lower" for part in held.parts for metric in part.metrics)
    return [*words, _runs(held), *parts, *([Text("↓ lower is better", style="dim")] if arrows else [])]


def _runs(held: Comparison) -> Table:
    """Numbers, names and what differs; long ones go on in the next line."""
    table = Table("", "run", "settings in which they differ", box=None, padding=(0, 1))
    table.columns[1].overflow = table.columns[2].overflow = "fold"
    table.columns[1].max_width = 30
    rows = differences(held)
    names = short_keys([row[0] for row in rows])
    for number, pool in enumerate(held.pools, 1):
        said = [f"{name} {row[number]}" for name, row in zip(names, rows, strict=True)]
        if len(pool.runs) > 1:
            said.append(f"seeds {', '.join(pool.seeds)}")
        elif len({each.seeds for each in held.pools}) > 1:
            said.append(f"seed {pool.seeds[0]}")
        table.add_row(str(number), Text(pool.name), Text(" · ".join(said) or "none"))
    return table


def short_keys(keys: Sequence[str]) -> list[str]:
    """The last part of each dotted key, where that tells it from the others.

    >>> short_keys(["train.epochs", "up.bits", "down.bits"])
    ['epochs', 'up.bits', 'down.bits']
    """
    last = [key.rpartition(".")[2] for key in keys]
    return [short if last.count(short) == 1 else key for short, key in zip(last, keys, strict=True)]


@dataclass(frozen=True)
class _Figures:
    """A table of figures; columns for which there is no room are in a second one below.

    Args:
        part: Of a comparison.
    """

    part: Comparison

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """Give rich the tables."""
        columns = list(zip(*figures(self.part), strict=True))
        room = options.max_width - len(str(max(self.part.numbers))) - _GAP
        widths = [max(map(len, column)) for column in columns]
        if sum(widths) + _GAP * len(widths) > room:
            widths = [_narrow(column) for column in columns]
        yield from map(self._table, _blocks(list(zip(columns, widths, strict=True)), room))

    def _table(self, block: Block) -> Table:
        table = Table("", box=None, padding=(0, _GAP // 2))
        for (heading, *_), width in block:
            table.add_column(heading, justify="right", width=width)
        for place, number in enumerate(self.part.numbers, 1):
            table.add_row(str(number), *(Text(column[place], no_wrap=True) for column, _ in block))
        return table


def _blocks(columns: Block, room: int) -> Iterator[Block]:
    """Columns in as many blocks as it takes for each to have room, in order."""
    block: Block = []
    for column in columns:
        if block and sum(width + _GAP for _, width in (*block, column)) > room:
            yield block
            block = []
        block.append(column)
    yield block


def _narrow(column: Sequence[str]) -> int:
    """Letters of the longest cell, or of the longest word of the heading."""
    heading, *cells = column
    return max(map(len, (*heading.split(), *cells)))
