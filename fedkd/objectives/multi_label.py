"""Any number of labels for each example."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fedkd.base.errors import InputError
from fedkd.objectives.metric import Metric
from fedkd.objectives.objective import Strata
from fedkd.objectives.scores import average_precision, f1


@dataclass(frozen=True)
class MultiLabel:
    """Labels that don't exclude each other; targets are 0 or 1, float32 (n, labels), outputs logits (n, labels).

    Args:
        names: Name of each label.
    """

    names: tuple[str, ...]

    kind = "multi_label"
    units = None
    baseline_label = "every label always"

    def __post_init__(self) -> None:
        """Check the names."""
        if not self.names:
            raise InputError("labels must be at least 1, got none")

    @cached_property
    def metrics(self) -> tuple[Metric, ...]:
        """F1 over all decisions, the mean F1 of the labels, and the mean average precision of the labels."""
        return (
            Metric("micro_f1", "micro F1", "%", of=lambda outputs, y: f1(self.answers(outputs).ravel(), y.ravel())),
            Metric("macro_f1", "macro F1", "%", of=self._macro_f1),
            Metric("map", "mean average precision", "%", of=_mean_average_precision),
        )

    @property
    def links(self) -> dict[int, str]:
        """A sigmoid for each label."""
        return {len(self.names): "sigmoid"}

    def check_target(self, name: str, y: np.ndarray) -> np.ndarray:
        """Return labels, float32 (n, labels).

        Raises:
            InputError: They have another shape, or hold anything but 0 and 1.
        """
        if not isinstance(y, np.ndarray) or y.ndim != 2 or y.shape[1] != len(self.names) or y.dtype.kind not in "biuf":
            found = f"{y.dtype} of shape {y.shape}" if isinstance(y, np.ndarray) else type(y).__name__
            raise InputError(f"{name} must be 0 or 1 of shape (n, {len(self.names)}), a column per label, got {found}")
        if not np.isin(y, (0, 1)).all():
            raise InputError(f"{name} must hold 0 and 1 alone, got {y[~np.isin(y, (0, 1))].flat[0]}")
        return y.astype(np.float32, copy=False)

    def strata(self, y: np.ndarray) -> Strata:
        """Group examples by the rarest of their labels; the last group has none."""
        rarest = np.argsort(y.sum(0), kind="stable")
        first = y[:, rarest].argmax(1) if len(y) else np.zeros(0, int)
        ids = np.where(y.any(1), rarest[first], len(self.names)) if len(y) else first
        return Strata(ids.astype(np.int32), (*self.names, "none"))

    def loss(self, outputs: Any, target: Any, share: Any) -> Any:
        """Binary cross-entropy, the mean over labels."""
        from fedkd.objectives.losses import binary_cross_entropy

        return binary_cross_entropy(outputs, target, share)

    def divergence(self, peer: Any, outputs: Any, share: Any, temperature: float) -> Any:
        """KL from the peer's probability of each label, the mean over labels."""
        from fedkd.objectives.losses import binary_kl

        return binary_kl(peer, outputs, share, temperature)

    def answers(self, outputs: np.ndarray) -> np.ndarray:
        """Which labels an example has, 0 or 1 (n, labels): those whose probability is above a half."""
        return (outputs > 0).astype(int)

    def agreement(self, outputs: np.ndarray, others: np.ndarray) -> float:
        """Share of the single decisions that are the same in both."""
        return float(np.mean(self.answers(outputs) == self.answers(others)))

    def baseline(self, y: np.ndarray) -> float:
        """Micro F1 of giving every example every label."""
        return f1(np.ones(y.size, int), y.ravel())

    def _macro_f1(self, outputs: np.ndarray, y: np.ndarray) -> float:
        found = self.answers(outputs)
        return float(np.mean([f1(found[:, i], y[:, i]) for i in range(y.shape[1])]))


def _mean_average_precision(outputs: np.ndarray, y: np.ndarray) -> float:
    """Mean over the labels that any example has."""
    held = np.flatnonzero(y.any(0))
    return float(np.mean([average_precision(outputs[:, i], y[:, i]) for i in held])) if len(held) else 0.0
