"""What a task is: data together with how to build the teacher and the student for them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from fedkd.config.config import Scalar
from fedkd.data.dataset import Dataset

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
