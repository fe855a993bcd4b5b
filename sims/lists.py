"""The commands that say what there is: ``fedkd tasks`` and ``fedkd methods``."""

from rich.table import Column, Table

from sims.terminal import Terminal


def tasks() -> None:
    """List the tasks."""
    from fedkd.tasks.registry import TASKS

    table = Table("task", "what it is", Column("data", overflow="fold"), box=None)
    for name, (summary, where) in TASKS.items():
        table.add_row(name, summary, where)
    Terminal().print(table)


def methods() -> None:
    """List the methods."""
    from fedkd.config.methods import METHODS

    table = Table("method", "what it is", "from", box=None)
    for method in METHODS.values():
        table.add_row(method.name, method.summary, method.citation)
    Terminal().print(table)
