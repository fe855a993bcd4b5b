"""The folder of a search: it appears whole, with edge.json in it, or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedkd.errors import InputError

RESULT = "edge.json"


def check_free(out: Path, overwrite: bool) -> None:
    """Say why a search can't write into a folder, before anything is done.

    Raises:
        InputError: It exists and ``overwrite`` is off, or it holds something that isn't a search.
    """
    if not out.exists():
        return
    if not overwrite:
        raise InputError(f"out: {out} exists; choose another folder, or give --overwrite to replace it")
    if not out.is_dir() or (any(out.iterdir()) and not (out / RESULT).is_file()):
        raise InputError(f"out: {out} is not the folder of a search, --overwrite would destroy it; choose another")


@contextmanager
def appearing(out: Path) -> Iterator[Path]:
    """Give a folder that takes the place of ``out`` if all goes well, and is gone if not."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as error:
        raise InputError(f"out: {out} can't be written ({error.strerror})") from None
    try:
        yield work
        shutil.rmtree(out, ignore_errors=True)
        work.chmod(0o777 & ~_umask())  # mkdtemp's are for their owner alone
        os.replace(work, out)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
