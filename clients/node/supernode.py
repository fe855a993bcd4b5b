"""The command ``fedkd-supernode``: Flower's SuperNode, which asks for work sooner after some and starts it sooner.

Flower's asks every three seconds, which is most of a round of a small model. This one waits a tenth of the time since
its last work began, so that it doesn't make a round much longer, and three seconds at most, as Flower does.
"""

import os
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flwr.supercore.utils import get_flwr_home
from flwr.supernode import start_client_internal
from flwr.supernode.cli import flower_supernode

from fedkd.base.python import python

IDLE = 3.0  # seconds that Flower waits where there was no work; less is while there is some
_MODULES = {"flwr-clientapp": "clients.node.clientapp"}
if sys.platform == "linux":  # elsewhere a fork isn't safe
    _MODULES["flower-superexec"] = "clients.node.superexec"
_SHORTEST = 0.2
_SHARE = 0.1


def main() -> None:
    """Entry point; takes what ``flower-supernode`` takes."""
    start_client_internal.time = Clock()  # type: ignore[assignment]  # the module, of which it uses no more
    os.environ["PATH"] = instead_of_flowers(get_flwr_home() / "fedkd")
    flower_supernode()


def instead_of_flowers(folder: Path) -> str:
    """Write commands of Flower's names that run modules of ours; returns the PATH by which they are found first.

    Where the folder's file system runs nothing, Flower's own are found all the same.

    Args:
        folder: Made where it isn't there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, module in _MODULES.items():
        command = folder / name
        command.write_text(f'#!/bin/sh\nexec {shlex.join(python("-m", module))} "$@"\n')
        command.chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ.get('PATH', os.defpath)}"


class Clock:
    """What Flower's loop waits by, in place of the module ``time``.

    Args:
        now: Seconds of a clock that only goes forward.
        sleep: Waits for so many seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep) -> None:
        self._now, self._sleep = now, sleep
        self._began, self._working = -IDLE / _SHARE, False

    def sleep(self, seconds: float) -> None:
        """Wait for as long as Flower says while there is work, and else for less, soon after it."""
        working = seconds < IDLE
        if working and not self._working:
            self._began = self._now()
        self._working = working
        self._sleep(min(seconds, max(_SHORTEST, _SHARE * (self._now() - self._began))))

    def __getattr__(self, name: str) -> Any:
        """What else the module has."""
        return getattr(time, name)
