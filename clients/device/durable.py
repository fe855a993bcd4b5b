"""Files that are there after the power went: every step is on the disk before the next one counts on it."""

import os
from pathlib import Path


def write(path: Path, data: bytes) -> None:
    """Write a file that nobody reads yet, and wait until it is on the disk."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(handle, left) :]
        os.fsync(handle)
    finally:
        os.close(handle)


def replace(path: Path, data: bytes) -> None:
    """Write a file so that a reader, a crash or a power cut finds the old one or the new one, never half of it."""
    new = path.with_name(f"{path.name}.new")
    write(new, data)
    os.replace(new, path)
    sync(path.parent)


def rename(source: Path, target: Path) -> None:
    """Move a folder whose content is on the disk, and wait until the move is, too."""
    sync(source)
    os.rename(source, target)
    sync(target.parent)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
