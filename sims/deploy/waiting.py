"""What a run lacks that doesn't begin: said after a minute, and again whenever it is something else."""

import os
import time
from pathlib import Path

from rich.console import Console
from rich.text import Text

from fedkd.base.errors import RunError
from sims.deploy import flower
from sims.deploy.deployed import Deployed
from sims.deploy.fleet import fleet, missing

# Seconds that a run may take to begin: nodes come, processes start TensorFlow.
_PATIENCE = 60.0


class Waiting:
    """Looks after a run until its first round, or its next one where it goes on, has ended.

    Args:
        deployed: Whose nodes the run is for.
        history: The run's ``history.jsonl``, as it was when the run was submitted.
        console: Where to say what is missing.
        patience: Seconds in which nothing is said.
    """

    def __init__(self, deployed: Deployed, history: Path, console: Console, patience: float = _PATIENCE) -> None:
        self._deployed, self._history, self._console = deployed, history, console
        self._before, self._ends, self._said = _size(history), time.monotonic() + patience, ""

    def heard(self, status: str) -> None:
        """Take in what Flower says of the run, see ``sims.deploy.flower.Run.status``."""
        if time.monotonic() < self._ends or _size(self._history) > self._before:
            return
        try:
            nodes = flower.nodes(self._deployed.env)
        except RunError:
            return  # who waits for the run finds out whether the SuperLink stays away
        lacks = what_lacks(status, missing(fleet(self._deployed.names, self._deployed.ids, nodes)))
        if lacks and lacks != self._said:
            self._console.print(Text(f"waiting: {lacks}"), soft_wrap=True)
        self._said = lacks


def what_lacks(status: str, absent: str) -> str:
    """Say why a run doesn't begin; empty where nothing is known to be missing.

    Args:
        status: The run's, see ``sims.deploy.flower.Run.status``.
        absent: Which nodes aren't online; empty where all are.

    >>> what_lacks("pending", "1 of 2 nodes is online; missing pi3 (offline)")
    '1 of 2 nodes is online; missing pi3 (offline); run pending: no SuperExec asks for work, is start-superexec.sh up?'
    """
    idle = "run pending: no SuperExec asks for work, is start-superexec.sh up?" if status == "pending" else ""
    return "; ".join(filter(None, [absent, idle]))


def _size(path: Path) -> int:
    """Bytes of a file; 0 where it isn't there or can't be seen."""
    try:
        return os.path.getsize(path)
    except OSError:
        return 0
