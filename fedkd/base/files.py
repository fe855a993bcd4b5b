"""Files that are written in one step."""

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from fedkd.base.errors import InputError


def replace_file(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Write a file so that a reader, a crash or a power cut finds the old one or the new one, never half of it.

    Args:
        path: The file.
        data: All of it.
        mode: Who may read and write it, less the process's umask.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """See to it that the names in a folder are on disk; Windows does so by itself."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def check_free(path: Path, overwrite: bool, kind: str, is_one: Callable[[Path], bool], other_way: str = "") -> None:
    """Say why a folder can't be written, before anything is done.

    Args:
        path: The folder.
        overwrite: Whether one of its kind may be replaced.
        kind: What it is the folder of, ``a run``.
        is_one: Tells a folder of its kind.
        other_way: What else could be done with one that exists.

    Raises:
        InputError: It exists and ``overwrite`` is off, or it holds something of another kind.
    """
    if not path.exists():
        return
    if not overwrite:
        raise InputError(f"out: {path} exists; choose another folder, or give --overwrite to replace it{other_way}")
    if not path.is_dir() or (any(path.iterdir()) and not is_one(path)):
        raise InputError(f"out: {path} is not the folder of {kind}, --overwrite would destroy it; choose another")


def take_folder(
    path: Path,
    overwrite: bool,
    kind: str,
    is_one: Callable[[Path], bool],
    remove: Callable[[Path], None],
    other_way: str = "",
) -> None:
    """Make a folder that nobody else makes, in one step; what is there is removed only where that was asked for.

    Args:
        path: The folder, which is empty then.
        overwrite: Whether one of its kind may be removed.
        kind: See ``check_free``, as of what follows.
        is_one: Tells a folder of its kind.
        remove: Removes one where there is one.
        other_way: What else could be done with one that exists.

    Raises:
        InputError: It exists and ``overwrite`` is off, also where it appeared just now, or it holds something of
            another kind, or it can't be made.
    """
    check_free(path, overwrite, kind, is_one, other_way)
    try:
        if overwrite:
            remove(path)
        path.mkdir(parents=True)
    except FileExistsError:
        check_free(path, False, kind, is_one, other_way)
        raise InputError(f"out: {path} can't be made, something on its way is no folder") from None
    except OSError as error:
        raise InputError(f"out: {path} can't be written ({error.strerror})") from None


def replace_folder(work: Path, final: Path) -> None:
    """Give a folder its final name in one step, where there is none of that name or an empty one.

    Raises:
        InputError: Something has been put there meanwhile; it is left as it is.
    """
    try:
        os.replace(work, final)
    except OSError as error:
        raise InputError(f"out: {final} can't be written ({error.strerror})") from None


def missing(path: Path) -> list[Path]:
    """A path and the folders on its way that don't exist, the innermost first."""
    return [folder for folder in (path, *path.parents) if not folder.exists()]


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove folders as far as they are empty, in the order given; others stay."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()
