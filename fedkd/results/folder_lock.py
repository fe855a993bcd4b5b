"""A run's folder belongs to one process at a time."""

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fedkd.base.errors import InputError
from fedkd.base.files import check_free, missing, remove_empty, take_folder


@contextmanager
def alone(path: Path, seconds: float = 0.0) -> Iterator[None]:
    """Hold a run's folder for this process.

    Args:
        path: The folder.
        seconds: How long to wait for another process that is about to end.

    Raises:
        InputError: Another one holds it.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        ends = time.monotonic() + seconds
        while not _locked(handle):
            if time.monotonic() >= ends:
                raise InputError(f"{path}: another process runs this; wait for it, or end it")
            time.sleep(0.2)
        yield
    finally:
        os.close(handle)


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def remove(path: Path) -> None:
    """Remove the folder of a run where there is one.

    Raises:
        InputError: Another process runs it.
    """
    if path.exists():
        with alone(path):
            shutil.rmtree(path)


@contextmanager
def reserved(
    path: Path, overwrite: bool, kind: str, is_one: Callable[[Path], bool], other_way: str = ""
) -> Iterator[None]:
    """Take a folder at once, and hold it while what will be in it is prepared.

    From the first instant on nobody else can take it. It is empty, or, with ``overwrite``, what is to be replaced,
    which stays as it is: whoever replaces it does so at the end. Where preparing fails, a folder that was made goes.

    Args:
        path: The folder.
        overwrite: Whether one of its kind may be replaced.
        kind: See ``fedkd.base.files.check_free``, as of what follows.
        is_one: Tells a folder of its kind.
        other_way: What else could be done with one that exists.

    Raises:
        InputError: See ``fedkd.base.files.take_folder``; or another process holds it.
    """
    check_free(path, overwrite, kind, is_one, other_way)
    made = missing(path)
    if made or not overwrite:
        take_folder(path, False, kind, is_one, remove, other_way)
    with alone(path):
        try:
            yield
        except BaseException:
            remove_empty(made)
            raise
