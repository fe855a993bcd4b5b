"""The folder of a search: it appears whole, with edge.json in it, or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from fedkd.base.errors import InputError
from fedkd.base.work_folder import work_folder
from fedkd.results.search import RESULT


def is_search(path: Path) -> bool:
    """Tell a folder that a search has written."""
    return (path / RESULT).is_file()


@contextmanager
def appearing(out: Path) -> Iterator[Path]:
    """Give a folder that takes the place of ``out`` if all goes well, and is gone if not.

    What searches left there that were killed goes first.

    Raises:
        InputError: The folder's place can't be written.
    """
    holder = work_folder(out.parent, out.name)
    with ExitStack() as stack:
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            work = stack.enter_context(holder) / out.name
        except OSError as error:
            raise InputError(f"out: {out} can't be written ({error.strerror})") from None
        work.mkdir()  # the holder itself is for its owner alone
        yield work
        shutil.rmtree(out, ignore_errors=True)
        os.replace(work, out)
