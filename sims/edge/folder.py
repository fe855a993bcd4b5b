"""The folder of a search: it appears whole, with edge.json in it, or not at all."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from fedkd.base.errors import InputError
from fedkd.base.files import replace_folder
from fedkd.base.work_folder import work_folder
from fedkd.results.folder_lock import reserved
from fedkd.results.search import RESULT


def is_search(path: Path) -> bool:
    """Tell a folder that a search has written."""
    return (path / RESULT).is_file()


@contextmanager
def appearing(out: Path, overwrite: bool) -> Iterator[Path]:
    """Give a folder that takes the place of ``out`` if all goes well, and is gone if not.

    ``out`` is taken at once, so that no other search or run can write there meanwhile. What searches left there that
    were killed goes first.

    Args:
        out: The search's folder.
        overwrite: Replace that of an earlier search.

    Raises:
        InputError: It exists and ``overwrite`` is off, holds something else, or can't be written.
    """
    with reserved(out, overwrite, "a search", is_search), ExitStack() as stack:
        try:
            work = stack.enter_context(work_folder(out.parent, out.name)) / out.name
        except OSError as error:
            raise InputError(f"out: {out} can't be written ({error.strerror})") from None
        work.mkdir()  # the holder itself is for its owner alone
        yield work
        if overwrite:
            shutil.rmtree(out)
        replace_folder(work, out)
