"""One class of several for each example."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fedkd.base.errors import InputError
from fedkd.objectives.metric import Metric
from fedkd.objectives.objective import Strata
from fedkd.objectives.scores import brier, f1, wilson


@dataclass(frozen=True)
class Classification:
    """Exclusive classes; targets are int32 (n,), outputs logits (n, classes), or (n, 1) of one sigmoid unit for two.

    Args:
        names: Name of each class, at least two.
    """

    names: tuple[str, ...]

    kind = "classification"
    units = None
    baseline_label = "always the largest class"

    def __post_init__(self) -> None:
        """Check the names."""
        if len(self.names) < 2:
            raise InputError(f"classes must be at least 2, got {len(self.names)}: {', '.join(self.names)}")

    @cached_property
    def metrics(self) -> tuple[Metric, ...]:
        """Accuracy with Wilson's interval, the F1 of the second class where there are two, and the Brier score."""
        accuracy = Metric("accuracy", "accuracy", "%", of=self._accuracy, interval=self._interval)
        positive = Metric("f1", "F1", "%", of=lambda outputs, y: f1(self.answers(outputs), y))
        calibrated = Metric("brier", "Brier score", better="lower", of=brier)
        return (accuracy, positive, calibrated) if len(self.names) == 2 else (accuracy, calibrated)

    @property
    def links(self) -> dict[int, str]:
        """Softmax over the classes; a sigmoid for one unit where there are two."""
        return {len(self.names): "softmax"} | ({1: "sigmoid"} if len(self.names) == 2 else {})

    def check_target(self, name: str, y: np.ndarray) -> np.ndarray:
        """Return classes, int32 (n,).

        Raises:
            InputError: They aren't whole numbers of shape (n,), or out of range.
        """
        if not isinstance(y, np.ndarray) or y.ndim != 1 or y.dtype.kind not in "iu":
            found = f"{y.dtype} of shape {y.shape}" if isinstance(y, np.ndarray) else type(y).__name__
            raise InputError(f"{name} must be whole numbers of shape (n,), got {found}")
        if len(y) and not 0 <= y.min() <= y.max() < len(self.names):
            worst = int(y.max() if y.max() >= len(self.names) else y.min())
            raise InputError(f"{name} holds label {worst}, labels must be from 0 to {len(self.names) - 1}")
        return y.astype(np.int32, copy=False)

    def strata(self, y: np.ndarray) -> Strata:
        """Group examples by class."""
        return Strata(y, self.names)

    def loss(self, outputs: Any, target: Any, share: Any) -> Any:
        """Cross-entropy (Wu et al. 2022, eq. 5)."""
        from fedkd.objectives.losses import cross_entropy, two_logits

        return cross_entropy(two_logits(outputs), target, share)

    def divergence(self, peer: Any, outputs: Any, share: Any, temperature: float) -> Any:
        """KL from the peer's distribution over classes (eqs 1-2)."""
        from fedkd.objectives.losses import kl, two_logits

        return kl(two_logits(peer), two_logits(outputs), share, temperature)

    def answers(self, outputs: np.ndarray) -> np.ndarray:
        """The class of each example, int (n,): that of the largest logit, or of the sign of a sigmoid unit's."""
        return (outputs[:, 0] > 0).astype(int) if outputs.shape[-1] == 1 else outputs.argmax(-1)

    def agreement(self, outputs: np.ndarray, others: np.ndarray) -> float:
        """Share of the examples that get one class from both."""
        return float(np.mean(self.answers(outputs) == self.answers(others)))

    def baseline(self, y: np.ndarray) -> float:
        """Accuracy of always naming the most frequent class."""
        return float(np.bincount(y).max() / len(y))

    def _accuracy(self, outputs: np.ndarray, y: np.ndarray) -> float:
        return float(np.mean(self.answers(outputs) == y))

    def _interval(self, outputs: np.ndarray, y: np.ndarray) -> tuple[float, float]:
        return wilson(int(np.sum(self.answers(outputs) == y)), len(y))
