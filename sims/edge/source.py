"""Where a search begins: a run of ``fedkd run``, or any Keras model beside a task."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from fedkd.base.errors import InputError
from fedkd.base.seeding import Purpose, generator
from fedkd.config.edge import NEAREST
from fedkd.config.model import ModelConfig
from fedkd.config.trust import trusted_settings
from fedkd.edge.inference import plain_input
from fedkd.models.logits import with_logits
from fedkd.protocol.calibration import calibration_rows, read_rows
from fedkd.protocol.device_rounding import for_four_bits
from fedkd.protocol.device_words import for_devices
from fedkd.protocol.experiment import Experiment
from fedkd.protocol.resolve import experiment_of
from fedkd.results.run_folder import read
from fedkd.results.search import Stage
from fedkd.tasks.registry import load_task
from fedkd.tasks.task import Task
from sims.edge.federated import by_clients
from sims.edge.fine_tune import FineTune, fine_tuned, gives_probabilities
from sims.edge.load import import_layers, load_model
from sims.run import absolute

_CALIBRATION_ROWS = 128


class Finished(NamedTuple):
    """The model that a run's finishing rounds left.

    Args:
        plain: With fewer channels or zeros, and without rounding.
        aware: As it was trained where the clients saw int8; None where they didn't.
    """

    plain: keras.Model
    aware: keras.Model | None


@dataclass(frozen=True, eq=False)
class Source:
    """What a search begins with.

    Args:
        path: The run's folder, or the model's file.
        model: Functional, of one input and one output (n, k).
        task: Its data.
        calibration: Rows that show integers the range of activations; none where nobody may show any.
        tune: Trains a smaller model, by the run's clients or on the task's training examples.
        stages: What came before the model.
        experiment: The run's; None for a model without one.
        finished: What the run's finishing rounds left; None where it had none.
        in_words: The model with the words that the run has on devices, see ``fedkd.protocol.device_words``; None where
            that is all.
    """

    path: Path
    model: keras.Model
    task: Task
    calibration: np.ndarray
    tune: FineTune
    stages: tuple[Stage, ...] = ()
    experiment: Experiment | None = None
    finished: Finished | None = None
    in_words: keras.Model | None = None

    @property
    def four_bits(self) -> Callable[[keras.Model], keras.Model] | None:
        """Rounds dense kernels as the run's ``edge.rounding`` says; None where that is to the nearest.

        Where the server has no examples, the run's clients sum up what kernels read of theirs.
        """
        run, rows = self.experiment, self.calibration
        if run is None or run.config.edge.rounding == NEAREST:
            return None
        held = [rows] if len(rows) else [run.task.train.x[each] for each in run.rows]
        return lambda model: for_four_bits(run, model, *held)

    @property
    def stem(self) -> str:
        """Start of the files' names."""
        return "student" if self.experiment else self.path.stem


def open_source(
    path: Path,
    task: str,
    data: str,
    calibration: Path | None,
    seed: int,
    trust: bool = False,
    modules: Sequence[str] = (),
) -> Source:
    """Read a run, or a Keras model and its task.

    Args:
        path: A run's folder, or a .keras file (or an .h5 file of a whole model).
        task: Its name; of a run, empty or the run's.
        data: File of the task's data, where it needs one.
        calibration: An .npz with the array ``x``; None for the server's rows of a run, or some training examples.
        seed: Of all that is drawn.
        trust: Whether code that a run's configuration names, though ``task`` doesn't, or that a model holds may run.
        modules: Python modules that register layers of the model.

    Raises:
        InputError: It is neither, can't be read, or doesn't fit the task, or its configuration names code.
    """
    import_layers(modules)
    of = _of_run if path.is_dir() else _of_model
    source = _fitting(of(path, task, data, seed, trust))
    if calibration is None:
        return source
    return replace(source, calibration=read_rows(calibration, source.task.train.x))


def _of_run(folder: Path, task: str, data: str, seed: int, trust: bool) -> Source:
    config = folder / "config.toml"
    if not config.is_file():
        raise InputError(f"{folder}: not the folder of a run, it has no config.toml")
    if not (folder / "student.keras").is_file():
        raise InputError(f"{folder}: has no student.keras: the run was interrupted, or shared no whole model")
    settings = trusted_settings(config, trust, {"task": task}) | ({"data": data} if data else {})
    if task and task != settings.get("task"):
        raise InputError(f"{folder}: a run of task {settings.get('task')!r}, --task says {task!r}; leave --task out")
    experiment = experiment_of(absolute(settings))
    mean = read(folder).quality.teacher_mean
    stages = [Stage("teacher", "keras", mean)] if mean is not None else []
    rows = calibration_rows(experiment)
    model = load_model(folder / "student.keras", trust)
    tune, last = by_clients(experiment, seed), _finished(folder, experiment, trust)
    cut = for_devices(experiment, model)
    in_words = None if cut is model else cut
    return Source(folder, model, experiment.task, rows, tune, tuple(stages), experiment, last, in_words)


def _finished(folder: Path, experiment: Experiment, trust: bool) -> Finished | None:
    """Read the models that finishing rounds left beside the one that they began with."""
    edge, path = experiment.config.edge, folder / "student_finished.keras"
    if not (path.is_file() and (edge.reshapes or edge.sparsity)):
        return None
    aware = folder / "student_aware.keras"
    return Finished(load_model(path, trust), load_model(aware, trust) if edge.qat and aware.is_file() else None)


def _of_model(path: Path, task: str, data: str, seed: int, trust: bool) -> Source:
    if not task:
        raise InputError(f"{path}: a model's task must be given: --task NAME, see `fedkd tasks`")
    if not path.is_file():
        raise InputError(f"{path}: no such run or model; the folder of a run is wanted, or a .keras file")
    model = load_model(path, trust)
    found = load_task(task, ModelConfig(), data)
    order = generator(seed, Purpose.CALIBRATION).permutation(len(found.train))
    rows = found.train.x[np.sort(order[:_CALIBRATION_ROWS])]
    return Source(path, model, found, rows, fine_tuned(found, seed))


def _fitting(source: Source) -> Source:
    """Return a source whose model gives logits, or probabilities of classes: what answers are read off alike.

    Raises:
        InputError: The model can't be given the task's examples, or its outputs aren't what the task asks for.
    """
    model, row, links = source.model, source.task.train.x.shape[1:], source.task.objective.links
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        found = f"{len(model.inputs)} and {len(model.outputs)}"
        raise InputError(
            f"{source.path}: must have 1 input and 1 output, got {found}; save a model of one of each, as in"
            " keras.Model(model.inputs[0], model.outputs[0])"
        )
    takes, gives = tuple(model.inputs[0].shape[1:]), tuple(model.outputs[0].shape[1:])
    if takes != row or gives not in [(width,) for width in links]:
        wanted = " or ".join(f"({width},)" for width in links)
        raise InputError(
            f"{source.path}: doesn't fit task {source.task.name!r}, of inputs {row} and outputs {wanted}: it takes"
            f" {takes} and gives {gives}"
        )
    _check_numbers(source)
    source = replace(source, model=plain_input(model))
    model = source.model
    if source.task.objective.kind == "classification" and gives_probabilities(model):
        return source
    return replace(source, model=with_logits(model, links))


def _check_numbers(source: Source) -> None:
    """Raise InputError where a model of integers is given examples that it would cut to other numbers."""
    dtype = np.dtype(source.model.inputs[0].dtype)
    if dtype.kind not in "iu":
        return
    x, ends = source.task.train.x, np.iinfo(dtype)
    low, high = float(x.min()), float(x.max())
    if low < ends.min or high > ends.max or (x.dtype.kind == "f" and (x != np.round(x)).any()):
        raise InputError(
            f"{source.path}: takes {dtype}, whole numbers from {ends.min} to {ends.max}; those of task"
            f" {source.task.name!r} are {x.dtype} from {low:g} to {high:g}: give examples of whole numbers, or a model"
            " of a float32 input"
        )
