"""``edge.json`` read back: the files for a device, what each was measured to be, and the one that was chosen."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fedkd.base.errors import InputError
from fedkd.objectives.scores import wilson
from fedkd.results.shape import amount, count, every, flag, having, named, number, optional, share, text

USABLE = "usable"  # the verdict of a file that meets every line; others begin with "failed"
_ON_NO_DEVICE = ("keras", "litert_reference")
_SAME = 1e-5  # of an accuracy; figures are rounded
_CANDIDATE = having(
    path=text,
    recipe=text,
    precision=text,
    flash_bytes=amount,
    gzip_bytes=amount,
    codebook_bytes=optional(amount),
    arena_bytes=optional(amount),
    arena=optional(having(head=amount, tail=amount, total=amount)),
    macs=amount,
    uncounted=every(text),
    parameters=amount,
    skipped=named(text),
    float_tensors=amount,
    accuracy=named(optional(share)),
    agreement=named(optional(share)),
    latency_ms=optional(having(median=amount, p95=amount, runtime=text)),
    ops=every(having(name=text, count=amount, litert=optional(flag), tflm=optional(flag))),
    layers=every(
        having(
            name=text,
            kind=text,
            shape=every(optional(amount)),
            parameters=amount,
            macs=amount,
            snr_db=optional(number),
        )
    ),
    errors=named(text),
    checks=every(having(line=text, limit=number, value=optional(number), runtime=text, ok=flag)),
    emulated=optional(having(machine=text, accuracy=share, agreement=share, difference=amount, steps=optional(amount))),
    verdict=text,
)
_EDGE = having(
    task=text,
    source=text,
    budget=named(number),
    n=count,
    hardware=text,
    calibration=optional(having(rows=amount, sha256=text)),
    stages=every(having(name=text, runtime=text, accuracy=share, low=optional(share), high=optional(share))),
    candidates=every(_CANDIDATE),
    failed=every(having(recipe=text, error=text)),
    chosen=optional(text),
    closest=optional(having(path=text, misses=every(text), relax=optional(text), leave_out=every(text))),
)


@dataclass(frozen=True)
class EdgeFile:
    """A search's result.

    Args:
        content: the file's content, as checked.
    """

    content: dict[str, Any]

    @property
    def candidates(self) -> list[dict[str, Any]]:
        """Every file that could be made, in the search's order."""
        return list(self.content["candidates"])

    @cached_property
    def shown(self) -> dict[str, Any] | None:
        """The candidate that the page is about: the chosen one, else what came closest, else none."""
        path = self.content["chosen"] or (self.content["closest"] or {}).get("path")
        return next((candidate for candidate in self.candidates if candidate["path"] == path), None)

    def stages(self) -> list[dict[str, Any]]:
        """Accuracy from the teacher to the file that is shown, in each runtime that no stage before has."""
        stages = list(self.content["stages"])
        seen = {stage["runtime"] for stage in stages} | {"keras"}
        for runtime, accuracy in (self.shown or {"accuracy": {}})["accuracy"].items():
            if accuracy is not None and runtime not in seen:
                low, high = self.interval(accuracy)
                stage = {"name": f"{(self.shown or {})['precision']} file", "runtime": runtime}
                stages.append(stage | {"accuracy": accuracy, "low": low, "high": high})
        return stages

    def interval(self, accuracy: float) -> tuple[float, float]:
        """The 95 % confidence interval of an accuracy over the test examples."""
        n = self.content["n"]
        return wilson(round(accuracy * n), n)

    def floor(self) -> float | None:
        """The accuracy that the budget's drop leaves, None where it has no such line or files are held to several."""
        floors = [
            candidate["accuracy"][check["runtime"]] + (check["value"] - check["limit"]) / 100
            for candidate in self.candidates
            for check in candidate["checks"]
            if check["line"] == "drop" and None not in (check["value"], candidate["accuracy"].get(check["runtime"]))
        ]
        return floors[0] if floors and max(floors) - min(floors) < _SAME else None


def lowest(candidate: dict[str, Any]) -> tuple[str, float] | None:
    """The runtime of a device in which the file is least accurate, with that accuracy; None where it ran in none."""
    accuracy = candidate["accuracy"].items()
    ran = [(name, value) for name, value in accuracy if value is not None and name not in _ON_NO_DEVICE]
    return min(ran, key=lambda pair: pair[1]) if ran else None


def read_edge(folder: Path) -> EdgeFile:
    """Load ``edge.json``.

    Args:
        folder: where it lies.

    Raises:
        InputError: the file is missing, isn't JSON, lacks a key or holds a value that can't be.
    """
    path = folder / "edge.json"
    if not path.is_file():
        raise InputError(f"a search leaves edge.json in its folder, {folder} has none")
    try:
        content = json.loads(path.read_text(encoding="utf-8", errors="replace"), parse_constant=lambda _: None)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON, {error}") from None
    try:
        _EDGE(content, "")
        _known(content)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return EdgeFile(content)


def _known(content: dict[str, Any]) -> None:
    """The chosen file, and what came closest, are candidates, and the chosen one is usable."""
    verdicts = {candidate["path"]: candidate["verdict"] for candidate in content["candidates"]}
    chosen, closest = content["chosen"], (content["closest"] or {}).get("path")
    for key, path in (("chosen", chosen), ("closest.path", closest)):
        if path is not None and path not in verdicts:
            raise InputError(f"{key} must be a candidate's path, got {path!r}")
    if chosen is not None and verdicts[chosen] != USABLE:
        raise InputError(f"chosen must be a usable file, got {chosen!r}, {verdicts[chosen]}")
