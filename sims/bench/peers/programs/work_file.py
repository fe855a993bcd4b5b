"""The work a peer is given and the result it hands back, both as .npz; shared by all programs."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Work:
    """Federated averaging to be done.

    Args:
        weights: Initial kernels and biases as Keras lays them out: two convolutions and the dense layer after them.
        x: Images, float32 (clients, examples, 28, 28, 1).
        y: Labels, int32 (clients, examples).
        rows: Examples of each batch of each client in each round, int32 (rounds, clients, batches, batch size).
        learning_rate: That of the clients' plain SGD.
    """

    weights: list[np.ndarray]
    x: np.ndarray
    y: np.ndarray
    rows: np.ndarray
    learning_rate: float

    @property
    def rounds(self) -> int:
        """Rounds to run."""
        return len(self.rows)

    @property
    def clients(self) -> int:
        """Clients, all of which train in every round."""
        return len(self.x)

    @property
    def batch_size(self) -> int:
        """Examples per batch."""
        return int(self.rows.shape[-1])

    def examples(self, number: int, client: int) -> tuple[np.ndarray, np.ndarray]:
        """A client's images and labels in the order it sees them in a round, counted from 0."""
        order = self.rows[number, client].ravel()
        return self.x[client, order], self.y[client, order]


def load(path: Path | str) -> Work:
    """Read the work."""
    with np.load(path, allow_pickle=False) as file:
        weights = [file[f"weight_{i}"] for i in range(6)]
        return Work(weights, file["x"], file["y"], file["rows"], float(file["learning_rate"]))


def save(path: Path | str, stamps: Sequence[float], weights: Sequence[np.ndarray]) -> None:
    """Write the result.

    Args:
        path: Where to.
        stamps: Seconds by the clock as training began and as each round ended.
        weights: The last global ones, laid out as they came.
    """
    named: dict[str, Any] = {f"weight_{i}": np.asarray(weight, np.float32) for i, weight in enumerate(weights)}
    np.savez(path, seconds=np.diff(np.asarray(stamps, np.float64)), **named)


def paths() -> tuple[str, str]:
    """Work and result, as the command line names them."""
    work, result = sys.argv[1:]
    return str(Path(work).resolve()), str(Path(result).resolve())


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
