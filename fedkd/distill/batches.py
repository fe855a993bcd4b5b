"""The order in which a client's examples are trained on, and what goes into each batch."""

from dataclasses import dataclass

import numpy as np

from fedkd.base.errors import InputError
from fedkd.config.sections import TrainConfig
from fedkd.data.dataset import Dataset


def batches(examples: int, size: int, epochs: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Rows of each batch, shuffled anew each epoch, and each row's share of its batch.

    Args:
        examples: n, at least 1.
        size: Rows in a batch.
        epochs: Passes over the examples.
        rng: Draws the order.

    Returns:
        rows, int of shape (steps, size), and shares, float32 of the same shape, each row of which sums to 1. The last
        batch of an epoch is filled up with examples that have share 0, so that all batches have one shape.
    """
    steps = -(-examples // size)
    rows = np.concatenate([np.resize(rng.permutation(examples), steps * size) for _ in range(epochs)])
    real = np.tile(np.arange(steps * size) < examples, epochs).reshape(-1, size).astype(np.float32)
    return rows.reshape(-1, size), real / real.sum(1, keepdims=True)


def steps(examples: int, size: int, epochs: int) -> int:
    """Return how many batches ``batches`` makes."""
    return -(-examples // size) * epochs


@dataclass(frozen=True)
class Lot:
    """Some batches, each of its examples and, behind them, of examples without labels.

    Args:
        x: Inputs, (batches, rows, ...).
        y: Targets, (batches, rows, ...); of rows without labels some that count nothing.
        shares: Each row's share of its batch, float32 (batches, rows), in all that models teach each other.
        task_shares: The same in the task loss; None where it is ``shares``.
    """

    x: np.ndarray
    y: np.ndarray
    shares: np.ndarray
    task_shares: np.ndarray | None


class Schedule:
    """What a client trains on in a round, batch by batch.

    Args:
        data: Its examples, and those without labels where it has some.
        size: Examples in a batch.
        ratio: Examples without labels for each of them.
        epochs: Passes over the examples; those without labels are taken in turn, in an order of their own.
        weights: How much each example counts in the task loss, (n,); None where all count alike.
        rng: Draws the orders.

    Raises:
        InputError: It has no examples without labels, and a ratio above 0 asks for some.
    """

    def __init__(
        self, data: Dataset, size: int, ratio: int, epochs: int, weights: np.ndarray | None, rng: np.random.Generator
    ) -> None:
        self._data, self._ratio, self._weights = data, ratio, weights
        self.rows, self._own = batches(len(data), size, epochs, rng)
        self._others = self._drawn(rng)

    @property
    def inputs(self) -> list[np.ndarray]:
        """All inputs that it takes batches of."""
        held = self._data.unlabelled
        return [self._data.x] if held is None or not self._ratio else [self._data.x, held]

    def __len__(self) -> int:
        """Number of batches."""
        return len(self.rows)

    def _drawn(self, rng: np.random.Generator) -> np.ndarray:
        """Rows of those without labels, (steps, size * ratio): none comes again before all have come."""
        wanted, held = self.rows.size * self._ratio, self._data.unlabelled
        if not wanted:
            return np.zeros((len(self.rows), 0), int)
        if held is None:
            raise InputError("train.unlabelled: a client has no examples without labels; give its file an `unlabelled`")
        passes = [rng.permutation(len(held)) for _ in range(-(-wanted // len(held)))]
        return np.concatenate(passes)[:wanted].reshape(len(self.rows), -1)

    def lot(self, start: int, count: int) -> Lot:
        """Some batches from ``start`` on."""
        rows, own, others = (each[start : start + count] for each in (self.rows, self._own, self._others))
        x, y, task = self._data.x[rows], self._data.y[rows], own if self._weights is None else own * self._weights[rows]
        if self._data.unlabelled is None or not self._ratio:
            return Lot(x, y, own, None if self._weights is None else task)
        every = np.concatenate([own > 0, np.ones(others.shape, bool)], 1).astype(np.float32)
        return Lot(
            np.concatenate([x, self._data.unlabelled[others]], 1),
            np.concatenate([y] * (1 + self._ratio), 1),
            every / every.sum(1, keepdims=True),
            np.concatenate([task, np.zeros(others.shape, np.float32)], 1),
        )


def ratio_of(train: TrainConfig, models: int) -> int:
    """Examples without labels for each one with a label: none where a model has no other to learn from."""
    return train.unlabelled_ratio if train.without_labels and models == 2 else 0
