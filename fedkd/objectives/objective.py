"""What a task asks of a model: which targets it has, what is lost by an answer, and when two answers agree."""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from fedkd.objectives.metric import Metric


class Strata(NamedTuple):
    """Examples in groups of alike targets, by which they are dealt to clients and chosen.

    Attributes:
        ids: int (n,), the group of each example.
        names: Name of each group, of which some may be empty.
    """

    ids: np.ndarray
    names: tuple[str, ...]


@runtime_checkable
class Objective(Protocol):
    """A kind of learning problem; a task owns one.

    ``outputs`` below are what a model returns, float32 (n, k), and ``target`` are the targets of the same n examples.
    ``share`` is each example's share of a batch, float32 (n,), which sums to 1: padding has none. Losses take and
    return tensors, all else takes and returns numpy arrays and needs no TensorFlow.
    """

    @property
    def kind(self) -> str:
        """Name of the kind, as in ``task.json``."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """What the outputs stand for: classes, labels or targets."""
        ...

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Figures of quality; the first one decides where one has to."""
        ...

    @property
    def baseline_label(self) -> str:
        """What ``baseline`` answers, for people."""
        ...

    @property
    def links(self) -> dict[int, str]:
        """By the number of outputs a model may have, the activation that turns them into probabilities, or none."""
        ...

    @property
    def units(self) -> dict[str, tuple[float, ...]] | None:
        """``offset`` and ``scale`` of each output: an answer is output x scale + offset; None where they are logits."""
        ...

    def check_target(self, name: str, y: np.ndarray) -> np.ndarray:
        """Return targets (n, ...) in the dtype they are trained with.

        Raises:
            InputError: They have another shape or kind, or are out of range; begins with ``name``.
        """
        ...

    def strata(self, y: np.ndarray) -> Strata:
        """Group examples by their targets."""
        ...

    def loss(self, outputs: Any, target: Any, share: Any) -> Any:
        """The task loss, a scalar (Wu et al. 2022, eq. 5)."""
        ...

    def divergence(self, peer: Any, outputs: Any, share: Any, temperature: float) -> Any:
        """How far a model's outputs are from its peer's, from which it learns, a scalar (eqs 1-2)."""
        ...

    def answers(self, outputs: np.ndarray) -> np.ndarray:
        """What outputs decide: a class, labels or numbers, by example."""
        ...

    def agreement(self, outputs: np.ndarray, others: np.ndarray) -> float:
        """Share of the answers that two models, or two runtimes, have in common."""
        ...

    def baseline(self, y: np.ndarray) -> float:
        """The deciding metric of the best constant answer to targets y."""
        ...


def quality(objective: Objective, outputs: np.ndarray, target: np.ndarray) -> dict[str, float]:
    """Return every metric of outputs (n, k), n >= 1, by its name."""
    return {metric.name: metric.of(outputs, target) for metric in objective.metrics}
