"""What a search has found, as edge.json holds it."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from fedkd.base.files import replace_file
from fedkd.edge.budget import Budget, excess, misses, relaxed, to_leave_out
from fedkd.objectives.scores import wilson
from sims.edge.candidate import Candidate
from sims.edge.folder import RESULT
from sims.edge.search import Found
from sims.edge.source import Source, Stage


def write_result(folder: Path, source: Source, budget: Budget, found: Found, hardware: str) -> dict[str, Any]:
    """Write edge.json and return what it holds."""
    best = found.best
    result = {
        "task": source.task.name,
        "source": str(source.path),
        "budget": budget.lines,
        "n": len(source.task.test),
        "hardware": hardware,
        "calibration": _calibration(source.calibration),
        "stages": [_stage(stage, len(source.task.test)) for stage in found.stages],
        "candidates": [candidate.row for candidate in found.candidates],
        "failed": [{"recipe": recipe, "error": error} for recipe, error in found.failed],
        "chosen": best.row["path"] if best else None,
        "closest": None if best else closest(found.candidates),
    }
    replace_file(folder / RESULT, (json.dumps(result, indent=2) + "\n").encode())
    return result


def closest(candidates: list[Candidate]) -> dict[str, Any] | None:
    """The file that misses a budget by least, how, and the lines that would let it pass; None without files."""
    if not candidates:
        return None
    best = min(candidates, key=lambda each: (excess(each.checks), -each.accuracy, each.row["path"]))
    allow, without = relaxed(best.checks), to_leave_out(best.checks)
    return {"path": best.row["path"], "misses": misses(best.checks), "relax": allow, "leave_out": without}


def _calibration(rows: np.ndarray) -> dict[str, Any] | None:
    """How many rows showed integers their ranges, and which: their hash as C-ordered bytes."""
    if not len(rows):
        return None
    return {"rows": len(rows), "sha256": hashlib.sha256(np.ascontiguousarray(rows).tobytes()).hexdigest()}


def _stage(stage: Stage, total: int) -> dict[str, Any]:
    low, high = (None, None) if stage.mean else wilson(round(stage.accuracy * total), total)
    return {"name": stage.name, "runtime": "keras", "accuracy": stage.accuracy, "low": low, "high": high}
