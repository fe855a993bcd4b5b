"""Device files of a run's shared model, each measured over the whole test set in LiteRT."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fedkd.base.errors import InputError
from fedkd.base.seeding import Purpose, generator
from fedkd.base.tensors import Weights
from fedkd.compress.cost import cost
from fedkd.compress.prune import prune, sparsity_of
from fedkd.compress.qat import skipped, stand_in_rows
from fedkd.config.edge import NEAREST
from fedkd.edge.convert import convert
from fedkd.edge.judged import judged, loses
from fedkd.edge.measure import measure
from fedkd.models.inspect import layer_modules, logits_model
from fedkd.protocol.calibration import calibration_rows, without_examples
from fedkd.protocol.device_rounding import for_four_bits
from fedkd.protocol.device_words import for_devices
from fedkd.protocol.experiment import Experiment
from fedkd.protocol.federation import kernels
from fedkd.protocol.finishing import unrounded
from fedkd.protocol.state import ServerState
from fedkd.results.device_file import DeviceFile

if TYPE_CHECKING:
    import keras

# Where a run's files are measured; `fedkd edge` runs them in all runtimes.
_RUNTIMES = ("litert",)


class Source(NamedTuple):
    """What some precisions are converted from.

    Args:
        file: Name of its .keras file.
        model: The model with its final weights.
        examples: For the ranges of activations, (n, *input_shape); none where there are no examples to be had.
        precisions: Those that are made from it.
    """

    file: str
    model: "keras.Model"
    examples: np.ndarray
    precisions: Sequence[str]


class Shipped(NamedTuple):
    """The shared model as it is in the end.

    Args:
        last: The experiment of the last round.
        weights: Of the model, zeros where it is pruned.
        kernels: Which of them are pruned.
        outputs: For the test set, float32 (n, k).
    """

    last: Experiment
    weights: Weights
    kernels: Sequence[bool]
    outputs: np.ndarray


def shipped(experiment: Experiment, state: ServerState) -> Shipped:
    """Make the model that ships of the last round's.

    Args:
        experiment: The first round's.
        state: After the last round.
    """
    last = experiment.at(state.round, state.removed_channels)
    pruned = kernels(last.spec)
    final = prune(state.shared, experiment.config.edge.sparsity, pruned)
    role, x = last.shown, experiment.task.test.x
    weights = last.parts(final)[role]
    return Shipped(last, weights, last.parts(pruned)[role], last.local().trainer.logits(role, weights, x))


def to_device(experiment: Experiment, state: ServerState, folder: Path) -> tuple[DeviceFile, ...]:
    """Convert and measure the final shared model.

    Args:
        experiment: The first round's: its test set, and what it has for the ranges of int8.
        state: After the last round.
        folder: Where ``student_*.tflite`` and the .keras files they are made from go.

    Returns:
        One for each precision; one that couldn't be made or run has ``error`` instead of figures.
    """
    edge, (last, final, pruned, expected) = experiment.config.edge, shipped(experiment, state)
    whole = logits_model(last.shared_model, final)
    trained = for_devices(experiment, whole)
    plain = unrounded(experiment, state.removed_channels, whole)
    plain = trained if plain is whole else for_devices(experiment, plain)
    size = _size(plain) | {"sparsity": sparsity_of(final, pruned)}
    unseen = skipped(plain) if edge.qat else {}
    lacking = without_examples(experiment, unseen)
    files = {precision: DeviceFile(precision, error=why) for precision, why in lacking.items()}
    for source in _sources(experiment, plain, trained, learned=not unseen):
        wanted = [precision for precision in source.precisions if precision not in lacking]
        for file in _measured(experiment, source._replace(precisions=wanted), folder, expected, size):
            files[file.precision] = file
    if _rounds_by_examples(experiment) and "int4" not in lacking:
        files["int4"] = _rounded_by_examples(experiment, plain, folder, expected, size)
    return tuple(files[precision] for precision in edge.wanted)


def _size(model: "keras.Model") -> dict[str, Any]:
    """Multiplications and parameters, where the model's graph can be followed."""
    try:
        found = cost(model)
    except InputError:
        return {}
    return {"macs": found.macs, "parameters": found.parameters}


def _sources(experiment: Experiment, plain: "keras.Model", trained: "keras.Model", learned: bool) -> Iterator[Source]:
    """What each precision is made from: int8 from the model that was trained rounded, all else from it unrounded.

    But for int4 where that is rounded by examples.

    Args:
        experiment: The first round's.
        plain: The final model, unrounded.
        trained: The final model as it was trained.
        learned: Whether it has learned all its ranges, so that any examples will do.
    """
    edge, examples = experiment.config.edge, calibration_rows(experiment)
    rounded = [precision for precision in edge.wanted if edge.qat and precision == "int8"]
    others = [*rounded, *(["int4"] if _rounds_by_examples(experiment) else [])]
    yield Source("student_finished.keras", plain, examples, [p for p in edge.wanted if p not in others])
    if rounded:
        rng = generator(experiment.config.seed, Purpose.CALIBRATION)
        shown = stand_in_rows(trained, rng) if learned else examples
        yield Source("student_aware.keras", trained, shown, rounded)


def _rounds_by_examples(experiment: Experiment) -> bool:
    edge = experiment.config.edge
    return edge.rounding != NEAREST and "int4" in edge.wanted


def _rounded_by_examples(
    experiment: Experiment, plain: "keras.Model", folder: Path, expected: np.ndarray, size: Mapping[str, Any]
) -> DeviceFile:
    """The int4 file whose kernels are rounded as ``edge.rounding`` says."""
    examples = calibration_rows(experiment)
    try:
        source = Source("student_int4.keras", for_four_bits(experiment, plain, examples), examples, ["int4"])
    except InputError as error:
        return DeviceFile("int4", error=str(error))
    (file,) = _measured(experiment, source, folder, expected, size)
    return file


def _measured(
    experiment: Experiment, source: Source, folder: Path, expected: np.ndarray, size: Mapping[str, Any]
) -> Iterator[DeviceFile]:
    """Convert to each precision and run the files, each in a process of its own."""
    source.model.save(folder / source.file)
    modules, task = layer_modules(source.model), experiment.task
    path, rows = folder / source.file, task.test.x
    for item in convert(path, source.examples, folder, source.precisions, modules=modules, rows=rows, trust=True):
        if item.path is None:
            yield DeviceFile(item.precision, error=item.error)
            continue
        try:
            found = measure(item.path, task.test.x, _RUNTIMES)
            file = judged(found, task.objective, task.test.y, expected, **size)
        except InputError as error:
            why = str(error).replace(f"{folder}/", "")
            yield DeviceFile(item.precision, item.path.name, why)
            continue
        too_much = loses(file, task.objective.metrics[0], experiment.config.edge.drop)
        yield replace(file, precision=item.precision, warning=too_much)
