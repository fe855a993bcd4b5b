"""What a task is, and how one is found by its name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fedkd import runtime
from fedkd.config import ModelConfig, Scalar
from fedkd.data.dataset import Dataset, checked
from fedkd.errors import InputError
from fedkd.user_code import import_function

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True, eq=False)
class Task:
    """Data and models of one learning problem.

    Args:
        name: As in ``--task``.
        classes: Name of each class.
        train: Training examples, to be dealt to the clients.
        test: Examples on which every model is measured.
        teacher: Builds the large model; its output is as ``fedkd.models`` says, or plain logits.
        student: Builds the small model that is shared.
        augment: Changes a batch of inputs at random while training, both models' alike; None for no change.
        defaults: Settings that suit the task, e.g. ``{"train.epochs": 5}``; methods and users override them.
    """

    name: str
    classes: tuple[str, ...]
    train: Dataset
    test: Dataset
    teacher: Callable[[], "keras.Model"]
    student: Callable[[], "keras.Model"]
    augment: Callable[[np.ndarray, np.random.Generator], np.ndarray] | None = None
    defaults: Mapping[str, Scalar] = field(default_factory=dict)

    @property
    def majority(self) -> float:
        """Accuracy on the test set of always naming its most frequent class."""
        return float(np.bincount(self.test.y).max() / len(self.test))


def load_task(name: str, models: ModelConfig) -> Task:
    """Find a task: a built-in name, ``npz:PATH``, or ``package.module:function`` of the user's own.

    Args:
        name: As above; a user's function takes no argument and returns a ``Task``.
        models: Sizes for the built-in models.

    Raises:
        InputError: No such task, or its data break a rule.
    """
    from fedkd.tasks import digits, npz

    if name == "digits":
        task = digits.load(models)
    elif name.startswith("npz:"):
        task = npz.load(Path(name.removeprefix("npz:")), models)
    elif ":" in name:
        task = _from_python(name)
    else:
        raise InputError(f"unknown task {name!r}; known: {', '.join(TASKS)}")
    for split, data in (("train", task.train), ("test", task.test)):
        checked(task.name, split, data, len(task.classes))
    return task


TASKS = {
    "digits": "scikit-learn's handwritten digits, 8x8 pixels, 10 classes; bundled, needs no network",
    "npz:PATH": "any .npz with x_train y_train x_test y_test classes: images, windows of sensor data, or word ids",
    "package.module:task": "your own function that returns a fedkd.tasks.task.Task",
}


def _from_python(name: str) -> Task:
    runtime.configure()  # the user's module may use TensorFlow at once
    try:
        function = import_function(name)
    except ModuleNotFoundError as error:
        raise InputError(f"task {name!r}: no module {error.name!r}; run from its folder or install it") from None
    except AttributeError:
        module_name, _, function_name = name.partition(":")
        raise InputError(f"task {name!r}: module {module_name!r} has no function {function_name!r}") from None
    try:
        task = function()
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"task {name!r}: {type(error).__name__}: {error}") from error
    if not isinstance(task, Task):
        raise InputError(f"task {name!r}: must return a fedkd.tasks.task.Task, got {type(task).__name__}")
    return task
