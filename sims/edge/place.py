"""Where a search writes, and whether it may; to be known before TensorFlow starts."""

from pathlib import Path

from fedkd.base.errors import InputError
from fedkd.base.files import check_free
from fedkd.results.search import RESULT

# Of a search that isn't whole: what it began with, and its device files.
INPUTS, FILES = "inputs.json", "files"


def is_search(path: Path) -> bool:
    """Tell a folder that a search has written."""
    return (path / RESULT).is_file()


def unfinished(out: Path) -> Path:
    """Where a search that is to become ``out`` is while it isn't whole."""
    named = out if out.name else out.absolute()
    return named.parent / f"{named.name}.unfinished"


def check_place(out: Path, overwrite: bool, resume: bool) -> None:
    """Say why a search can't be written, or gone on with, before anything is done.

    Raises:
        InputError: ``out`` exists and ``overwrite`` is off, or holds something else; or there is a search that was cut
            off and ``resume`` is off, or none and it is on.
    """
    work = unfinished(out)
    begun = (work / INPUTS).is_file() and (work / FILES).is_dir()
    if resume and not begun:
        finished = "this search has finished" if is_search(out) else f"no search was cut off, {work} isn't there"
        raise InputError(f"--resume: {out}: {finished}; without --resume a new one begins")
    if begun and not (resume or overwrite):
        raise InputError(
            f"out: {work} holds a search that was cut off; --resume goes on with it, --overwrite begins again"
        )
    if not (resume and out.is_dir() and not any(out.iterdir())):  # as a search leaves it that was killed
        check_free(out, overwrite, "a search", is_search)
