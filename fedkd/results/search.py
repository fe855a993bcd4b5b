"""What a search for a device's file has found, as ``edge.json`` holds it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

from fedkd.base.errors import InputError
from fedkd.base.files import replace_file
from fedkd.objectives.metric import ACCURACY, Scale, read_scale
from fedkd.results import shape
from fedkd.results.device_file import DeviceFile, in_todays_words
from fedkd.results.search_shape import search_shape

RESULT = "edge.json"
USABLE = "usable"  # the verdict of a file that meets every line; others begin with "failed"


class Check(NamedTuple):
    """One line of a budget held against a file.

    Args:
        line: ``flash``, ``arena``, ``macs`` or ``drop``.
        limit: What the budget allows.
        value: What the file has, None where it can't run in the runtime or be counted.
        runtime: Where it was measured.
        ok: Whether the file keeps to the line.
    """

    line: str
    limit: float
    value: float | None
    runtime: str
    ok: bool


@dataclass(frozen=True)
class Candidate(DeviceFile):
    """A device file and how it stands.

    Args:
        recipe: How its model was made, and its precision.
        codebook_bytes: What its clusters would take as codebooks and indices; None where it has none.
        arena: Bytes of its tensor arena by ``total``, ``head`` and ``tail``; None where it ran in no runtime of one.
        uncounted: Layers whose multiplications aren't in ``macs``.
        skipped: Layers whose rounding the model didn't see in training that sees int8, and why.
        latency_ms: ``median`` and ``p95`` of an inference, and its ``runtime``; None where it wasn't measured.
        ops: Its operations: ``name``, ``count``, and by the names of runtimes whether they have it.
        layers: Rows of the layer table, see ``fedkd.edge.snr``.
        errors: One line, by runtime, that says why it couldn't be run there.
        emulated: What an emulated ``machine`` made of it: ``quality``, ``agreement``, ``difference`` and ``steps``.
        checks: The lines of the budget held against it.
        verdict: ``usable``, or why it isn't.
    """

    recipe: str = ""
    codebook_bytes: int | None = None
    arena: Mapping[str, int] | None = None
    uncounted: Sequence[str] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)
    latency_ms: Mapping[str, Any] | None = None
    ops: Sequence[Mapping[str, Any]] = ()
    layers: Sequence[Mapping[str, Any]] = ()
    errors: Mapping[str, str] = field(default_factory=dict)
    emulated: Mapping[str, Any] | None = None
    checks: Sequence[Check] = ()
    verdict: str = USABLE

    @property
    def usable(self) -> bool:
        """Whether it meets every line."""
        return self.verdict == USABLE

    @property
    def arena_bytes(self) -> int | None:
        """All of its tensor arena."""
        return self.arena["total"] if self.arena else None

    def to_json(self) -> dict[str, Any]:
        """The row of a file that was made."""
        row = super().to_json() | {"arena_bytes": self.arena_bytes}
        return row | {"checks": [check._asdict() for check in self.checks]}

    @classmethod
    def from_json(cls, row: Any, where: str = "candidate") -> "Candidate":
        """Undo ``to_json``; an older one's accuracies are its quality.

        Raises:
            InputError: A figure of the file itself is of another kind; the rest is taken as it is.
        """
        own = {item.name for item in fields(cls)} - {item.name for item in fields(DeviceFile)}
        held = {key: row[key] for key in own if key in row}
        held["checks"] = tuple(Check(**{key: check[key] for key in Check._fields}) for check in held["checks"])
        if not held.get("arena") and row.get("arena_bytes") is not None:
            held["arena"] = {"total": row["arena_bytes"], "head": None, "tail": None}
        if held.get("emulated"):
            held["emulated"] = in_todays_words(held["emulated"])
        return cls(**vars(DeviceFile.from_json(row, where)) | held)


class Stage(NamedTuple):
    """A model on the way to the device.

    Args:
        name: What it is.
        runtime: Where it was measured.
        quality: The deciding metric over the test examples.
        low: Lower end of its 95 % interval; None where it has none, such as for a mean over clients' models.
        high: Upper end.
    """

    name: str
    runtime: str
    quality: float
    low: float | None = None
    high: float | None = None


class Failed(NamedTuple):
    """A recipe of which no file could be made, and why."""

    recipe: str
    error: str


class Closest(NamedTuple):
    """The file that misses a budget by least.

    Args:
        path: Its name.
        misses: What it breaks.
        relax: The lines that would let it pass, as the command line takes them.
        leave_out: Lines that no larger figure would let it keep to.
    """

    path: str
    misses: Sequence[str]
    relax: str | None
    leave_out: Sequence[str]


@dataclass(frozen=True)
class Search:
    """A search's result.

    Args:
        task: Name of the task.
        source: The run or model that it began with.
        budget: The lines that were to be met.
        n: Test examples.
        hardware: What latencies were measured on.
        calibration: ``rows`` that showed integers their ranges, and their ``sha256``; None without any.
        stages: Models on the way.
        candidates: Every file that could be made, in the search's order.
        failed: What couldn't be made.
        chosen: Name of the best file that meets every line; None without one.
        closest: What came closest where none was chosen; None where none was made either.
        metric: How figures of quality are read.
    """

    task: str
    source: str
    budget: Mapping[str, float]
    n: int
    hardware: str
    calibration: Mapping[str, Any] | None
    stages: Sequence[Stage]
    candidates: Sequence[Candidate]
    failed: Sequence[Failed]
    chosen: str | None
    closest: Closest | None
    metric: Scale = ACCURACY

    def to_json(self) -> dict[str, Any]:
        """The file's object."""
        found = {item.name: getattr(self, item.name) for item in fields(self)}
        return found | {
            "stages": [stage._asdict() for stage in self.stages],
            "candidates": [candidate.to_json() for candidate in self.candidates],
            "failed": [each._asdict() for each in self.failed],
            "closest": self.closest and self.closest._asdict(),
            "metric": self.metric.to_json(),
        }

    @classmethod
    def from_json(cls, data: Any) -> "Search":
        """Undo ``to_json``, also of files whose only metric was accuracy.

        Raises:
            InputError: It lacks a key or holds a value that can't be; or the chosen file, or what came closest, is no
                candidate, or the chosen one isn't usable.
        """
        held, metric = _in_todays_words(data), _metric(data)
        search_shape(shape.share if metric.unit == "%" else shape.number)(held, "")
        closest = held["closest"]
        found = cls(
            **{key: held[key] for key in ("task", "source", "budget", "n", "hardware", "calibration", "chosen")},
            stages=tuple(_only(Stage, row) for row in held["stages"]),
            candidates=tuple(Candidate.from_json(row, f"candidates[{i}]") for i, row in enumerate(held["candidates"])),
            failed=tuple(_only(Failed, row) for row in held["failed"]),
            closest=_only(Closest, closest) if closest else None,
            metric=metric,
        )
        _check_known(found)
        return found


def write_search(folder: Path, search: Search) -> None:
    """Write ``edge.json`` in one step."""
    replace_file(folder / RESULT, (json.dumps(search.to_json(), indent=2) + "\n").encode())


def read_search(folder: Path) -> Search:
    """Load ``edge.json``.

    Args:
        folder: Where it lies.

    Raises:
        InputError: The file is missing, isn't JSON, lacks a key or holds a value that can't be.
    """
    path = folder / RESULT
    if not path.is_file():
        raise InputError(f"a search leaves {RESULT} in its folder, {folder} has none")
    try:
        content = json.loads(path.read_text(encoding="utf-8", errors="replace"), parse_constant=lambda _: None)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON, {error}") from None
    try:
        return Search.from_json(content)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _in_todays_words(data: Any) -> Any:
    """Rows of older searches have an accuracy where those of today have a quality."""
    if not isinstance(data, dict):
        return data
    found = dict(data)
    for key in ("stages", "candidates"):
        if isinstance(found.get(key), list):
            found[key] = [in_todays_words(row) if isinstance(row, dict) else row for row in found[key]]
    return found


def _metric(data: Any) -> Scale:
    """How figures are read; those of older searches are accuracies."""
    if not isinstance(data, dict) or "metric" not in data:
        return ACCURACY
    try:
        return read_scale(data["metric"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"metric must be an object with name, label, unit and better ({error!r})") from None


def _only(kind: Any, row: Mapping[str, Any]) -> Any:
    """A named tuple of a row that may have other keys."""
    return kind(**{key: row[key] for key in kind._fields})


def _check_known(search: Search) -> None:
    """The chosen file, and what came closest, are candidates, and the chosen one is usable."""
    verdicts = {candidate.path: candidate.verdict for candidate in search.candidates}
    for key, path in (("chosen", search.chosen), ("closest.path", search.closest and search.closest.path)):
        if path is not None and path not in verdicts:
            raise InputError(f"{key} must be a candidate's path, got {path!r}")
    if search.chosen is not None and verdicts[search.chosen] != USABLE:
        raise InputError(f"chosen must be a usable file, got {search.chosen!r}, {verdicts[search.chosen]}")
