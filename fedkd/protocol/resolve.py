"""Settings made an experiment: defaults, the task's, the method's and the user's, and who gets which rows."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from fedkd.base.errors import InputError
from fedkd.base.seeding import Purpose, generator
from fedkd.config.config import Config, Scalar
from fedkd.config.edge import CALIBRATED
from fedkd.config.methods import method
from fedkd.config.settings import build, build_of_task, check_settings, hash_of, to_settings
from fedkd.data.dataset import Dataset
from fedkd.data.partition import choose, chosen_clients, client_count, partition
from fedkd.distill.class_weights import class_weights
from fedkd.exchange.chain import chain_of
from fedkd.exchange.compressors import compressor
from fedkd.protocol.experiment import Experiment
from fedkd.protocol.unlabelled import with_unlabelled
from fedkd.tasks.registry import load_task
from fedkd.tasks.task import Task


def resolve(settings: Mapping[str, Scalar], load: Callable[..., Task] = load_task) -> Experiment:
    """Turn settings into an experiment: defaults, then the task's, then the method's, then what is given.

    Args:
        settings: Dotted keys, see ``fedkd.config.settings``.
        load: Finds the task; who resolves many settings may keep the tasks.

    Raises:
        InputError: An unknown key, task or method, or a value that breaks a rule.
    """
    given = check_settings(settings)
    first = build_of_task(given)
    task = load(first.task, first.model, first.data)
    preset = method(first.method)
    if given.get("train.unlabelled") == "" and preset.settings.get("train.unlabelled"):
        given["train.unlabelled"] = "none"  # what is empty counts as not given in a Flower run
    config = build({**task.defaults, **preset.settings, **given, **preset.fixed})
    # What is the user's own must be there before anything begins.
    chain_of(config.exchange)
    for way in (config.exchange.up, config.exchange.down):
        compressor(way, config.exchange, config.exchange.energy_start)
    if config.train.class_weights:
        class_weights(config.train.class_weights, task.objective)
    _check_weights("teacher", config.model.teacher_weights, "one that `fedkd pretrain` writes")
    _check_weights("student", config.model.student_weights, "the student.keras of a run, say")
    whole, chosen = task, chosen_rows(task, config) if config.partition.examples else None
    if chosen is not None:
        task = replace(task, train=task.train.take(chosen))
    rows = chosen_clients(task.train, config.partition)
    task = task if len(rows) == len(task.train) else replace(task, train=task.train.take(rows))
    task = with_unlabelled(whole, task, chosen, config)
    calibration, rest = _calibration_rows(task, config)
    if config.partition.kind == "nodes":
        return Experiment(config, task, calibration, ())
    try:
        return _dealt(config, task, calibration, rest)
    except InputError as error:
        if not len(calibration) or ":" in config.partition.kind:
            raise
        if {*config.edge.wanted} & {*CALIBRATED}:
            aside = f"edge.calibration has set {len(calibration)} examples aside for the server"
            raise InputError(f"{error}; {aside}") from None
    # Else the same rows are set aside whatever files are wanted: which these are doesn't change what is trained.
    return _dealt(config, task, calibration[:0], np.arange(len(task.train)))


def _check_weights(role: str, file: str, which: str) -> None:
    if file and not Path(file).is_file():
        raise InputError(f"{file}: no such file; model.{role}_weights takes {which}")


def _dealt(config: Config, task: Task, calibration: np.ndarray, rest: np.ndarray) -> Experiment:
    """The experiment whose clients are dealt the rows that are left.

    Raises:
        InputError: They are too few for the partition.
    """
    # Row numbers stand for the examples, which may be large and needn't be copied to be dealt.
    owners = None if task.train.owners is None else task.train.owners[rest]
    data = Dataset(rest, task.objective.strata(task.train.y).ids[rest], owners)
    config = replace(config, clients=client_count(config.clients, data, config.partition))
    parts = partition(data, config.clients, config.partition, generator(config.seed, Purpose.PARTITION))
    return Experiment(config, task, calibration, tuple(rest[rows] for rows in parts))


def chosen_rows(task: Task, config: Config) -> np.ndarray:
    """Ascending rows of the training examples that an experiment uses, see ``partition.examples``."""
    groups = replace(task.train, y=task.objective.strata(task.train.y).ids)
    return choose(groups, config.partition, generator(config.seed, Purpose.EXAMPLES))


def _calibration_rows(task: Task, config: Config) -> tuple[np.ndarray, np.ndarray]:
    """Set aside the server's rows, never more than a tenth of the examples that are dealt to clients."""
    dealt = config.partition.kind != "nodes"
    needed = not (config.edge.qat or config.edge.calibration_file)
    count = min(config.edge.calibration, len(task.train) // (10 if dealt else 1)) if needed else 0
    order = generator(config.seed, Purpose.CALIBRATION).permutation(len(task.train))
    if dealt and config.clients > len(task.train):
        raise InputError(
            f"clients must be at most the number of training examples, {len(task.train)}, got {config.clients}"
        )
    return np.sort(order[:count]), np.sort(order[count:])


# What a run needs beside the experiment itself; never part of it, so that it can't change a result.
RUN_KEYS = ("name", "out", "engine", "overwrite", "resume", "from_round", "experiment")


def experiment_of(run_config: Mapping[str, Scalar]) -> Experiment:
    """Return the experiment of a Flower run's configuration; one and the same for all calls of a process.

    A run of this process names by ``experiment`` what ``hold`` keeps; any other configuration holds the settings. An
    empty text means "not set": Flower takes only keys that the app's own file lists, and a key that is listed always
    has a value.
    """
    if found := _kept.get(run_config.get("experiment", "")):
        return found
    given = _given(run_config)
    with _lock:
        if given not in _kept:
            _keep(given, resolve(dict(given)))
        return _kept[given]


def hold(experiment: Experiment) -> str:
    """Keep an experiment as that of the process, and return what ``experiment`` is in the configuration of its apps."""
    with _lock:
        if _kept.get(hash_of(experiment.config)) is not experiment:
            _keep(_given(to_settings(experiment.config)), experiment)
    return hash_of(experiment.config)


def forget() -> None:
    """Let go of the experiment of the process."""
    with _lock:
        _kept.clear()


def _keep(given: "_Given", experiment: Experiment) -> None:
    _kept.clear()
    for key in (given, _given(to_settings(experiment.config)), hash_of(experiment.config)):
        _kept[key] = experiment


def _given(run_config: Mapping[str, Scalar]) -> "_Given":
    return tuple(sorted((key, value) for key, value in run_config.items() if key not in RUN_KEYS and value != ""))


_Given = tuple[tuple[str, Scalar], ...]
# The experiment of the process, by the settings it was asked for with, by all its settings and by their hash: the
# data are large, and compiling takes seconds.
_kept: dict[object, Experiment] = {}
_lock = threading.Lock()
