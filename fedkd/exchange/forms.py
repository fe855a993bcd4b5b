"""The forms in which a tensor of an update is sent: dense, as factors, or sparse; and the tensor each stands for."""

from dataclasses import dataclass

import numpy as np

from fedkd.base.tensors import TensorSpec

# Elements of a product that are summed at a time: what float64 needs then stays in a processor's cache.
_BLOCK = 2**14


@dataclass(frozen=True)
class Factors:
    """A matrix A (P, Q) as left (P, K) times right (K, Q), both float32; K = 0 is the zero matrix.

    Args:
        left: Shape (P, K).
        right: Shape (K, Q).
        known: ``left`` or ``right`` where the receiver holds that factor already, so that it isn't sent.
    """

    left: np.ndarray
    right: np.ndarray
    known: str = ""

    @property
    def rank(self) -> int:
        """K."""
        return int(self.left.shape[1])


@dataclass(frozen=True)
class Sparse:
    """A few entries of a matrix; all others are zero.

    Args:
        mask: bool (P, Q), which entries.
        values: float32, one an entry of the mask, in order.
    """

    mask: np.ndarray
    values: np.ndarray


Form = np.ndarray | Factors | Sparse


def nothing(rows: int, columns: int) -> Factors:
    """The zero matrix (rows, columns), which costs nothing."""
    return Factors(np.zeros((rows, 0), np.float32), np.zeros((0, columns), np.float32))


def restore(form: Form, spec: TensorSpec) -> np.ndarray:
    """Return the float32 tensor of shape ``spec.shape`` that a form stands for, the same bits on every machine.

    A product of two float32 is exact in float64, and the K terms are added in order, element by element: so a
    server on x86 and a client on ARM decode the same student, which no BLAS promises. Blocks of the matrix are summed
    one after the other, so that the sums in float64 take no more room than one of them.
    """
    if isinstance(form, np.ndarray):
        return form.reshape(spec.shape)
    if isinstance(form, Sparse):
        matrix = np.zeros(spec.matrix, np.float32)
        matrix[form.mask] = form.values
        return matrix.reshape(spec.shape)
    wide = spec.matrix[0] < spec.matrix[1]  # numpy is fast along the last axis: let it be the long one
    short, long = (form.left.T, form.right) if wide else (form.right, form.left.T)
    product = np.empty(spec.matrix, np.float32)
    into, rows = product if wide else product.T, max(1, _BLOCK // max(1, long.shape[1]))
    for first in range(0, len(into), rows):
        into[first : first + rows] = _sum_of_products(short[:, first : first + rows], long)
    return product.reshape(spec.shape)


def _sum_of_products(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Σₖ left[k] ⊗ right[k] in float64, in the order of k; left (K, P), right (K, Q)."""
    total = np.zeros((left.shape[1], right.shape[1]))
    term = np.empty_like(total)
    for a, b in zip(left, right, strict=True):
        total += np.multiply(a.astype(np.float64)[:, None], b.astype(np.float64), out=term)
    return total
