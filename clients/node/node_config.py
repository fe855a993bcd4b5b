"""What a machine brings to a federation: its own examples, and a folder to keep state in."""

import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from fedkd.base.errors import InputError
from fedkd.config.config import Scalar
from fedkd.config.sections import ENGINES
from fedkd.data.dataset import Dataset
from fedkd.tasks.own import Wants, read_own

NodeConfig = Mapping[str, Scalar]


def own_data(node: NodeConfig, task: Wants) -> Dataset | None:
    """Read the examples of a node, named by its ``data``; None where it has none of its own.

    Raises:
        InputError: See ``fedkd.tasks.own.read_own``.
    """
    path = str(node.get("data", ""))
    return read_own(Path(path), task) if path else None


def partition_of(node: NodeConfig) -> int:
    """Which client a node is."""
    return int(node["partition-id"])


def class_of(node: NodeConfig) -> str:
    """The class of devices that a node says it is of, by its ``class``; empty where it says nothing."""
    return str(node.get("class", ""))


def engine_of(node: NodeConfig) -> str:
    """What trains a node's models, ``tensorflow`` or ``litert``: as its ``engine`` says, else by what is installed.

    Raises:
        InputError: It is neither.
    """
    engine = str(node.get("engine", ""))
    if engine not in ("", *ENGINES):
        raise InputError(f"engine must be {' or '.join(ENGINES)}, got {engine!r}")
    return engine or ENGINES[find_spec("tensorflow") is None]


def state_dir(node: NodeConfig, run: str) -> Path:
    """Where a node keeps what it needs in later rounds: its ``state-dir``, else a temporary folder of the run's own."""
    return Path(str(node.get("state-dir", Path(tempfile.gettempdir()) / f"fedkd-{run}")))


def state_checked(node: NodeConfig) -> NodeConfig:
    """Return a node's configuration where it can keep its state.

    Raises:
        InputError: Its ``state-dir`` can't be made or written.
    """
    if path := str(node.get("state-dir", "")):
        try:
            Path(path).mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=path):
                pass
        except OSError as error:
            raise InputError(f"state-dir: {path} can't be written ({error.strerror})") from None
    return node
