"""Starting another Python: nothing of the current folder is imported in it, whatever lies there."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PROJECT = Path(__file__).parents[2]
_SAFE = "PYTHONSAFEPATH"


def python(*arguments: str) -> list[str]:
    """Command of this Python: with ``-P`` it doesn't put the current folder before everything else.

    Args:
        arguments: ``-m``, a module and what that takes; or ``-c`` and a program.
    """
    return [sys.executable, "-P", *arguments]


def import_path() -> str:
    """What ``PYTHONPATH`` of another Python is: this process's import path without the current folder.

    A ``sitecustomize.py`` there would run before anything else does. This project stays, at the end, where it is the
    current folder itself.
    """
    here = os.path.realpath(os.getcwd())
    kept = [path for path in sys.path if path and os.path.realpath(path) != here]
    return os.pathsep.join(kept if str(_PROJECT) in kept else [*kept, str(_PROJECT)])


@contextmanager
def safe_path() -> Iterator[None]:
    """While processes are started whose command isn't ours to choose, as those of ``multiprocessing``: ``-P`` for them.

    Without it they import ``multiprocessing``, and what that needs, from the current folder.
    """
    before = os.environ.get(_SAFE)
    os.environ[_SAFE] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_SAFE]
        else:
            os.environ[_SAFE] = before
