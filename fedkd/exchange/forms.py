"""The forms in which a tensor of an update is sent: dense, as factors, or sparse; and the tensor each stands for.

A further form is one class like these, and one entry in the table of ``fedkd.exchange.layout``.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fedkd.base.tensors import TensorSpec
from fedkd.exchange.basis import Basis

# Elements of a product that are summed at a time: what float64 needs then stays in a processor's cache.
_BLOCK = 2**14

Shapes = list[tuple[int, int]]


class Form(ABC):
    """One way to send a matrix (P, Q): some rows of numbers and, where it is ``masked``, a bit for each entry.

    How much is sent follows from one number, the ``rank``. So a receiver knows from the kind of a form, its rank and
    the model what to read, before it reads any of it.
    """

    name: ClassVar[str]  # for messages
    low_rank: ClassVar[bool] = False  # whether it is a product of factors
    masked: ClassVar[bool] = False  # whether it sends a mask, which has as many entries as its rank says

    @property
    @abstractmethod
    def rank(self) -> int:
        """How much is sent."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Shape (P, Q) of the matrix that the form stands for; none where its parts don't fit each other."""

    @abstractmethod
    def rows(self) -> list[np.ndarray]:
        """Return the numbers that are sent, float32, as ``row_shapes`` says."""

    def packed_mask(self) -> np.ndarray:
        """Return the mask as it is sent, uint8, eight entries in each."""
        return np.empty(0, np.uint8)

    @abstractmethod
    def restore(self, item: TensorSpec) -> np.ndarray:
        """Return the float32 tensor of shape ``item.shape`` that the form stands for, alike on every machine."""

    @classmethod
    @abstractmethod
    def row_shapes(cls, rank: int, item: TensorSpec) -> Shapes:
        """Shapes (rows, numbers in a row) of what is sent; each row that is quantized has a step of its own."""

    @classmethod
    @abstractmethod
    def fits(cls, rank: int, item: TensorSpec, basis: Basis | None) -> bool:
        """Whether a tensor can be sent in this form with a rank, and what isn't sent is known."""

    @classmethod
    @abstractmethod
    def read(cls, rows: Sequence[np.ndarray], mask: np.ndarray, basis: Basis | None) -> "Form":
        """Undo ``rows``.

        Args:
            rows: float32, as ``row_shapes`` says.
            mask: bool (P, Q), which entries are sent; empty where the form isn't ``masked``.
            basis: Directions that both sides know, for what isn't sent.
        """


@dataclass(frozen=True)
class Dense(Form):
    """All entries of a matrix.

    Args:
        matrix: float32, (P, Q).
    """

    name = "dense"
    matrix: np.ndarray

    @property
    def rank(self) -> int:
        """0."""
        return 0

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the array."""
        return self.matrix.shape

    def rows(self) -> list[np.ndarray]:
        """Return one row."""
        return [self.matrix.reshape(1, -1)]

    def restore(self, item: TensorSpec) -> np.ndarray:
        """Return the numbers as they are."""
        return self.matrix.reshape(item.shape)

    @classmethod
    def row_shapes(cls, rank: int, item: TensorSpec) -> Shapes:
        """All numbers in one row."""
        return [(1, item.size)]

    @classmethod
    def fits(cls, rank: int, item: TensorSpec, basis: Basis | None) -> bool:
        """Without a rank."""
        return rank == 0

    @classmethod
    def read(cls, rows: Sequence[np.ndarray], mask: np.ndarray, basis: Basis | None) -> "Dense":
        """Take the row."""
        return cls(rows[0])


@dataclass(frozen=True)
class Sparse(Form):
    """A few entries of a matrix; all others are zero.

    Args:
        mask: bool (P, Q), which entries.
        values: float32, one for each entry of the mask, in order.
    """

    name = "sparse"
    masked = True
    mask: np.ndarray
    values: np.ndarray

    @property
    def rank(self) -> int:
        """Number of entries."""
        return len(self.values)

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the mask."""
        return self.mask.shape

    def rows(self) -> list[np.ndarray]:
        """Return the values in one row."""
        return [self.values[None]]

    def packed_mask(self) -> np.ndarray:
        """Return a bit for each entry of the matrix."""
        return np.packbits(self.mask)

    def restore(self, item: TensorSpec) -> np.ndarray:
        """Put the values in their places."""
        matrix = np.zeros(item.matrix, np.float32)
        matrix[self.mask] = self.values
        return matrix.reshape(item.shape)

    @classmethod
    def row_shapes(cls, rank: int, item: TensorSpec) -> Shapes:
        """As many numbers as there are entries, in one row."""
        return [(1, rank)]

    @classmethod
    def fits(cls, rank: int, item: TensorSpec, basis: Basis | None) -> bool:
        """With no more entries than the matrix has."""
        return rank <= item.size

    @classmethod
    def read(cls, rows: Sequence[np.ndarray], mask: np.ndarray, basis: Basis | None) -> "Sparse":
        """Take mask and values."""
        return cls(mask, rows[0][0])


@dataclass(frozen=True)
class Factors(Form):
    """A matrix A (P, Q) as left (P, K) times right (K, Q), both float32 and both sent; K = 0 is the zero matrix.

    Args:
        left: Shape (P, K).
        right: Shape (K, Q).
    """

    name = "factors"
    low_rank = True
    left: np.ndarray
    right: np.ndarray

    @property
    def rank(self) -> int:
        """K."""
        return int(self.left.shape[1])

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the product; none for factors of different K."""
        return (len(self.left), self.right.shape[1]) if self.left.shape[1] == len(self.right) else ()

    def rows(self) -> list[np.ndarray]:
        """Return K rows of each factor."""
        return [self.left.T, self.right]

    def restore(self, item: TensorSpec) -> np.ndarray:
        """Return the product.

        A product of two float32 is exact in float64, and the K terms are added in order, element by element: so a
        server on x86 and a client on ARM decode the same student, which no BLAS promises. Blocks of the matrix are
        summed one after the other, so that the sums in float64 take no more room than one of them.
        """
        wide = item.matrix[0] < item.matrix[1]  # numpy is fast along the last axis: let it be the long one
        short, long = (self.left.T, self.right) if wide else (self.right, self.left.T)
        product = np.empty(item.matrix, np.float32)
        into, rows = product if wide else product.T, max(1, _BLOCK // max(1, long.shape[1]))
        for first in range(0, len(into), rows):
            into[first : first + rows] = _sum_of_products(short[:, first : first + rows], long)
        return product.reshape(item.shape)

    @classmethod
    def row_shapes(cls, rank: int, item: TensorSpec) -> Shapes:
        """K rows of P numbers, and K of Q."""
        return [(rank, n) for n in item.matrix]

    @classmethod
    def fits(cls, rank: int, item: TensorSpec, basis: Basis | None) -> bool:
        """With a K of the shorter side at most."""
        return rank <= min(item.matrix)

    @classmethod
    def read(cls, rows: Sequence[np.ndarray], mask: np.ndarray, basis: Basis | None) -> "Factors":
        """Take both factors."""
        return cls(rows[0].T, rows[1])


class LeftFactor(Factors):
    """Factors of which the left one alone is sent: the right one holds directions that the receiver knows."""

    name = "left"

    def rows(self) -> list[np.ndarray]:
        """Return K rows of the left factor."""
        return [self.left.T]

    @classmethod
    def row_shapes(cls, rank: int, item: TensorSpec) -> Shapes:
        """K rows of P numbers."""
        return [(rank, item.matrix[0])]

    @classmethod
    def fits(cls, rank: int, item: TensorSpec, basis: Basis | None) -> bool:
        """With the K of the known directions."""
        return basis is not None and (basis.side, basis.rank) == ("right", rank)

    @classmethod
    def read(cls, rows: Sequence[np.ndarray], mask: np.ndarray, basis: Basis | None) -> "LeftFactor":
        """Take the left factor and the known directions."""
        return cls(rows[0].T, _vectors(basis).T)


class RightFactor(Factors):
    """Factors of which the right one alone is sent: the left one holds directions that the receiver knows."""

    name = "right"

    def rows(self) -> list[np.ndarray]:
        """Return K rows of the right factor."""
        return [self.right]

    @classmethod
    def row_shapes(cls, rank: int, item: TensorSpec) -> Shapes:
        """K rows of Q numbers."""
        return [(rank, item.matrix[1])]

    @classmethod
    def fits(cls, rank: int, item: TensorSpec, basis: Basis | None) -> bool:
        """With the K of the known directions."""
        return basis is not None and (basis.side, basis.rank) == ("left", rank)

    @classmethod
    def read(cls, rows: Sequence[np.ndarray], mask: np.ndarray, basis: Basis | None) -> "RightFactor":
        """Take the right factor and the known directions."""
        return cls(_vectors(basis), rows[0])


def nothing(rows: int, columns: int) -> Factors:
    """The zero matrix (rows, columns), which costs nothing."""
    return Factors(np.zeros((rows, 0), np.float32), np.zeros((0, columns), np.float32))


def _vectors(basis: Basis | None) -> np.ndarray:
    """The directions that ``fits`` has asked for."""
    if basis is None:
        raise ValueError("a factor wasn't sent, and no directions are known")
    return basis.vectors


def _sum_of_products(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Σₖ left[k] ⊗ right[k] in float64, in the order of k; left (K, P), right (K, Q)."""
    total = np.zeros((left.shape[1], right.shape[1]))
    term = np.empty_like(total)
    for a, b in zip(left, right, strict=True):
        total += np.multiply(a.astype(np.float64)[:, None], b.astype(np.float64), out=term)
    return total
