"""Flower's ``flwr-clientapp``, which runs once a message, without the half of its imports that are its SuperNode's."""

import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

COMMAND = "flwr-clientapp"
_PACKAGE = "flwr.supernode.cli"  # imports the SuperNode, of which the client's command, a module in it, uses nothing


def main() -> None:
    """Entry point; takes what ``flwr-clientapp`` takes."""
    flowers()()


def flowers() -> Callable[[], None]:
    """Import Flower's command, which reads the process' arguments, and nothing of its SuperNode."""
    found = find_spec(_PACKAGE.rpartition(".")[0])
    package = ModuleType(_PACKAGE)
    package.__path__ = [str(Path(place, "cli")) for place in found.submodule_search_locations or ()] if found else []
    sys.modules[_PACKAGE] = package
    from flwr.supernode.cli.flwr_clientapp import flwr_clientapp

    return flwr_clientapp


if __name__ == "__main__":
    main()
