"""Files of one Keras model: written, run in every runtime, held against the budget."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np

from fedkd.base.errors import InputError
from fedkd.base.work_folder import MARK, work_folder
from fedkd.compress.constraints import codebook_bytes
from fedkd.compress.cost import Cost, cost
from fedkd.config.edge import EdgeConfig
from fedkd.data.dataset import EVALUATION_BATCH
from fedkd.edge.budget import Budget, Facts, checks, verdict
from fedkd.edge.convert import Conversion, convert
from fedkd.edge.judged import judged, loses
from fedkd.edge.measure import measure
from fedkd.edge.runtimes import DEVICES, HERE, kernels_for
from fedkd.edge.search import Variant, tolerable
from fedkd.edge.snr import Layer, layer_table
from fedkd.models.inspect import layer_modules
from fedkd.objectives.metric import Metric, Scale
from fedkd.objectives.objective import Objective
from fedkd.results.search import Candidate, Stage

_UNSAID = "where a budget has no drop"
_COMPARED = 32  # examples on which layers are compared with the Keras model


@dataclass(frozen=True)
class Measured:
    """A device file and how it stands.

    Args:
        file: As edge.json holds it.
        close: Whether it lost little in LiteRT against the Keras model it was made of.
    """

    file: Candidate
    close: bool

    def worst(self, scale: Scale) -> float:
        """Its quality in the worst of the devices' runtimes that ran it."""
        ran = [value for each in DEVICES if (value := self.file.quality.get(each.name)) is not None]
        return max(ran, key=lambda value: scale.lost(value, 0.0))


@dataclass(frozen=True, eq=False)
class Trained:
    """A variant as a Keras model.

    Args:
        variant: What was done to it.
        model: It.
        outputs: What it answers to each test example, float32 (n, k).
        quality: The deciding metric of these.
        skipped: Layers whose rounding it didn't see in training that sees int8, and why.
    """

    variant: Variant
    model: keras.Model
    outputs: np.ndarray
    quality: float
    skipped: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Bench:
    """Where files are made and measured.

    Args:
        folder: Where they go.
        stem: Start of their names.
        x: Test examples.
        y: Their targets.
        budget: To be met.
        objective: The task's.
        reference: Quality of the model that the search began with, in Keras.
        four_bits: Rounds the dense kernels of a model by examples, for its int4 file; None where that rounds them to
            the nearest.
    """

    folder: Path
    stem: str
    x: np.ndarray
    y: np.ndarray
    budget: Budget
    objective: Objective
    reference: float
    four_bits: Callable[[keras.Model], keras.Model] | None = None

    @property
    def metric(self) -> Metric:
        """The deciding one."""
        return self.objective.metrics[0]

    def trained(self, variant: Variant, model: keras.Model, skipped: Mapping[str, str] | None = None) -> Trained:
        """Measure a model in Keras."""
        found = outputs(model, self.x)
        return Trained(variant, model, found, self.metric.of(found, self.y), skipped or {})

    def stage(self, name: str, trained: Trained) -> Stage:
        """A model on the way to the device, with the interval of its quality."""
        interval = self.metric.interval
        ends = interval(trained.outputs, self.y) if interval else (None, None)
        return Stage(name, "keras", trained.quality, *ends)

    def convert(self, trained: Trained, rows: np.ndarray, precisions: Sequence[str]) -> list[Conversion]:
        """Write a file for each precision; those that can't be written have an error."""
        stem = trained.variant.stem(self.stem)
        if self.four_bits is None or "int4" not in precisions:
            return self._convert(trained.model, rows, precisions, stem)
        done = self._convert(trained.model, rows, [each for each in precisions if each != "int4"], stem)
        try:
            return done + self._convert(self.four_bits(trained.model), rows, ["int4"], stem)
        except InputError as error:
            return [*done, Conversion("int4", None, str(error))]

    def _convert(self, model: keras.Model, rows: np.ndarray, precisions: Sequence[str], stem: str) -> list[Conversion]:
        with work_folder(self.folder, "keras") as work:
            path = Path(work) / "model.keras"
            model.save(path)
            # Who loaded the model has trusted what is in it.
            return convert(path, rows, self.folder, precisions, stem, layer_modules(model), self.x, trust=True)

    def measured(self, trained: Trained, precision: str, path: Path) -> Measured:
        """Run a file over the test set in every runtime, and hold it against the budget.

        Raises:
            InputError: LiteRT can't run it.
        """
        wanted, size = self.budget.runtimes, size_of(trained.model)
        found = measure(path, self.x, [each.name for each in HERE if each.name in wanted or not each.device])
        plain = judged(found, self.objective, self.y, trained.outputs, macs=size.macs, parameters=size.parameters)
        drop = {name: self.lost(plain.quality.get(name)) for name in wanted}
        arena = found.arena.total if found.arena else None
        done = checks(self.budget, Facts(found.flash_bytes, arena, None if size.uncounted else size.macs, drop))
        said, too_much = self.budget.drop is not None, loses(plain, self.metric, EdgeConfig.drop)
        # Channels of kernels that were rounded by examples may be scaled, so that layers aren't the model's.
        apart = "litert_reference" in found.errors or (precision == "int4" and self.four_bits is not None)
        rows = _layers(trained.model, path, self.x[:_COMPARED], apart)
        candidate = Candidate(
            **vars(plain)
            | {"quality": {"keras": trained.quality} | _all(plain.quality), "agreement": _all(plain.agreement)},
            recipe=trained.variant.recipe(precision),
            codebook_bytes=codebook_bytes(trained.model, bits) if (bits := trained.variant.bits) else None,
            arena=found.arena._asdict() if found.arena else None,
            uncounted=size.uncounted,
            skipped=dict(trained.skipped),
            latency_ms=found.latency[1]._asdict() | {"runtime": found.latency[0]} if found.latency else None,
            ops=[{"name": op.name, "count": op.count} | kernels_for(op) for op in found.ops],
            layers=rows,
            errors={runtime: self.without_folder(why) for runtime, why in found.errors.items()},
            checks=done,
            verdict=verdict(done, self.metric) if said or not too_much else f"failed: {too_much} {_UNSAID}",
        )
        lost = self.metric.lost(self.metric.of(found.outputs["litert"], self.y), trained.quality)
        return Measured(candidate, tolerable(lost, trained.quality, self.metric))

    def without_folder(self, text: str) -> str:
        """What was said, without the folder that files are made in, which is another each time."""
        return re.sub(rf"{re.escape(str(self.folder))}/(\.[a-z]+{re.escape(MARK)}\w+/)?", "", text)

    def lost(self, quality: float | None) -> float | None:
        """What is lost against the float model; rounded, or 1.0 would be more than 1.0."""
        return None if quality is None else round(self.metric.lost(quality, self.reference), 6)


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
        silent: Whether it is known that the file can't be run there, or that its layers can't be compared.
    """
    for file in (None,) if silent else (path, None):
        try:
            return list(layer_table(model, file, x))
        except InputError:
            continue
    return []


def outputs(model: keras.Model, x: np.ndarray) -> np.ndarray:
    """What a model answers in Keras, float32 (n, k)."""
    return np.asarray(model.predict(x, batch_size=EVALUATION_BATCH, verbose=0))


def _all(figures: Mapping[str, float | None]) -> dict[str, float | None]:
    """A figure for each runtime of this machine, None where it wasn't measured."""
    return {each.name: figures.get(each.name) for each in HERE}
