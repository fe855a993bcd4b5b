"""Kernels of few different values: a codebook found by k-means, and an index for each weight."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedkd.base.errors import InputError

_ROUNDS = 100


@dataclass(frozen=True)
class Clustered:
    """A tensor as indices into a codebook.

    Args:
        codebook: The centres, float32 of shape (2^bits,), ascending; those that nothing is near may repeat.
        indices: Of each element's centre, uint8 in the tensor's shape.
        bits: Of an index.
    """

    codebook: np.ndarray
    indices: np.ndarray
    bits: int

    def dense(self) -> np.ndarray:
        """The tensor with each element at its centre, float32."""
        return self.codebook[self.indices]

    @property
    def nbytes(self) -> int:
        """Bytes of the codebook in float32 and of the packed indices."""
        return self.codebook.nbytes + -(-self.indices.size * self.bits // 8)


def cluster(weights: np.ndarray, bits: int) -> Clustered:
    """Find the centres of a tensor's values by k-means.

    The centres start evenly between the smallest and the largest value, which keeps some for the few large ones. On a
    line, Lloyd's step is a search among the midpoints: exact, and the same on every machine.

    Args:
        weights: Any shape, finite floats; at least one.
        bits: 2 to 8; there are 2^bits centres.

    Raises:
        InputError: ``bits`` is out of range, or there is no weight or one that isn't finite.

    Reference:
        Han, Mao & Dally, ICLR 2016 (deep compression), section 3.

    Examples:
        >>> found = cluster(np.array([0.0, 1.0, 1.2, 4.0]), 2)
        >>> found.dense().round(3).tolist(), found.nbytes
        ([0.0, 1.100000023841858, 1.100000023841858, 4.0], 17)
    """
    if bits not in range(2, 9):
        raise InputError(f"bits must be a whole number from 2 to 8, got {bits!r}")
    if not weights.size or not np.isfinite(weights).all():
        raise InputError(f"weights must be finite and at least one, got shape {weights.shape}")
    values = np.sort(weights, axis=None).astype(np.float64)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    centres = np.linspace(values[0], values[-1], 2**bits)
    for _ in range(_ROUNDS):
        edges = np.concatenate([[0], np.searchsorted(values, _midpoints(centres)), [len(values)]])
        counts = np.diff(edges)
        means = np.diff(sums[edges]) / np.maximum(counts, 1)
        moved = np.where(counts > 0, means, centres)
        if np.array_equal(moved, centres):
            break
        centres = moved
    codebook = np.sort(centres).astype(np.float32)
    return Clustered(codebook, nearest(weights, codebook), bits)


def nearest(weights: np.ndarray, codebook: np.ndarray) -> np.ndarray:
    """Index of each weight's nearest centre, uint8 in the shape of the weights; ties go to the upper one."""
    return np.searchsorted(_midpoints(codebook.astype(np.float64)), weights, side="right").astype(np.uint8)


def _midpoints(centres: Sequence[float] | np.ndarray) -> np.ndarray:
    held = np.asarray(centres)
    return (held[1:] + held[:-1]) / 2
