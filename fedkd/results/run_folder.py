"""A run's folder, read back: summary, rounds, partition and configuration."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from fedkd.base.errors import InputError
from fedkd.results.device_file import DeviceFile

REQUIRED = ("round", "rounds", "phase", "shared_accuracy", "up_bytes", "down_bytes")


@dataclass(frozen=True)
class Partition:
    """Who holds what.

    Args:
        classes: names of the classes.
        counts: examples of class c at client i, as ``counts[i][c]``.
    """

    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class RunFolder:
    """One run as it lies on the disk.

    Args:
        path: the folder.
        summary: what the run wrote at its end; None for a run that was interrupted.
        history: one entry a finished round, in order.
        partition: who held what, where the run wrote it.
        config: the resolved configuration, verbatim.
    """

    path: Path
    summary: dict[str, Any] | None
    history: tuple[dict[str, Any], ...]
    partition: Partition | None
    config: str

    @property
    def name(self) -> str:
        """The run's name: the summary's, or the folder's."""
        return str((self.summary or {}).get("name") or self.path.resolve().name)

    @property
    def shared_name(self) -> str:
        """What the shared model is called: a student has teachers, a method without them shares just a model."""
        taught = any(row.get("teacher_mean") is not None for row in self.history)
        return "Student (shared)" if taught else "Shared model"

    @property
    def clients(self) -> int:
        """Clients of the federation: the summary's, the partition's, or all that ever took part."""
        if self.summary and self.summary.get("clients"):
            return int(self.summary["clients"])
        if self.partition:
            return len(self.partition.counts)
        seen = {client for row in self.history for client in row.get("participants") or ()}
        return max(1, len(seen))

    @property
    def accuracy(self) -> dict[str, Any]:
        """The summary's accuracies; those measured last, in the summary's words, for a run without one."""
        if (self.summary or {}).get("accuracy"):
            return dict((self.summary or {})["accuracy"])
        last: dict[str, Any] = {}
        for row in self.history:
            measured = {"shared": row["shared_accuracy"]} | {
                key: row.get(key) for key in ("teacher_mean", "teacher_std")
            }
            last.update({key: value for key, value in measured.items() if value is not None})
        return last

    @property
    def traffic(self) -> dict[str, Any]:
        """The summary's traffic, or what the rounds so far add up to."""
        if self.summary is not None or not self.history:
            return (self.summary or {}).get("traffic") or {}
        ways = ("up", "down")
        return {
            f"{way}_bytes_per_client": sum(row[f"{way}_bytes"] for row in self.history) / self.clients for way in ways
        }

    def bytes_per_client(self) -> list[float]:
        """Bytes a client has sent and received up to the end of each round, the mean over all clients."""
        totals = accumulate(row["up_bytes"] + row["down_bytes"] for row in self.history)
        return [total / self.clients for total in totals]

    def ranked_tensors(self) -> dict[str, int]:
        """Full rank of every tensor that could be sent as factors, in the model's order; vectors never are."""
        ranks = {name: rank[2] for row in reversed(self.history) for name, rank in (row.get("ranks") or {}).items()}
        return {name: int(full) for name, full in ranks.items() if full and full > 1}

    @property
    def files(self) -> tuple[DeviceFile, ...]:
        """The device files, those that couldn't be made included."""
        return files_of(self.summary or {}, str(self.path / "summary.json"))

    def converted_files(self) -> list[DeviceFile]:
        """The device files whose conversion worked."""
        return [file for file in self.files if file.error is None]


def files_of(summary: Mapping[str, Any], where: str = "summary.json") -> tuple[DeviceFile, ...]:
    """The device files of a summary.

    Raises:
        InputError: A row is none.
    """
    rows = enumerate(summary.get("edge") or [])
    return tuple(DeviceFile.from_json(row, f"{where}: edge[{index}]") for index, row in rows)


def read(run: Path) -> RunFolder:
    """Load a run's folder; a run that was interrupted loads without its summary.

    Args:
        run: the folder, ``runs/NAME``.

    Returns:
        Everything the report is made from.

    Raises:
        InputError: no such folder, no history in it, or a file in it that does not parse.
    """
    if not run.is_dir():
        raise InputError(f"a run is a folder, got {run}, which is not one")
    history = run / "history.jsonl"
    if not history.is_file():
        raise InputError(f"a run's folder holds history.jsonl, {run} has none")
    # A run continued from a checkpoint may repeat rounds that it had written already: the later line counts.
    rounds = {row["round"]: row for row in _rows(history)}
    config = run / "config.toml"
    return RunFolder(
        path=run,
        summary=_object(run / "summary.json"),
        history=tuple(rounds[key] for key in sorted(rounds)),
        partition=_partition(run / "partition.json"),
        config=_text(config) if config.is_file() else "",
    )


def _text(path: Path) -> str:
    """The file's text; bytes that are not UTF-8 (cut mid-letter, say) are shown as replaced, not raised."""
    return path.read_text(encoding="utf-8", errors="replace")


def _rows(history: Path) -> Iterator[dict[str, Any]]:
    """Each round's entry; a last line that was cut off is left out."""
    lines = [(number, line) for number, line in enumerate(_text(history).split("\n"), 1) if line.strip()]
    for number, line in lines:
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            if number == lines[-1][0]:
                return  # the run was stopped while writing it
            raise InputError(f"{history}, line {number}: a line is one JSON object, got {line[:40]!r}") from error
        yield _checked(row, f"{history}, line {number}")


def _checked(row: Any, where: str) -> dict[str, Any]:
    """The entry, if it is an object with every figure the report counts on."""
    if not isinstance(row, dict):
        raise InputError(f"{where}: a line is one JSON object, got {str(row)[:40]!r}")
    missing = [key for key in REQUIRED if key not in row]
    if missing:
        raise InputError(f"{where}: a round has the key {missing[0]!r}, this one has none")
    for key in ("round", "rounds", "up_bytes", "down_bytes"):
        if not isinstance(row[key], int | float):
            raise InputError(f"{where}: {key} must be a number, got {row[key]!r}")
    return row


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


def _partition(path: Path) -> Partition | None:
    """The partition, checked to have one count for each class at each client."""
    value = _object(path)
    if value is None:
        return None
    try:
        classes = tuple(str(name) for name in value["classes"])
        counts = tuple(tuple(int(count) for count in client) for client in value["counts"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: must hold classes and counts, a row of numbers a client") from error
    for client, row in enumerate(counts):
        if len(row) != len(classes):
            raise InputError(f"{path}: client {client} must have {len(classes)} counts, a class each, got {len(row)}")
    return Partition(classes, counts)
