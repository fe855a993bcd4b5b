"""Files of one Keras model: written, run in every runtime, held against the budget."""

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from fedkd.base.errors import InputError
from fedkd.compress.constraints import codebook_bytes
from fedkd.compress.cost import Cost, cost
from fedkd.data.dataset import EVALUATION_BATCH
from fedkd.edge.budget import Budget, Check, Facts, checks, verdict
from fedkd.edge.convert import Conversion, convert
from fedkd.edge.measure import Measurement, measure
from fedkd.edge.search import Variant
from fedkd.edge.snr import Layer, layer_table
from fedkd.models.inspect import layer_modules
from fedkd.objectives.scores import wilson

Row = dict[str, Any]
RUNTIMES = ("litert", "litert_reference", "tflm")
_COMPARED = 32  # examples on which layers are compared with the Keras model


@dataclass(frozen=True)
class Candidate:
    """A device file and how it stands.

    Args:
        row: As edge.json holds it.
        checks: A check a line of the budget.
        lost: Points of accuracy lost in LiteRT against the Keras model it was made of.
    """

    row: Row
    checks: tuple[Check, ...]
    lost: float

    @property
    def usable(self) -> bool:
        """Whether it meets every line."""
        return all(check.ok for check in self.checks)

    @property
    def accuracy(self) -> float:
        """In the worst of the runtimes that ran it."""
        return min(self.row["accuracy"][name] for name in ("litert", "tflm") if self.row["accuracy"][name] is not None)


@dataclass(frozen=True, eq=False)
class Trained:
    """A variant as a Keras model.

    Args:
        variant: What was done to it.
        model: It.
        predicted: The class it names for each test example, int (n,).
        accuracy: Share of them that is right.
        skipped: Layers whose rounding it didn't see in training that sees int8, and why.
    """

    variant: Variant
    model: keras.Model
    predicted: np.ndarray
    accuracy: float
    skipped: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Bench:
    """Where files are made and measured.

    Args:
        folder: Where they go.
        stem: Start of their names.
        x: Test examples.
        y: Their classes.
        budget: To be met.
        float_accuracy: Of the model that the search began with, in Keras.
    """

    folder: Path
    stem: str
    x: np.ndarray
    y: np.ndarray
    budget: Budget
    float_accuracy: float

    def trained(self, variant: Variant, model: keras.Model, skipped: Mapping[str, str] | None = None) -> Trained:
        """Measure a model in Keras."""
        predicted = _predicted(model, self.x)
        return Trained(variant, model, predicted, float(np.mean(predicted == self.y)), skipped or {})

    def convert(self, trained: Trained, rows: np.ndarray, precisions: Sequence[str]) -> list[Conversion]:
        """Write a file for each precision; those that can't be written have an error."""
        with tempfile.TemporaryDirectory(prefix=".keras-", dir=self.folder) as work:
            path = Path(work) / "model.keras"
            trained.model.save(path)
            modules, stem = layer_modules(trained.model), trained.variant.stem(self.stem)
            return convert(path, rows, self.folder, precisions, stem, modules)

    def measured(self, trained: Trained, precision: str, path: Path) -> Candidate:
        """Run a file over the test set in every runtime, and hold it against the budget.

        Raises:
            InputError: LiteRT can't run it.
        """
        found = measure(path, self.x, self.budget.micro)
        named = {runtime: logits.argmax(-1) for runtime, logits in found.logits.items()}
        accuracy = {runtime: float(np.mean(predicted == self.y)) for runtime, predicted in named.items()}
        agreement = {runtime: float(np.mean(predicted == trained.predicted)) for runtime, predicted in named.items()}
        size = size_of(trained.model)
        drop = {runtime: self.points(accuracy.get(runtime)) for runtime in RUNTIMES}
        arena = found.arena.total if found.arena else None
        done = checks(self.budget, Facts(found.flash_bytes, arena, None if size.uncounted else size.macs, drop))
        row = {
            "path": path.name,
            "recipe": trained.variant.recipe(precision),
            **_sizes(found),
            "codebook_bytes": codebook_bytes(trained.model, bits) if (bits := trained.variant.bits) else None,
            "macs": size.macs,
            "uncounted": list(size.uncounted),
            "parameters": size.parameters,
            "skipped": dict(trained.skipped),
            "accuracy": {"keras": trained.accuracy, **_by_runtime(accuracy)},
            "interval": list(wilson(int((named["litert"] == self.y).sum()), len(self.y))),
            "agreement": _by_runtime(agreement),
            "latency_ms": {**found.latency._asdict(), "runtime": "litert"} if found.latency else None,
            "ops": [op._asdict() for op in found.ops],
            "layers": _layers(trained.model, path, self.x[:_COMPARED], "litert_reference" in found.errors),
            "errors": {runtime: self.without_folder(why) for runtime, why in found.errors.items()},
            "emulated": None,
            "checks": [check._asdict() for check in done],
            "verdict": verdict(done),
        }
        return Candidate(row, done, 100 * (trained.accuracy - accuracy["litert"]))

    def without_folder(self, text: str) -> str:
        """What was said, without the folder that files are made in, which is another each time."""
        return re.sub(rf"{re.escape(str(self.folder))}/(\.[a-z]+-\w+/)?", "", text)

    def points(self, accuracy: float | None) -> float | None:
        """Points lost against the float model; rounded, or 1.0 would be more than 1.0."""
        return None if accuracy is None else round(100 * (self.float_accuracy - accuracy), 6)


def accuracy_of(model: keras.Model, x: np.ndarray, y: np.ndarray) -> float:
    """Share of examples that a model classifies rightly in Keras."""
    return float(np.mean(_predicted(model, x) == y))


def size_of(model: keras.Model) -> Cost:
    """What a model costs; of one that calls a layer twice nothing is known but its parameters."""
    try:
        return cost(model)
    except InputError:
        return Cost(0, model.count_params(), tuple(layer.name for layer in model.layers if layer.weights))


def _layers(model: keras.Model, path: Path, x: np.ndarray, silent: bool) -> list[Layer]:
    """The table of a file's layers, without noise where it can't be run with its tensors kept.

    Args:
        model: That the file was made of.
        path: The file.
        x: A few examples.
        silent: Whether it is known that the file can't be run there.
    """
    for file in (None,) if silent else (path, None):
        try:
            return list(layer_table(model, file, x))
        except InputError:
            continue
    return []


def _predicted(model: keras.Model, x: np.ndarray) -> np.ndarray:
    return np.asarray(model.predict(x, batch_size=EVALUATION_BATCH, verbose=0)).argmax(-1)


def _sizes(found: Measurement) -> Row:
    arena = found.arena
    return {
        "precision": found.precision,
        "flash_bytes": found.flash_bytes,
        "gzip_bytes": found.gzip_bytes,
        "arena_bytes": arena.total if arena else None,
        "arena": arena._asdict() if arena else None,
        "float_tensors": found.float_tensors,
    }


def _by_runtime(figures: Mapping[str, float]) -> dict[str, float | None]:
    return {runtime: figures.get(runtime) for runtime in RUNTIMES}
