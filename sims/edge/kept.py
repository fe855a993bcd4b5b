"""What a search has come to so far, on disk step by step, so that it can go on where it was cut off."""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fedkd.base.contents import hash_file
from fedkd.base.files import replace_file
from fedkd.edge.search import Variant
from fedkd.results.search import Candidate
from sims.edge.candidate import Measured


@dataclass(frozen=True)
class Step:
    """A file that was measured, or why there is none.

    Args:
        seconds: That it took.
        measured: The file; None where it couldn't be made or run.
        error: One line that says why; empty where it could.
    """

    seconds: float
    measured: Measured | None = None
    error: str = ""


@dataclass(frozen=True)
class Kept:
    """Steps of a search: weights of trained models, and the files that were measured.

    Each is written in one step, after the device file that it tells of. A step that isn't whole is none.

    Args:
        folder: Where they are kept; it exists.
        files: Where device files are.
    """

    folder: Path
    files: Path

    @property
    def begun(self) -> bool:
        """Whether anything is kept that took time: a model that was trained, or a file that was measured."""
        steps = (json.loads(path.read_bytes()) for path in self.folder.glob("*.json"))
        return any(not step["error"] for step in steps) or any(self.folder.glob("*.npz"))

    def weights(self, variant: Variant) -> tuple[list[np.ndarray], float] | None:
        """Weights of a variant that was trained, as Keras gives them, and the seconds it took; None of another."""
        path = self._path(variant, "trained.npz")
        if not path.is_file():
            return None
        with np.load(path, allow_pickle=False) as held:
            return [held[str(i)] for i in range(len(held.files) - 1)], float(held["seconds"])

    def keep_weights(self, variant: Variant, weights: Sequence[np.ndarray], seconds: float) -> None:
        """Keep what training has come to."""
        content = io.BytesIO()
        # What numpy has no dtype for, such as bfloat16, it would write as bytes of nothing; float32 holds it exactly.
        whole = (np.asarray(array, np.float32) if array.dtype.kind == "V" else array for array in weights)
        arrays: dict[str, Any] = {str(i): array for i, array in enumerate(whole)}
        np.savez(content, allow_pickle=False, seconds=np.float64(seconds), **arrays)
        replace_file(self._path(variant, "trained.npz"), content.getvalue())

    def step(self, variant: Variant, precision: str) -> Step | None:
        """What became of a file; None where that isn't known, or the file isn't what it was."""
        path = self._path(variant, f"{precision}.json")
        if not path.is_file():
            return None
        held = json.loads(path.read_bytes())
        if held["error"]:
            return Step(held["seconds"], error=held["error"])
        file = self.files / held["file"]["path"]
        if not file.is_file() or hash_file(file) != held["sha256"]:
            return None
        return Step(held["seconds"], Measured(Candidate.from_json(held["file"]), held["close"]))

    def keep_step(self, variant: Variant, precision: str, step: Step) -> None:
        """Keep what became of a file."""
        row: dict[str, Any] = {"seconds": step.seconds, "error": step.error}
        if step.measured:
            file = step.measured.file
            row |= {"file": file.to_json(), "close": step.measured.close}
            row |= {"sha256": hash_file(self.files / str(file.path))}
        replace_file(self._path(variant, f"{precision}.json"), json.dumps(row).encode())

    def model(self, name: str) -> Path:
        """Where a model that the search had made is kept whole; there may be none yet."""
        return self.folder / f"{name.replace(' ', '')}.keras"

    def _path(self, variant: Variant, ending: str) -> Path:
        return self.folder / f"{variant.stem('model')}_{ending}"
