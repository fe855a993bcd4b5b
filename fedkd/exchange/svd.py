"""Low-rank form of one tensor of an update: exact rank to an energy threshold (Wu et al. 2022, eqs 8-9)."""

from dataclasses import dataclass

import numpy as np

from fedkd.exchange.spectrum import leading_basis
from fedkd.tensors import TensorSpec


@dataclass(frozen=True)
class Factors:
    """A matrix A (P, Q) as left (P, K) times right (K, Q), both float32; K = 0 is the zero matrix."""

    left: np.ndarray
    right: np.ndarray

    @property
    def rank(self) -> int:
        """K."""
        return int(self.left.shape[1])


def factorise(matrix: np.ndarray, threshold: float) -> Factors:
    """Truncated SVD of a finite, non-zero matrix, computed in float64.

    Args:
        matrix: Shape (P, Q).
        threshold: Energy T in (0, 1]: the factors keep more than T of the sum of σ².

    Returns:
        (U Σ, Vᵀ) where P >= Q, (U, Σ Vᵀ) otherwise: the same product, and the cheaper side to compute.
    """
    wide = matrix.shape[0] < matrix.shape[1]
    tall = (matrix.T if wide else matrix).astype(np.float64)
    basis = leading_basis(tall, threshold)
    scaled, basis = (tall @ basis).astype(np.float32), basis.astype(np.float32)
    return Factors(basis, scaled.T.copy()) if wide else Factors(scaled, basis.T.copy())


def compress(tensor: np.ndarray, spec: TensorSpec, threshold: float | None) -> Factors | np.ndarray:
    """Return the cheaper exact form of a tensor: its factors, or itself where they are not fewer numbers.

    Args:
        tensor: float32, shape ``spec.shape``, finite.
        spec: How the tensor becomes a matrix.
        threshold: Energy T in (0, 1], or None for no SVD.

    Returns:
        Factors with K = 0 for an all-zero tensor, whatever its shape; the tensor itself where K (P + Q) >= P Q.
    """
    rows, columns = spec.matrix
    if not tensor.any():
        return Factors(np.zeros((rows, 0), np.float32), np.zeros((0, columns), np.float32))
    if threshold is None or threshold == 1 or min(rows, columns) == 1:
        return tensor
    factors = factorise(tensor.reshape(rows, columns), threshold)
    return factors if factors.rank * (rows + columns) < rows * columns else tensor


def restore(form: Factors | np.ndarray, spec: TensorSpec) -> np.ndarray:
    """Return the float32 tensor of shape ``spec.shape`` that a form stands for, the same bits on every machine.

    A product of two float32 is exact in float64, and the K terms are added in order, element by element: so a
    server on x86 and a client on ARM decode the same student, which no BLAS promises.
    """
    if isinstance(form, np.ndarray):
        return form.reshape(spec.shape)
    wide = spec.matrix[0] < spec.matrix[1]  # numpy is fast along the last axis: let it be the long one
    short, long = (form.left.T, form.right) if wide else (form.right, form.left.T)
    total = np.zeros((short.shape[1], long.shape[1]))
    term = np.empty_like(total)
    for a, b in zip(short.astype(np.float64), long.astype(np.float64), strict=True):
        total += np.multiply(a[:, None], b, out=term)
    return (total if wide else total.T).astype(np.float32, order="C").reshape(spec.shape)
