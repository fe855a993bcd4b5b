"""The folder of a search: it appears whole, with edge.json in it, and what was cut off waits beside it."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedkd.base.errors import InputError
from fedkd.base.files import replace_file, replace_folder
from fedkd.base.work_folder import clear
from fedkd.results.folder_lock import alone, reserved
from sims.edge.inputs import Inputs, check_same
from sims.edge.kept import Kept
from sims.edge.place import FILES, INPUTS, check_place, is_search, unfinished

_KEPT = "kept"


@contextmanager
def appearing(out: Path, overwrite: bool, resume: bool, inputs: Inputs) -> Iterator[Kept]:
    """Give what a search keeps, and a folder for its files that takes the place of ``out`` if all goes well.

    ``out`` is taken at once, so that no other search or run can write there meanwhile. Where the body fails after
    something was measured, that stays in ``unfinished(out)``; else nothing does.

    Args:
        out: The search's folder.
        overwrite: Replace that of an earlier search, at the end.
        resume: Go on with the search that was cut off.
        inputs: All that decides what it comes to.

    Raises:
        InputError: See ``check_place``; or it can't be written, or it was begun with other inputs.
    """
    check_place(out, overwrite, resume)
    work = unfinished(out)
    if resume:
        check_same(work / INPUTS, inputs)
        if not is_search(out) and out.is_dir():
            out.rmdir()
    with reserved(out, overwrite, "a search", is_search):
        kept = _opened(work, inputs, resume)
        with alone(work):
            try:
                clear(kept.files)  # what a process was making that was killed
                yield kept
                if overwrite and out.exists():
                    shutil.rmtree(out)
                replace_folder(kept.files, out)
            except BaseException:
                if not kept.begun:
                    shutil.rmtree(work)
                raise
            shutil.rmtree(work)


def _opened(work: Path, inputs: Inputs, resume: bool) -> Kept:
    """The folder of a search that isn't whole, a new one unless it is to be gone on with."""
    kept = Kept(work / _KEPT, work / FILES)
    if resume:
        return kept
    try:
        if work.exists():
            with alone(work):
                shutil.rmtree(work)
        for folder in (work, kept.folder, kept.files):
            folder.mkdir()
        replace_file(work / INPUTS, json.dumps(inputs).encode())
    except OSError as error:
        raise InputError(f"out: {work} can't be written ({error.strerror})") from None
    return kept
