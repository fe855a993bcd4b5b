"""What a run was given beside its settings, by its content: moved files are the same, changed ones are not."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from fedkd.base.contents import hash_array, hash_file, hash_record
from fedkd.base.encoder import CONFIG
from fedkd.base.encoder import WEIGHTS as WEIGHTS_FILE
from fedkd.config.config import Config
from fedkd.data.dataset import Dataset
from fedkd.tasks.task import Task

# In words, for what is said of one that has changed.
WEIGHTS = {
    "teacher": "the teacher's weights file (model.teacher_weights)",
    "student": "the student's weights file (model.student_weights)",
}
CALIBRATION = "the calibration file (edge.calibration_file)"
PRETRAINED = "the pretrained model (model.pretrained)"
UNLABELLED = "what has no labels (train.unlabelled)"
DEAL = "what the function of partition.kind deals"

Contents = Mapping[str, str]


def contents_of(task: Task, config: Config) -> dict[str, str]:
    """Hash what server and clients are both given: the task's examples, and the files of weights if any.

    A node's own examples are no part of it, nor is what stays with the server.

    Returns:
        SHA-256 (64 hex digits) by what was hashed: ``y_train`` and the like, ``UNLABELLED``,
        ``PRETRAINED``, those of ``WEIGHTS``.

    Raises:
        InputError: The file can't be read.
    """
    found = _arrays("train", task.train) | _arrays("test", task.test)
    if task.train.unlabelled is not None:
        found[UNLABELLED] = hash_array(task.train.unlabelled)
    if folder := config.model.pretrained:
        parts = {name: hash_file(Path(folder) / name) for name in (CONFIG, WEIGHTS_FILE)}
        found[PRETRAINED] = hash_record(parts)
    files = {"teacher": config.model.teacher_weights, "student": config.model.student_weights}
    return found | {WEIGHTS[role]: hash_file(Path(file)) for role, file in files.items() if file}


def deal_of(rows: Sequence[np.ndarray], config: Config) -> dict[str, str]:
    """Hash who holds what where a function of the user's own says so; empty where settings and examples say it.

    Args:
        rows: For each client the training rows it holds.
        config: Whose partition it is.
    """
    if ":" not in config.partition.kind or not rows:
        return {}
    owners = np.repeat(np.arange(len(rows)), [len(held) for held in rows])
    return {DEAL: hash_array(np.stack([owners, np.concatenate(rows)]))}


def calibration_of(config: Config) -> dict[str, str]:
    """Hash the calibration file, which stays with the server; empty where there is none.

    Raises:
        InputError: It can't be read.
    """
    file = config.edge.calibration_file
    return {CALIBRATION: hash_file(Path(file))} if file else {}


def changed_contents(before: Contents, now: Contents) -> list[str]:
    """Say what differs from before, in a sentence each; of the examples, which arrays.

    >>> changed_contents({"x_train": "1", "y_train": "2"}, {"x_train": "1", "y_train": "3"})
    ["the task's examples differ from those the run began with (y_train)"]
    """
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    files = [name for name in names if name in (*WEIGHTS.values(), CALIBRATION, PRETRAINED, UNLABELLED, DEAL)]
    arrays = ", ".join(name for name in names if name not in files)
    examples = [f"the task's examples differ from those the run began with ({arrays})"] if arrays else []
    return examples + [f"{file} differs from the one the run began with" for file in files]


def _arrays(split: str, data: Dataset) -> dict[str, str]:
    arrays = {"x": data.x, "y": data.y, "client": data.owners, "segment": data.segments}
    return {f"{name}_{split}": hash_array(array) for name, array in arrays.items() if array is not None}
