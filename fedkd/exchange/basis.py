"""Directions that a server and all its clients know without sending them: those of the last broadcast update."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedkd.base.tensors import Spec


@dataclass(frozen=True)
class Basis:
    """Orthonormal directions on one side of a matrix (P, Q).

    Args:
        side: ``left`` or ``right``.
        vectors: float32, (P, K) on the left, (Q, K) on the right.
    """

    side: str
    vectors: np.ndarray

    @property
    def rank(self) -> int:
        """K."""
        return int(self.vectors.shape[1])

    def coordinates(self, matrix: np.ndarray) -> np.ndarray:
        """Return what a matrix (P, Q) is in these directions, (P, K) in right ones, (K, Q) in left ones."""
        product: np.ndarray = matrix @ self.vectors if self.side == "right" else self.vectors.T @ matrix
        return product

    def numbers(self, rows: int, columns: int) -> tuple[int, int]:
        """Shape of the coordinates of a matrix with so many rows and columns."""
        return (rows, self.rank) if self.side == "right" else (self.rank, columns)


Bases = Sequence[Basis | None]


def shared_bases(
    previous: Sequence[np.ndarray] | None, spec: Spec, round_: int, rank: int, rng: np.random.Generator
) -> list[Basis | None]:
    """Return the directions for each tensor's update in a round: right ones in odd rounds, left ones in even.

    Each round so does one half of a power iteration on the sum of all updates, from where the last one ended.

    Args:
        previous: The decoded update of the last round, None in the first.
        spec: The model's tensors.
        round_: From 1.
        rank: K.
        rng: Draws what the previous update doesn't fix, the same on both sides.

    Returns:
        None for tensors whose matrix has no more than K rows or columns: they go dense.
    """
    side = "right" if round_ % 2 else "left"
    bases: list[Basis | None] = []
    for i, item in enumerate(spec):
        if rank >= min(item.matrix):
            bases.append(None)
            continue
        start = rng.standard_normal((item.matrix[1 if side == "right" else 0], rank))
        if previous is not None and previous[i].any():
            matrix = previous[i].reshape(item.matrix).astype(np.float64)
            left, sigma, right = np.linalg.svd(matrix, full_matrices=False)
            real = int(np.sum(sigma[:rank] > 1e-6 * sigma[0]))
            start[:, :real] = (right.T if side == "right" else left)[:, :real]
        bases.append(Basis(side, np.linalg.qr(start)[0].astype(np.float32)))
    return bases
