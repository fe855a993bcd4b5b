"""Which of some candidates are clicked."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fedkd.base.errors import InputError
from fedkd.objectives.metric import Metric
from fedkd.objectives.objective import Strata
from fedkd.objectives.ranked import RankedLists
from fedkd.objectives.scores import mean_interval

ABSENT = -1  # in the place of a candidate that isn't there


@dataclass(frozen=True)
class Ranking:
    """Candidates of an impression in the order of their scores; outputs (n, candidates) are these, higher is better.

    Targets are int32 (n, 1 + candidates): the number of the impression, then of each candidate 1 if it was clicked, 0
    if not, and -1 where there is none. Examples of one number are parts of one impression: figures are over whole
    impressions, of as many candidates as they have, and then the mean of these.

    Args:
        names: Of a row's candidates, at least two.
    """

    names: tuple[str, ...]

    kind = "ranking"
    units = None
    baseline_label = "all candidates alike"

    def __post_init__(self) -> None:
        """Check the names."""
        if len(self.names) < 2:
            raise InputError(f"candidates must be at least 2, got {len(self.names)}")

    @classmethod
    def of(cls, candidates: int) -> "Ranking":
        """Return the objective of rows of so many candidates."""
        return cls(tuple(f"candidate {i}" for i in range(1, candidates + 1)))

    @cached_property
    def metrics(self) -> tuple[Metric, ...]:
        """AUC, MRR, nDCG@5 and nDCG@10, means over impressions, as MIND's evaluation has them."""
        figures: dict[str, Callable[[RankedLists], np.ndarray]] = {
            "AUC": RankedLists.auc,
            "MRR": RankedLists.mrr,
            "nDCG@5": lambda lists: lists.ndcg(5),
            "nDCG@10": lambda lists: lists.ndcg(10),
        }
        return tuple(_metric(label, figure) for label, figure in figures.items())

    @property
    def links(self) -> dict[int, str]:
        """Softmax over a row's candidates."""
        return {len(self.names): "softmax"}

    def check_target(self, name: str, y: np.ndarray) -> np.ndarray:
        """Return targets, int32 (n, 1 + candidates).

        Raises:
            InputError: They have another shape or kind, or hold anything but -1, 0 and 1 behind the number, or an
                impression has no click, or nothing but clicks.
        """
        width = 1 + len(self.names)
        if not isinstance(y, np.ndarray) or y.ndim != 2 or y.shape[1] != width or y.dtype.kind not in "iu":
            found = f"{y.dtype} of shape {y.shape}" if isinstance(y, np.ndarray) else type(y).__name__
            raise InputError(f"{name} must be whole numbers of shape (n, {width}), impression and clicks, got {found}")
        if not np.isin(y[:, 1:], (ABSENT, 0, 1)).all():
            odd = y[:, 1:][~np.isin(y[:, 1:], (ABSENT, 0, 1))][0]
            raise InputError(f"{name} must say 1, 0 or -1 (none there) of each candidate, got {odd}")
        if not len(y):
            return y.astype(np.int32)
        numbers, places = np.unique(y[:, 0], return_inverse=True)
        for what, value in (("click", 1), ("candidate that wasn't clicked", 0)):
            held = np.bincount(places, (y[:, 1:] == value).sum(1), len(numbers))
            if not held.all():
                raise InputError(f"{name}: impression {numbers[held == 0][0]} has no {what}; leave such ones out")
        return y.astype(np.int32, copy=False)

    def strata(self, y: np.ndarray) -> Strata:
        """One group: impressions have no classes."""
        return Strata(np.zeros(len(y), np.int32), ("impressions",))

    def loss(self, outputs: Any, target: Any, share: Any) -> Any:
        """Cross-entropy of a row's clicks with softmax over the candidates that are there (Wu et al. 2019, eq. 8)."""
        from fedkd.objectives.losses import clicks_cross_entropy

        return clicks_cross_entropy(outputs, target[:, 1:], share)

    def divergence(self, peer: Any, outputs: Any, share: Any, temperature: float) -> Any:
        """KL from the peer's distribution over a row's candidates, all of them."""
        from fedkd.objectives.losses import kl

        return kl(peer, outputs, share, temperature)

    def answers(self, outputs: np.ndarray) -> np.ndarray:
        """Place of the best candidate of each row, int (n,)."""
        return outputs.argmax(-1)

    def agreement(self, outputs: np.ndarray, others: np.ndarray) -> float:
        """Share of the rows of which both put one candidate first."""
        return float(np.mean(self.answers(outputs) == self.answers(others)))

    def baseline(self, y: np.ndarray) -> float:
        """AUC of giving all candidates one score."""
        return self.metrics[0].of(np.zeros((len(y), len(self.names)), np.float32), y)


def _metric(label: str, figure: Callable[[RankedLists], np.ndarray]) -> Metric:
    """A metric that is the mean of a figure over impressions."""

    def each(outputs: np.ndarray, y: np.ndarray) -> np.ndarray:
        return figure(_lists(outputs, y))

    def mean(outputs: np.ndarray, y: np.ndarray) -> float:
        return float(np.mean(each(outputs, y)))

    def interval(outputs: np.ndarray, y: np.ndarray) -> tuple[float, float]:
        return mean_interval(each(outputs, y))

    return Metric(label.lower().replace("@", ""), label, "%", of=mean, interval=interval)


def _lists(outputs: np.ndarray, y: np.ndarray) -> RankedLists:
    """The candidates that are there, by their impressions."""
    there = y[:, 1:] != ABSENT
    numbers = np.broadcast_to(y[:, :1], there.shape)
    return RankedLists(numbers[there], outputs[there], y[:, 1:][there])
