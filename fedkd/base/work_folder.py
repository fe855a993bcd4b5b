"""Hidden folders in which something is made beside its place; those of processes that were killed don't stay."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# In their names, before the eight letters that tempfile adds.
MARK = ".fedkd-work-"


@contextmanager
def work_folder(parent: Path, name: str) -> Iterator[Path]:
    """Give a hidden folder that is gone afterwards; those beside it whose process is gone are removed first.

    Args:
        parent: Where it is made, so that what is made in it can be moved to its place in one step.
        name: Of what is made.

    Raises:
        OSError: It can't be made.
    """
    clear(parent)
    folder, handle = _held(parent, name)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def clear(parent: Path) -> None:
    """Remove hidden folders whose process is gone: a process holds its own for as long as it lives."""
    for left in parent.glob(f".*{MARK}????????"):
        with suppress(OSError):
            handle = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left)
            finally:
                os.close(handle)


def _held(parent: Path, name: str) -> tuple[Path, int]:
    """A new folder, and the handle that holds it; another process may clear it before it is held."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f".{name}{MARK}", dir=parent))
        with suppress(FileNotFoundError):
            handle = os.open(folder, os.O_RDONLY)
            fcntl.flock(handle, fcntl.LOCK_EX)
            if folder.exists():
                return folder, handle
            os.close(handle)
