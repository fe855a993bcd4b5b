"""What a run was given beside its settings, by its content: moved files are the same, changed ones are not."""

from collections.abc import Mapping
from pathlib import Path

from fedkd.base.contents import hash_array, hash_file
from fedkd.config.config import Config
from fedkd.data.dataset import Dataset
from fedkd.tasks.task import Task

# In words, for what is said of one that has changed.
WEIGHTS = {
    "teacher": "the teacher's weights file (model.teacher_weights)",
    "student": "the student's weights file (model.student_weights)",
}
CALIBRATION = "the calibration file (edge.calibration_file)"

Contents = Mapping[str, str]


def contents_of(task: Task, config: Config) -> dict[str, str]:
    """Hash what server and clients are both given: the task's examples, and the files of weights if any.

    A node's own examples are no part of it, nor is what stays with the server.

    Returns:
        SHA-256 (64 hex digits) by what was hashed: ``y_train`` and the like, and one of ``WEIGHTS``.

    Raises:
        InputError: The file can't be read.
    """
    found = _arrays("train", task.train) | _arrays("test", task.test)
    files = {"teacher": config.model.teacher_weights, "student": config.model.student_weights}
    return found | {WEIGHTS[role]: hash_file(Path(file)) for role, file in files.items() if file}


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
    files = [name for name in names if name in (*WEIGHTS.values(), CALIBRATION)]
    arrays = ", ".join(name for name in names if name not in files)
    examples = [f"the task's examples differ from those the run began with ({arrays})"] if arrays else []
    return examples + [f"{file} differs from the one the run began with" for file in files]


def _arrays(split: str, data: Dataset) -> dict[str, str]:
    arrays = {"x": data.x, "y": data.y, "client": data.owners, "segment": data.segments}
    return {f"{name}_{split}": hash_array(array) for name, array in arrays.items() if array is not None}
