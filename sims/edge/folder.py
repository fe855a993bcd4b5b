"""The folder of a search: it appears whole, with edge.json in it, or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedkd.base.errors import InputError
from fedkd.results.search import RESULT


def is_search(path: Path) -> bool:
    """Tell a folder that a search has written."""
    return (path / RESULT).is_file()


@contextmanager
def appearing(out: Path) -> Iterator[Path]:
    """Give a folder that takes the place of ``out`` if all goes well, and is gone if not."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        holder = tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent)
    except OSError as error:
        raise InputError(f"out: {out} can't be written ({error.strerror})") from None
    with holder:
        work = Path(holder.name) / out.name
        work.mkdir()  # the holder itself is for its owner alone
        yield work
        shutil.rmtree(out, ignore_errors=True)
        os.replace(work, out)
