"""A run's folder belongs to one process at a time."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedkd.base.errors import InputError


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold a run's folder for this process.

    Raises:
        InputError: Another one does.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{path}: another process runs this; wait for it, or end it") from None
        yield
    finally:
        os.close(handle)


def remove(path: Path) -> None:
    """Remove the folder of a run where there is one.

    Raises:
        InputError: Another process runs it.
    """
    if path.exists():
        with alone(path):
            shutil.rmtree(path)
