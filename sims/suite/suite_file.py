"""A suite's file and the cells that follow from it: settings of all, what is varied, and named variants."""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from fedkd.base.errors import InputError
from fedkd.config.config import Scalar
from fedkd.config.methods import METHODS
from fedkd.config.settings import flatten, keys, read_tables
from fedkd.results.task_record import short_task
from sims.suite.tuning import check_alike, check_free, trial_settings

Table = Mapping[str, Any]
TABLES = ("base", "grid", "tasks", "variants", "tuning")
ALL = "*"

# Keys that a table of results always shows.
_AXES = ("method", "task", "seed")
_DEFAULTS: dict[str, Scalar] = {"method": "fedkd", "task": "digits", "seed": 0}


@dataclass(frozen=True)
class Cell:
    """One run of a suite.

    Args:
        name: Of its folder, unique in the suite.
        label: What the tables call it: its method, its variant, or both.
        varied: What the grid varies in it beside method, task and seed.
        settings: All that the suite's file sets for it, by dotted keys.
        trials: Of its variant, one of which decides what else is set for it, see ``sims.suite.tuning``; cells that
            differ in their seeds alone have the same.
    """

    name: str
    label: str
    varied: Mapping[str, Scalar]
    settings: Mapping[str, Scalar]
    trials: "tuple[Cell, ...]" = ()


@dataclass(frozen=True)
class Variant:
    """A named set of settings: for all its cells, for those of one task, and lists of those that trials decide on."""

    name: str = ""
    settings: Mapping[str, Scalar] = field(default_factory=dict)
    tasks: Mapping[str, Mapping[str, Scalar]] = field(default_factory=dict)
    tuning: Mapping[str, list[Scalar]] = field(default_factory=dict)


def is_suite(table: Table) -> bool:
    """Whether a file's tables (or dotted keys) are those of a suite, not of a run."""
    return any(key.partition(".")[0] in TABLES for key in table)


def read_suite(path: Path) -> tuple[str, tuple[Cell, ...]]:
    """Read a suite's file.

    Returns:
        Its name and its cells.

    Raises:
        InputError: The file can't be read, is a run's configuration, or its tables break a rule.
    """
    tables = read_tables(path)
    try:
        _check_tables(tables)
        return tables.get("name", path.stem), expand(tables)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def expand(tables: Table) -> tuple[Cell, ...]:
    """Return the cells of a suite: each variant times the grid.

    Later ones win: ``base``, the task's table, the variant, the variant's table of the task, the grid. A key that a
    variant sets isn't varied in it.

    Raises:
        InputError: The tables break a rule.
    """
    grid = _grid(tables.get("grid", {}))
    variants = [_variant(table) for table in tables.get("variants", [{}])]
    check_alike([(variant.name, variant.tuning) for variant in variants], flatten(tables.get("tuning", {})))
    several = [tuple(_cells(tables, grid, variant)) for variant in variants]
    cells = tuple(cell for of_variant in several for cell in of_variant)
    names = [cell.name for cell in cells]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"two cells are called {twice[0]}; give their variants different names")
    _check_used("", tables.get("tasks", {}), cells)
    for variant, of_variant in zip(variants, several, strict=True):
        _check_used(f"variant {variant.name!r}: ", variant.tasks, of_variant)
    return cells


def _check_used(where: str, tasks: Table, cells: Sequence[Cell]) -> None:
    known = {str(cell.settings["task"]) for cell in cells}
    if unused := set(tasks) - known:
        raise InputError(f"{where}tasks.{min(unused)} is for a task of no cell; tasks here: {', '.join(sorted(known))}")


def _cells(tables: Table, grid: Mapping[str, list[Scalar]], variant: Variant) -> Iterator[Cell]:
    axes = {key: values for key, values in grid.items() if key not in variant.settings}
    first = {**_DEFAULTS, **flatten(tables.get("base", {})), **variant.settings}
    for values in product(*axes.values()):
        point = dict(zip(axes, values, strict=True))
        task = str(point.get("task", first["task"]))
        of_task = (flatten(tables.get("tasks", {}).get(task, {})), variant.settings, variant.tasks.get(task, {}))
        settings = first | of_task[0] | dict(of_task[1]) | dict(of_task[2]) | point
        label = _label(str(settings["method"]), variant, "method" in axes)
        varied = {key: value for key, value in point.items() if key not in _AXES}
        trials = _trials(tables, variant, Cell("", label, varied, settings))
        yield Cell(_name(label, varied, settings), label, varied, settings, trials)


def _trials(tables: Table, variant: Variant, cell: Cell) -> tuple[Cell, ...]:
    """Return the cells of a variant's trials, which are none of the table's."""
    of_task = variant.tasks.get(str(cell.settings["task"]), {})
    check_free(variant.name, variant.tuning, {**variant.settings, **of_task, **cell.varied})
    found = []
    for choice, settings in trial_settings(variant.tuning, flatten(tables.get("tuning", {})), cell.settings):
        found.append(Cell(_name(cell.label, {**cell.varied, **choice}, settings), cell.label, choice, settings))
    return tuple(found)


def _label(method: str, variant: Variant, several: bool) -> str:
    if variant.name and several:
        return f"{method} {variant.name}"
    return variant.name or method


def _name(label: str, varied: Mapping[str, Scalar], settings: Mapping[str, Scalar]) -> str:
    """Name a cell's folder so that a reader knows what is in it."""
    others = (f"{key.rpartition('.')[2]}={value}" for key, value in varied.items())
    parts = [label, short_task(str(settings["task"])), *others, f"seed{settings['seed']}"]
    return "-".join(file_name(part) for part in parts)


def file_name(text: str) -> str:
    """A text with what may not be in a file's name replaced."""
    return re.sub(r"[^\w.=+]+", "_", text)


def _grid(table: Table) -> dict[str, list[Scalar]]:
    grid = _lists("grid", table)
    return {key: list(METHODS) if key == "method" and values == [ALL] else values for key, values in grid.items()}


def _lists(where: str, table: Any) -> dict[str, Any]:
    """Read the lists of a table."""
    if not isinstance(table, dict):
        raise InputError(f"{where} must be a table, got {table!r}")
    found = flatten(table)
    for key, values in found.items():
        if not isinstance(values, list) or not values:
            raise InputError(f"{where}: {key} must be a list of one value or more, got {values!r}")
    return found


def _variant(table: Table) -> Variant:
    settings = {key: value for key, value in table.items() if key not in ("name", "tasks", "tuning")}
    where = f"variant {table.get('name', '')!r}: "
    _check_tasks(where, table.get("tasks", {}))
    tasks = {name: flatten(inner) for name, inner in table.get("tasks", {}).items()}
    tuning = _lists(f"{where}tuning", table.get("tuning", {}))
    return Variant(str(table.get("name", "")), flatten(settings), tasks, tuning)


def _check_tables(tables: Table) -> None:
    """Check the outermost tables, before anything in them."""
    if not is_suite(tables) and set(flatten(tables)) & {key for key, _ in keys()}:
        raise InputError("the configuration of one run, not a suite: give it to `fedkd run`")
    for key, value in tables.items():
        if key != "name" and key not in TABLES:
            near = difflib.get_close_matches(key, TABLES, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"a suite has {', '.join(TABLES)}"
            raise InputError(f"unknown table or key {key!r} of a suite: {hint} (settings of all cells go in [base])")
        ok = isinstance(value, dict) or key == "name"
        if key == "variants":
            ok = isinstance(value, list) and all(isinstance(item, dict) for item in value) and bool(value)
        if not ok:
            rule = "tables, each written [[variants]]" if key == "variants" else "a table"
            raise InputError(f"{key} must be {rule}, got {value!r}")
    _check_tasks("", tables.get("tasks", {}))
    if "name" in tables:
        _check_name(tables["name"])


def _check_tasks(where: str, tasks: Any) -> None:
    """Check that settings of tasks are a table of tables."""
    tables = {f"tasks.{name}": inner for name, inner in tasks.items()} if isinstance(tasks, dict) else {"tasks": tasks}
    for key, value in tables.items():
        if not isinstance(value, dict):
            raise InputError(f"{where}{key} must be a table, got {value!r}")


def _check_name(name: Any) -> None:
    """Check that a suite's name makes a folder in ``runs`` and nowhere else."""
    if not isinstance(name, str) or name in ("", "..") or Path(name).name != name or not name.isprintable():
        raise InputError(f"name must be that of a folder, a text without '/', got {name!r}")
