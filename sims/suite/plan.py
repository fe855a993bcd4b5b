"""What a suite is going to do, checked in full before any cell runs."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from fedkd.base import runtime
from fedkd.base.errors import InputError
from fedkd.config.config import Config
from fedkd.config.settings import build_of_task, check_settings
from fedkd.protocol.resolve import resolve
from fedkd.tasks.registry import load_task
from sims.run import absolute
from sims.suite.suite_file import Cell


@dataclass(frozen=True)
class Job:
    """A cell with all its settings, and where it writes.

    Args:
        cell: As the suite's file says.
        config: Resolved: what its run writes as ``config.toml``.
        folder: Of its run.
        log: What it prints.
    """

    cell: Cell
    config: Config
    folder: Path
    log: Path


def with_data(cells: Sequence[Cell], data: Mapping[str, str]) -> tuple[Cell, ...]:
    """Give the cells of each task in ``data`` the path of its file.

    Raises:
        InputError: No cell has the task.
    """
    known = {str(cell.settings["task"]) for cell in cells}
    for task in data:
        if task not in known:
            raise InputError(
                f"--data {task}={data[task]}: no cell has this task; tasks here: {', '.join(sorted(known))}"
            )
    return tuple(_with_data(cell, data) for cell in cells)


def _with_data(cell: Cell, data: Mapping[str, str]) -> Cell:
    path = data.get(str(cell.settings["task"]))
    trials = tuple(_with_data(trial, data) for trial in cell.trials)
    return replace(cell, settings={**cell.settings, **({"data": path} if path else {})}, trials=trials)


def plan(cells: Sequence[Cell], out: Path) -> tuple[Job, ...]:
    """Check every cell: keys, values and methods of all, then their tasks, each loaded once.

    Args:
        cells: Of a suite.
        out: The suite's folder.

    Returns:
        A job a cell, in order.

    Raises:
        InputError: The first cell that breaks a rule is named, with the rule.
    """
    for cell in cells:
        with _about(cell):
            build_of_task(check_settings(cell.settings))
    load = lru_cache(maxsize=1)(load_task)
    configs: dict[str, Config] = {}
    for cell in sorted(cells, key=_data):
        with _about(cell):
            configs[cell.name] = resolve(check_settings(absolute(cell.settings)), load).config
    return tuple(
        Job(cell, configs[cell.name], out / "cells" / cell.name, out / "logs" / f"{cell.name}.txt") for cell in cells
    )


@contextmanager
def _about(cell: Cell) -> Iterator[None]:
    try:
        yield
    except InputError as error:
        raise InputError(f"cell {cell.name}: {error}") from None


def _data(cell: Cell) -> str:
    """What loading the cell's task depends on: cells that agree in it come after each other, so it loads once."""
    return str(sorted((k, v) for k, v in cell.settings.items() if k in ("task", "data") or k.startswith("model.")))


def side_by_side(jobs: Sequence[Job]) -> int:
    """How many cells run at a time: as many as there are cores for, where a cell's ``threads`` leaves some free."""
    cores = runtime.cores()
    return max(1, cores // max((job.config.threads or cores for job in jobs), default=cores))
