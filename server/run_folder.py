"""The folder a run writes: its configuration, a line a round, its models and its summary."""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fedkd.base.errors import InputError, RunError, require
from fedkd.base.files import check_free, replace_file
from fedkd.config.config import Config, Scalar
from fedkd.config.settings import build, read_toml, to_settings, to_toml

# Folder of a run's folder that holds what it needs to go on; it goes when the run has finished.
CHECKPOINT = "checkpoint"

_MARK = "# Written by fedkd: `fedkd run` with this file repeats the run.\n"


class RunFolder:
    """Writes ``config.toml``, ``history.jsonl`` and ``summary.json``.

    Args:
        path: An empty folder, see ``create``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path, config: Config, overwrite: bool) -> "RunFolder":
        """Make the folder and write the configuration into it.

        Raises:
            InputError: The folder exists and ``overwrite`` is off, or it is no run's folder, or it can't be made.
        """
        check_free(path, overwrite, "a run", is_run)
        try:
            remove(path)
            path.mkdir(parents=True)
        except OSError as error:
            raise InputError(f"out: {path} can't be written ({error.strerror})") from None
        replace_file(path / "config.toml", (_MARK + to_toml(config)).encode())
        return cls(path)

    def keep(self, rounds: int) -> None:
        """Cut the history to the rounds that won't be run again."""
        history = self.path / "history.jsonl"
        if history.exists():
            replace_file(history, b"".join(history.read_bytes().splitlines(keepends=True)[:rounds]))

    def append(self, record: dict[str, Any]) -> None:
        """Add a line to the history, on disk when this returns: an interrupted run leaves what it reached.

        Raises:
            RunError: The disk is full, or the file can't be written.
        """
        history = self.path / "history.jsonl"
        try:
            with history.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise RunError(f"{history} can't be written ({error.strerror}); the rounds before are intact") from None

    def history(self) -> list[dict[str, Any]]:
        """The records of all rounds."""
        return [json.loads(line) for line in (self.path / "history.jsonl").read_text(encoding="utf-8").splitlines()]

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Write the summary in one step."""
        replace_file(self.path / "summary.json", (json.dumps(summary, indent=2) + "\n").encode())

    def finish(self) -> None:
        """Remove what the run would need to go on."""
        shutil.rmtree(self.path / CHECKPOINT)


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold a run's folder for this process.

    Raises:
        InputError: Another one does.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{path}: another process runs this; wait for it, or end it") from None
        yield
    finally:
        os.close(handle)


def remove(path: Path) -> None:
    """Remove the folder of a run where there is one.

    Raises:
        InputError: Another process runs it.
    """
    if path.exists():
        with alone(path):
            shutil.rmtree(path)


def run_path(out: object, config: Config) -> Path:
    """Folder of a run: ``out``, or ``runs/TASK-METHOD-SEED`` where that is empty."""
    task = Path(config.task.partition("#")[0].rpartition(":")[2]).stem
    return Path(str(out or Path("runs") / f"{task}-{config.method}-{config.seed}"))


def resumable(path: Path) -> dict[str, Scalar]:
    """The settings of a run that can go on in its folder.

    Raises:
        InputError: There is no run, or it has finished.
    """
    if not is_run(path):
        raise InputError(f"{path}: no run that could go on; a run's folder holds the config.toml that fedkd wrote")
    written = path / "config.toml"
    if (path / "summary.json").exists() and not any(path.glob(f"{CHECKPOINT}/*")):
        raise InputError(f"{path}: this run has finished; `fedkd run {written}` repeats it in a new folder")
    return to_settings(build(read_toml(written)))


def check_resumable(path: Path, config: Config) -> None:
    """Say why a run can't go on in its folder.

    Raises:
        InputError: There is no run, it has finished, or it had other settings.
    """
    before = resumable(path)
    for key, value in to_settings(config).items():
        require(value == before[key], key, value, f"{before[key]!r}, as in {path / 'config.toml'}, for a run to go on")


def is_run(path: Path) -> bool:
    """Tell a folder that a run has written."""
    config = path / "config.toml"
    return config.is_file() and config.read_text(encoding="utf-8", errors="replace").startswith(_MARK)
