"""A file that a command writes: its name is taken at once, and it appears whole or not at all."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fedkd.base.errors import InputError
from fedkd.base.files import missing, remove_empty
from fedkd.base.work_folder import work_folder


@contextmanager
def reserved_file(file: Path, ending: str, overwrite: bool) -> Iterator[None]:
    """Take a file's name at once, by an empty file that goes again where the body fails.

    Args:
        file: To be written.
        ending: That its name must have.
        overwrite: Whether one that exists may be replaced.

    Raises:
        InputError: It exists, or it has another ending, or it can't be written.
    """
    _check_free(file, ending, overwrite)
    made, is_new = missing(file.parent), not file.exists()
    file.parent.mkdir(parents=True, exist_ok=True)
    if is_new:
        try:
            file.open("x").close()
        except FileExistsError:
            _check_free(file, ending, False)
    try:
        yield
    except BaseException:
        if is_new and file.exists() and not file.stat().st_size:
            file.unlink()
        remove_empty(made)
        raise


def _check_free(file: Path, ending: str, overwrite: bool) -> None:
    if not file.name.endswith(ending):
        raise InputError(f"--out must end with {ending}, got {file}")
    if file.exists() and not (overwrite and file.is_file()):
        raise InputError(f"--out: {file} exists; choose another file, or give --overwrite to replace it")
    nearest = next(folder for folder in file.absolute().parents if folder.exists())
    if not (nearest.is_dir() and os.access(nearest, os.W_OK)):
        raise InputError(f"--out: {file} can't be written, {nearest} is no folder that you may write to")


def write_whole(file: Path, write: Callable[[Path], object]) -> None:
    """Replace a file in one step: a reader, or a crash, sees the old one or the new one.

    Args:
        file: To be replaced.
        write: Writes a file of the same name that it is given the path of.
    """
    with work_folder(file.parent, file.name) as folder:
        whole = folder / file.name
        write(whole)
        os.replace(whole, file)
