"""Forms of low rank: a matrix as the product of two factors, of which the receiver may know one."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedkd.base.tensors import TensorSpec
from fedkd.exchange.basis import Basis
from fedkd.exchange.forms import Form, Shapes

# Elements of a product that are summed at a time: what float64 needs then stays in a processor's cache.
_BLOCK = 2**14


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


def in_directions(coordinates: np.ndarray, basis: Basis) -> Factors:
    """The matrix with such coordinates, see ``Basis.coordinates``."""
    if basis.side == "right":
        return LeftFactor(coordinates, basis.vectors.T)
    return RightFactor(basis.vectors, coordinates)


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
