"""What a node's start script checks before it starts the SuperNode."""

from collections.abc import Mapping
from pathlib import Path

from clients.node import own_data, state_checked
from fedkd.config import Scalar
from fedkd.settings import build
from fedkd.tasks.registry import load_task


def check_node(settings: Mapping[str, Scalar], own: Path, state: Path) -> int:
    """Check a node's examples against the task, and that its state can be kept.

    Args:
        settings: Dotted keys: the task, its data file and what its models depend on.
        own: The node's examples, see ``fedkd.tasks.own``.
        state: Folder of its state; made where it isn't there.

    Returns:
        The number of its examples.

    Raises:
        InputError: One of them breaks a rule.
    """
    config = build(settings)
    node = state_checked({"data": str(own), "state-dir": str(state)})
    found = own_data(node, load_task(config.task, config.model, config.data))
    return len(found) if found else 0
