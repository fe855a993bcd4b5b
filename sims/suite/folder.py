"""The folder of a suite, and which of its cells are finished."""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fedkd.base.errors import InputError
from fedkd.base.files import replace_file
from fedkd.config.settings import build, read_toml
from fedkd.results.run_folder import RunFolder
from fedkd.results.summary import Summary
from sims.bench.machine import describe
from sims.suite.plan import Job

_MARK = "# Written by fedkd: the suite whose cells are in this folder.\n"
_COPY, _LOCK, _ORIGIN = "suite.toml", ".lock", "origin.json"


@contextmanager
def claimed(out: Path, file: Path) -> Iterator[None]:
    """Make or take a suite's folder, and keep other suites out of it while the body runs.

    Raises:
        InputError: It holds something else, can't be written, or another suite is at work in it.
    """
    if out.exists() and not _is_ours(out):
        raise InputError(f"out: {out} is not the folder of a suite; choose another")
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = (out / _LOCK).open("w")
    except OSError as error:
        raise InputError(f"out: {out} can't be written ({error.strerror})") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the system lets go of it however this process ends
        except BlockingIOError:
            raise InputError(f"out: another suite is at work in {out}; choose another, or wait for it") from None
        replace_file(out / _COPY, _MARK.encode() + file.read_bytes())
        yield


def _is_ours(out: Path) -> bool:
    copy = out / _COPY
    if copy.is_file():
        return copy.read_text(encoding="utf-8", errors="replace").startswith(_MARK)
    # A suite that was killed as it began leaves its lock and perhaps a copy that isn't whole.
    return out.is_dir() and all(path.name.startswith((_LOCK, f".{_COPY}")) for path in out.iterdir())


def summary_of(job: Job) -> Summary | None:
    """The summary of a cell that ran to its end with exactly the job's settings; None for any other.

    Settings that trials have still to decide are nobody's.
    """
    if job.cell.trials:
        return None
    try:
        written = build(read_toml(job.folder / "config.toml"))
        summary = RunFolder(job.folder).summary
        # A run writes its summary first without its device files, then with them; who made it comes last.
        whole = summary and len(summary.files) == job.config.device_files and (job.folder / _ORIGIN).exists()
    except (InputError, OSError):
        return None
    return summary if written == job.config and whole else None


def write_origin(folder: Path) -> None:
    """Record the machine, versions and commit that a cell was run with, once it is finished."""
    (folder / _ORIGIN).write_text(json.dumps(describe()) + "\n", encoding="utf-8")


def origin_of(job: Job) -> dict[str, Any]:
    """What ``write_origin`` recorded, empty where it was cut off."""
    try:
        return dict(json.loads((job.folder / _ORIGIN).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}
