"""Flower's ``flwr-clientapp``, which runs once a message, without the half of its imports that are its SuperNode's."""

import os
import shlex
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from fedkd.base.python import python

COMMAND = "flwr-clientapp"
_PACKAGE = "flwr.supernode.cli"  # imports the SuperNode, of which the client's command, a module in it, uses nothing


def main() -> None:
    """Entry point; takes what ``flwr-clientapp`` takes."""
    found = find_spec(_PACKAGE.rpartition(".")[0])
    package = ModuleType(_PACKAGE)
    package.__path__ = [str(Path(place, "cli")) for place in found.submodule_search_locations or ()] if found else []
    sys.modules[_PACKAGE] = package
    from flwr.supernode.cli.flwr_clientapp import flwr_clientapp

    flwr_clientapp()


def instead_of_flowers(folder: Path) -> str:
    """Write a command of that name; returns the PATH by which it is found first.

    Where the folder's file system runs nothing, Flower's own is found all the same.

    Args:
        folder: Made where it isn't there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    command = folder / COMMAND
    command.write_text(f'#!/bin/sh\nexec {shlex.join(python("-m", __name__))} "$@"\n')
    command.chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ.get('PATH', os.defpath)}"


if __name__ == "__main__":
    main()
