"""The folder of a search: it appears whole, with edge.json in it, or not at all."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedkd.base.errors import InputError
from fedkd.base.files import replace_folder
from fedkd.results.folder_lock import reserved
from fedkd.results.search import RESULT


def is_search(path: Path) -> bool:
    """Tell a folder that a search has written."""
    return (path / RESULT).is_file()


@contextmanager
def appearing(out: Path, overwrite: bool) -> Iterator[Path]:
    """Give a folder that takes the place of ``out`` if all goes well, and is gone if not.

    ``out`` is taken at once, so that no other search or run can write there meanwhile.

    Args:
        out: The search's folder.
        overwrite: Replace that of an earlier search.

    Raises:
        InputError: It exists and ``overwrite`` is off, holds something else, or can't be written.
    """
    with reserved(out, overwrite, "a search", is_search):
        try:
            holder = tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent)
        except OSError as error:
            raise InputError(f"out: {out} can't be written ({error.strerror})") from None
        with holder:
            work = Path(holder.name) / out.name
            work.mkdir()  # the holder itself is for its owner alone
            yield work
            if overwrite:
                shutil.rmtree(out)
            replace_folder(work, out)
