"""What a task is: data together with how to build the teacher and the student for them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from fedkd.base.errors import InputError
from fedkd.config.config import Scalar
from fedkd.data.dataset import Dataset
from fedkd.data.standardise import Standardisation
from fedkd.objectives.classification import Classification
from fedkd.objectives.objective import Objective
from fedkd.tasks.wanted import Wanted

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True, eq=False)
class Task:
    """Data and models of one learning problem.

    Args:
        name: As in ``--task``.
        classes: Name of each class; of another objective, its names.
        train: Training examples, to be dealt to the clients.
        test: Examples on which every model is measured.
        teacher: Builds the large model; its output is as ``fedkd.models`` says, or plain logits.
        student: Builds the small model that is shared.
        augment: Changes a batch of inputs at random while training, both models' alike; None for no change.
        defaults: Settings that suit the task, e.g. ``{"train.epochs": 5}``; methods and users override them.
        objective: What is learned, and by which metrics it is judged; one of exclusive classes where None is given.
        teachers: Builders of the teachers of clients, by their numbers, that train another than ``teacher``: a smaller
            one on a smaller machine. Clients with one and the same builder are of one kind.
        inputs: How rows of a table became the examples above; None where examples are as they were measured.
        words: How many word ids the models know; 0 where that is told by the largest of the examples above, or where
            inputs are no ids.
    """

    name: str
    classes: tuple[str, ...]
    train: Dataset
    test: Dataset
    teacher: Callable[[], "keras.Model"]
    student: Callable[[], "keras.Model"]
    augment: Callable[[np.ndarray, np.random.Generator], np.ndarray] | None = None
    defaults: Mapping[str, Scalar] = field(default_factory=dict)
    objective: Objective = None  # type: ignore[assignment]  # never None once it is made
    teachers: Mapping[int, Callable[[], "keras.Model"]] = field(default_factory=dict)
    inputs: Standardisation | None = None
    words: int = 0

    def __post_init__(self) -> None:
        """Give the task its objective, and its names their one source.

        Raises:
            InputError: The classes aren't the objective's names.
        """
        if self.objective is None:
            object.__setattr__(self, "objective", Classification(tuple(self.classes)))
        if self.classes and tuple(self.classes) != self.objective.names:
            names = ", ".join(self.objective.names)
            raise InputError(
                f"task {self.name!r}: classes must be its objective's ({names}) or empty, got {self.classes}"
            )
        object.__setattr__(self, "classes", self.objective.names)

    def kind(self, client: int) -> str:
        """Return the number of the first client with the same teacher of its own, empty for one with ``teacher``."""
        own = self.teachers.get(client)
        return "" if own is None else str(min(other for other, builder in self.teachers.items() if builder is own))

    @cached_property
    def wanted(self) -> Wanted:
        """How a node's own examples must look."""
        return Wanted.of(self.train.x, self.test.x, self.objective, self.inputs, self.words)

    @property
    def baseline(self) -> float:
        """The deciding metric, on the test set, of the best constant answer."""
        return self.objective.baseline(self.test.y)
