"""Flower's ``flower-superexec`` on a node: a message's process is a copy of one that has the imports.

Flower's starts Python anew for each message, which imports for longer than a small model trains.
"""

import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from clients.node import clientapp
from clients.node.template import Template, fork

_LITERT = {"tensorflow": (), "litert": ("clients.node.training_files", "fedkd.protocol.node_experiment")}


def main() -> None:
    """Entry point; takes what ``flower-superexec`` takes."""
    run = clientapp.flowers()  # before the fork, so that this process has the same memory of it
    forked = fork(_import)
    if not isinstance(forked, Template):
        with suppress(OSError):
            Path("/proc/self/comm").write_text(clientapp.COMMAND)  # for whoever looks at the machine's processes
        sys.argv = [clientapp.COMMAND, *forked]
        return run()
    from flwr.supercore.cli.flower_superexec import flower_superexec
    from flwr.supercore.superexec.executor import subprocess_executor

    subprocess_executor.subprocess = Launches(forked)  # type: ignore[assignment]  # the module, of which it uses no more
    return flower_superexec()


def _import() -> None:
    """Import what each message needs, but TensorFlow: a node that has it may train by a file all the same."""
    from clients.node.node_config import engine_of

    for name in ("clients.node.app", "clients.node.training", *_LITERT[engine_of({})]):
        import_module(name)


class Launches:
    """What Flower starts processes by, in place of the module ``subprocess``.

    Args:
        template: Copied for each message; where it is gone Flower's command is started.
    """

    DEVNULL = subprocess.DEVNULL

    def __init__(self, template: Template) -> None:
        self._template = template

    def Popen(self, command: Sequence[str], **options: Any) -> None:
        """Start a process, of a client's command that says nothing of its output as a copy."""
        plain = command[0] == clientapp.COMMAND and not options
        if not (plain and self._template.copy(command[1:])):
            subprocess.Popen(command, **options)


if __name__ == "__main__":
    main()
