"""What is checked before anything starts: a deployment's task, and what a node brings."""

from collections.abc import Mapping
from pathlib import Path

from clients.node.node_config import own_data, state_checked
from fedkd.base.errors import InputError
from fedkd.base.task_name import FILES, parse_task
from fedkd.config.config import Scalar
from fedkd.config.model import ModelConfig
from fedkd.config.settings import build_of_task
from fedkd.tasks.named import NAMED
from fedkd.tasks.own import warning_of
from fedkd.tasks.registry import load_task


def check_node(settings: Mapping[str, Scalar], own: Path, state: Path) -> tuple[int, str]:
    """Check a node's examples against the task, and that its state can be kept.

    Args:
        settings: Dotted keys: the task, its data file and what its models depend on.
        own: The node's examples, see ``fedkd.tasks.own``.
        state: Folder of its state; made where it isn't there.

    Returns:
        The number of its examples, and what seems odd about them; empty where nothing does.

    Raises:
        InputError: One of them breaks a rule.
    """
    config = build_of_task(settings)
    node = state_checked({"data": str(own), "state-dir": str(state)})
    task = load_task(config.task, config.model, config.data)
    found = own_data(node, task)
    return (len(found), warning_of(found, task)) if found else (0, "")


def check_task(name: str) -> str:
    """Check the task of a deployment as far as this machine can: the nodes need it, this one may not have it.

    Args:
        name: See ``fedkd.tasks.registry.load_task``.

    Returns:
        Why it couldn't be checked here; empty where it could.

    Raises:
        InputError: No machine knows such a task, or what is here of it breaks a rule.
    """
    _, colon, _ = name.partition(":")
    kind, place, _ = parse_task(name)
    if colon and not place:
        raise InputError(f"--task must say what after {name!r}, see `fedkd tasks`")
    if name in NAMED:
        return ""  # whose data file is named on each machine
    if kind == "hf":
        return f"task {name!r} isn't downloaded here"
    if kind in FILES and not Path(place).is_file():
        return f"{place}: no such file here"
    if kind not in FILES and colon and not all(part.isidentifier() for part in [*kind.split("."), place]):
        raise InputError(f"--task must be a name of `fedkd tasks` or package.module:function, got {name!r}")
    try:
        load_task(name, ModelConfig())
    except InputError as error:
        if isinstance(error.__context__, ModuleNotFoundError):
            return str(error)
        raise
    return ""
