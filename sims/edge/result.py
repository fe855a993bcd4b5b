"""What a search has found, as edge.json holds it."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from fedkd.edge.budget import excess, misses, relaxed, to_leave_out
from fedkd.objectives.metric import Scale
from fedkd.results.search import Closest, Failed, Search
from sims.edge.candidate import Bench, Measured
from sims.edge.found import Found
from sims.edge.source import Source


def result_of(source: Source, bench: Bench, found: Found, hardware: str) -> Search:
    """Gather what edge.json holds.

    Args:
        source: What the search began with.
        bench: Where files were measured.
        found: What it has come to.
        hardware: What latencies were measured on.
    """
    best, metric = found.best(bench.metric), bench.metric
    return Search(
        task=source.task.name,
        source=str(source.path),
        budget=bench.budget.lines,
        n=len(source.task.test),
        hardware=hardware,
        calibration=_calibration(source.calibration),
        stages=tuple(found.stages),
        candidates=tuple(each.file for each in found.candidates),
        failed=tuple(Failed(recipe, error) for recipe, error in found.failed),
        chosen=best.file.path if best else None,
        closest=None if best else closest(found.candidates, metric),
        metric=Scale(metric.name, metric.label, metric.unit, metric.better),
    )


def closest(candidates: Sequence[Measured], scale: Scale) -> Closest | None:
    """The file that misses a budget by least, how, and the lines that would let it pass; None without files."""
    if not candidates:
        return None

    def far(each: Measured) -> tuple[float, float, str]:
        return excess(each.file.checks), scale.lost(each.worst(scale), 0.0), str(each.file.path)

    best = min(candidates, key=far)
    done = best.file.checks
    return Closest(str(best.file.path), misses(done, scale), relaxed(done), to_leave_out(done))


def _calibration(rows: np.ndarray) -> dict[str, Any] | None:
    """How many rows showed integers their ranges, and which: their hash as C-ordered bytes."""
    if not len(rows):
        return None
    return {"rows": len(rows), "sha256": hashlib.sha256(np.ascontiguousarray(rows).tobytes()).hexdigest()}
