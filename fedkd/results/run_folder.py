"""The folder of a run: its configuration, its task, a line a round, and its summary."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fedkd.base.errors import InputError, RunError
from fedkd.base.files import replace_file, take_folder
from fedkd.config.config import Config
from fedkd.config.settings import build, read_toml, to_toml
from fedkd.results.confusion import Confusion
from fedkd.results.folder_lock import remove
from fedkd.results.partition import Partition
from fedkd.results.round import Round
from fedkd.results.run_record import RunRecord
from fedkd.results.summary import Summary
from fedkd.results.task_record import TaskRecord, short_task

# Folder of a run's folder that holds what it needs to go on; when the run has finished it goes, or becomes the other.
CHECKPOINT = "checkpoint"
FINAL_CHECKPOINT = "final_checkpoint"

_MARK = "# Written by fedkd: `fedkd run` with this file repeats the run.\n"


class RunFolder:
    """Writes and reads the files of a run; what is read is what lies there now.

    Args:
        path: An empty folder, see ``create``, or that of a run.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path, config: Config, overwrite: bool) -> "RunFolder":
        """Make the folder and write the configuration into it.

        Raises:
            InputError: The folder exists and ``overwrite`` is off, or it is no run's folder, or it can't be made.
        """
        take_folder(path, overwrite, "a run", is_run, remove, f", or `fedkd run --resume {path}` where it stopped")
        folder = cls(path)
        folder.write_config(config)
        return folder

    def write_config(self, config: Config, note: str = "") -> None:
        """Write the configuration in one step; notes of earlier times stay above it.

        Args:
            config: The run's, from now on.
            note: What a reader of the file should know, in a line.
        """
        path = self.path / "config.toml"
        lines = _text(path).splitlines() if path.is_file() else []
        notes = [line for line in lines[1:] if line.startswith("# ")] + ([f"# {note}"] if note else [])
        replace_file(path, (_MARK + "".join(f"{line}\n" for line in notes) + to_toml(config)).encode())

    def keep(self, rounds: int) -> None:
        """Cut the history to the rounds that won't be run again."""
        if self._history.exists():
            replace_file(self._history, b"".join(self._history.read_bytes().splitlines(keepends=True)[:rounds]))

    def append(self, ended: Round) -> None:
        """Add a line to the history, on disk when this returns: an interrupted run leaves what it reached.

        Raises:
            RunError: The disk is full, or the file can't be written.
        """
        try:
            with self._history.open("a", encoding="utf-8") as file:
                file.write(json.dumps(ended.to_json()) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise RunError(
                f"{self._history} can't be written ({error.strerror}); the rounds before are intact"
            ) from None

    def write_task(self, task: TaskRecord) -> None:
        """Write what the task is, in one step."""
        replace_file(self.path / "task.json", (json.dumps(task.to_json(), indent=2) + "\n").encode())

    def write_partition(self, partition: Partition) -> None:
        """Write who holds what, in one step."""
        replace_file(self.path / "partition.json", (json.dumps(partition.to_json()) + "\n").encode())

    def write_confusion(self, confusion: Confusion) -> None:
        """Write which classes are taken for which, in one step."""
        replace_file(self.path / "confusion.json", (json.dumps(confusion.to_json()) + "\n").encode())

    def write_summary(self, summary: Summary) -> None:
        """Write the summary in one step."""
        replace_file(self.path / "summary.json", (json.dumps(summary.to_json(), indent=2) + "\n").encode())

    @property
    def states(self) -> Path:
        """The folder of the server's states: of a run that stopped, or those a finished one can be prolonged from."""
        final = self.path / FINAL_CHECKPOINT
        return final if final.is_dir() and not (self.path / CHECKPOINT).is_dir() else self.path / CHECKPOINT

    def finish(self) -> None:
        """Put the server's states aside where the run can be prolonged, else remove them."""
        checkpoint, final = self.path / CHECKPOINT, self.path / FINAL_CHECKPOINT
        if build(read_toml(self.path / "config.toml")).prolongable:
            shutil.rmtree(final, ignore_errors=True)
            checkpoint.rename(final)
        else:
            shutil.rmtree(checkpoint)

    def reopen(self) -> None:
        """Have a run go on: a finished one's states take their place again, and what it came to is no longer true."""
        if self.states.name == FINAL_CHECKPOINT:
            self.states.rename(self.path / CHECKPOINT)
        for name in ("summary.json", "confusion.json"):
            (self.path / name).unlink(missing_ok=True)

    @property
    def history(self) -> tuple[Round, ...]:
        """The rounds that have ended, in order; a run that went on may repeat some, of which the later line counts.

        Raises:
            InputError: There is no history, or a line of it before the last is no round's.
        """
        if not self._history.is_file():
            raise InputError(f"a run's folder holds history.jsonl, {self.path} has none")
        rounds = {row.number: row for row in _rounds(self._history)}
        return tuple(rounds[number] for number in sorted(rounds))

    @property
    def summary(self) -> Summary | None:
        """The summary, None where the run hasn't finished.

        Raises:
            InputError: It doesn't parse.
        """
        path = self.path / "summary.json"
        return None if (held := _object(path)) is None else Summary.from_json(held, str(path))

    @property
    def partition(self) -> Partition | None:
        """Who holds what, None where it isn't known.

        Raises:
            InputError: The file doesn't parse, or doesn't have one count for each class at each client.
        """
        path = self.path / "partition.json"
        return None if (held := _object(path)) is None else Partition.from_json(held, str(path))

    @property
    def task(self) -> TaskRecord | None:
        """What the task is, None of an older run.

        Raises:
            InputError: The file doesn't parse.
        """
        path = self.path / "task.json"
        return None if (held := _object(path)) is None else TaskRecord.from_json(held, str(path))

    @property
    def confusion(self) -> Confusion | None:
        """Which classes the model that ships takes for which, None where it isn't known.

        Raises:
            InputError: The file doesn't parse.
        """
        path = self.path / "confusion.json"
        return None if (held := _object(path)) is None else Confusion.from_json(held, str(path))

    @property
    def config(self) -> str:
        """The configuration, verbatim; empty where there is none."""
        path = self.path / "config.toml"
        return _text(path) if path.is_file() else ""

    @property
    def _history(self) -> Path:
        return self.path / "history.jsonl"


def read(path: Path) -> RunRecord:
    """Load a run's folder; a run that was interrupted loads without its summary.

    Args:
        path: The folder, ``runs/NAME``.

    Raises:
        InputError: No such folder, no history in it, or a file in it that doesn't parse.
    """
    if not path.is_dir():
        raise InputError(f"a run is a folder, got {path}, which is not one")
    held = RunFolder(path)
    history = held.history
    return RunRecord(path, held.summary, history, held.partition, held.config, held.task, held.confusion)


def is_run(path: Path) -> bool:
    """Tell a folder that a run has written."""
    config = path / "config.toml"
    return config.is_file() and _text(config).startswith(_MARK)


def run_path(out: object, config: Config) -> Path:
    """Folder of a run: ``out``, or ``runs/TASK-METHOD-SEED`` where that is empty."""
    task = short_task(config.task if config.task.startswith("csv:") else config.task.partition("#")[0])
    return Path(str(out or Path("runs") / f"{task}-{config.method}-{config.seed}"))


def _text(path: Path) -> str:
    """The file's text; bytes that are not UTF-8 (cut mid-letter, say) are shown as replaced, not raised."""
    return path.read_text(encoding="utf-8", errors="replace")


def _rounds(history: Path) -> Iterator[Round]:
    """Each line's round; a last line that was cut off is left out."""
    lines = [(number, line) for number, line in enumerate(_text(history).split("\n"), 1) if line.strip()]
    for number, line in lines:
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            if number == lines[-1][0]:
                return  # the run was stopped while writing it
            raise InputError(f"{history}, line {number}: a line is one JSON object, got {line[:40]!r}") from error
        yield Round.from_json(row, f"{history}, line {number}")


def _object(path: Path) -> dict[str, Any] | None:
    """A JSON object from a file, None where the file is missing."""
    if not path.is_file():
        return None
    try:
        value = json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise InputError(f"{path}, line {error.lineno}: not JSON, {error.msg}") from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: must be one JSON object, got {str(value)[:40]!r}")
    return value
