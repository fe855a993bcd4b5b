"""One of two classes for each example, where finding the second one is what counts."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fedkd.base.errors import InputError
from fedkd.objectives.classification import Classification
from fedkd.objectives.metric import Metric, Of
from fedkd.objectives.scores import f1, precision, recall


@dataclass(frozen=True)
class Detection(Classification):
    """Two exclusive classes as ``Classification`` has them, judged by F1, precision and recall of the second one.

    Accuracy says little where that is rare: who never finds it is right of most examples.

    Args:
        names: Of both classes.
    """

    baseline_label = "always the class that is looked for"

    def __post_init__(self) -> None:
        """Check the names."""
        super().__post_init__()
        if len(self.names) != 2:
            raise InputError(f"classes must be 2 where the second is to be found, got {len(self.names)}")

    @cached_property
    def metrics(self) -> tuple[Metric, ...]:
        """F1, precision and recall of the second class, then those of ``Classification``."""
        scores = {"F1": f1, "precision": precision, "recall": recall}
        found = [Metric(label.lower(), label, "%", of=self._by(score)) for label, score in scores.items()]
        return (*found, *(metric for metric in Classification(self.names).metrics if metric.name != "f1"))

    def baseline(self, y: np.ndarray) -> float:
        """F1 of always naming the second class."""
        return f1(np.ones(len(y), int), y)

    def _by(self, score: Of) -> Of:
        """A score of classes as one of outputs."""
        return lambda outputs, y: score(self.answers(outputs), y)
