"""Device files of a run's shared model, each measured over the whole test set in LiteRT."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fedkd.base.errors import InputError
from fedkd.base.seeding import Purpose, generator
from fedkd.compress.cost import cost
from fedkd.compress.prune import prune, sparsity_of
from fedkd.compress.qat import skipped, stand_in_rows
from fedkd.edge.convert import convert
from fedkd.edge.litert import run_lite
from fedkd.models.inspect import layer_modules, logits_model
from fedkd.protocol.calibration import calibration_rows, without_examples
from fedkd.protocol.experiment import Experiment
from fedkd.protocol.federation import kernels
from fedkd.protocol.finishing import experiment_at, unrounded
from fedkd.protocol.state import ServerState
from fedkd.results.device_file import DeviceFile

if TYPE_CHECKING:
    import keras


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


def to_device(experiment: Experiment, state: ServerState, folder: Path) -> tuple[DeviceFile, ...]:
    """Convert and measure the final shared model.

    Args:
        experiment: The first round's: its test set, and what it has for the ranges of int8.
        state: After the last round.
        folder: Where ``student_*.tflite`` and the .keras files they are made from go.

    Returns:
        One per precision; a file that can't be made or run has ``error`` instead of figures.
    """
    edge, last = experiment.config.edge, experiment_at(experiment, state.round, state.removed_channels)
    which = kernels(last.spec)
    final = prune(state.shared, edge.sparsity, which)
    trained = logits_model(last.shared_model, final)
    plain = unrounded(experiment, state.removed_channels, trained)
    expected = last.trainer.logits(experiment.config.exchange.shared, final, experiment.task.test.x)
    size = _size(plain) | {"sparsity": sparsity_of(final, which)}
    unseen = skipped(plain) if edge.qat else {}
    lacking = without_examples(experiment, unseen)
    files = {precision: DeviceFile(precision, error=why) for precision, why in lacking.items()}
    for source in _sources(experiment, plain, trained, learned=not unseen):
        wanted = [precision for precision in source.precisions if precision not in lacking]
        for file in _measured(experiment, source._replace(precisions=wanted), folder, expected):
            files[file.precision] = replace(file, **size) if file.made else file
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

    Args:
        experiment: The first round's.
        plain: The final model, unrounded.
        trained: The final model as it was trained.
        learned: Whether it has learned all its ranges, so that any examples will do.
    """
    edge, examples = experiment.config.edge, calibration_rows(experiment)
    rounded = [precision for precision in edge.wanted if edge.qat and precision == "int8"]
    yield Source("student_finished.keras", plain, examples, [p for p in edge.wanted if p not in rounded])
    if rounded:
        rng = generator(experiment.config.seed, Purpose.CALIBRATION)
        shown = stand_in_rows(trained, rng) if learned else examples
        yield Source("student_aware.keras", trained, shown, rounded)


def _measured(experiment: Experiment, source: Source, folder: Path, expected: np.ndarray) -> Iterator[DeviceFile]:
    """Convert to each precision, and run the files, each in a process of its own.

    Args:
        experiment: The first round's.
        source: What is converted.
        folder: Where files go.
        expected: Outputs of the model on the test set, (n, k).
    """
    source.model.save(folder / source.file)
    modules = layer_modules(source.model)
    for item in convert(folder / source.file, source.examples, folder, source.precisions, modules=modules):
        if item.path is None:
            yield DeviceFile(item.precision, error=item.error)
            continue
        try:
            yield _run(experiment, item.precision, item.path, expected)
        except InputError as error:
            yield DeviceFile(item.precision, item.path.name, str(error))


def _run(experiment: Experiment, precision: str, path: Path, expected: np.ndarray) -> DeviceFile:
    test, objective = experiment.task.test, experiment.task.objective
    ran = run_lite(path, test.x)
    return DeviceFile(
        precision,
        path.name,
        flash_bytes=ran.file["bytes"],
        gzip_bytes=ran.file["gzip_bytes"],
        float_tensors=ran.file["float_tensors"],
        quality={"litert": objective.metrics[0].of(ran.logits, test.y)},
        agreement={"litert": objective.agreement(ran.logits, expected)},
    )
