"""Low-rank form of one tensor of an update: exact rank to an energy threshold (Wu et al. 2022, eqs 8-9)."""

from dataclasses import dataclass

import numpy as np

from fedkd.tensors import TensorSpec

# Beyond this energy the float64 Gram matrix can't tell a singular value from noise; the tensor goes dense.
GRAM_LIMIT = 1.0 - 1e-12


@dataclass(frozen=True)
class Factors:
    """A matrix A (P, Q) as left (P, K) times right (K, Q), both float32; K = 0 is the zero matrix."""

    left: np.ndarray
    right: np.ndarray

    @property
    def rank(self) -> int:
        """K."""
        return int(self.left.shape[1])


def rank_for_energy(eigenvalues: np.ndarray, threshold: float) -> int:
    """Smallest K with the sum of the K largest σ² > threshold times the sum of all; all of them if none is.

    Args:
        eigenvalues: σ² in descending order, shape (min(P, Q),), not all zero.
        threshold: T in (0, 1].

    Reference:
        Wu et al. 2022, eq. 8, with σ² and a strict inequality on both sides of the network.

    >>> rank_for_energy(np.array([9.0, 1.0, 0.0]), 0.9), rank_for_energy(np.array([9.0, 1.0, 0.0]), 0.89)
    (2, 1)
    """
    cumulative = np.cumsum(np.clip(eigenvalues, 0.0, None))
    first_above = int(np.searchsorted(cumulative, threshold * cumulative[-1], side="right")) + 1
    return min(first_above, len(eigenvalues))


def factorise(matrix: np.ndarray, threshold: float) -> Factors:
    """Truncated SVD of a finite, non-zero matrix by the eigenvectors of its smaller Gram matrix, in float64.

    Args:
        matrix: Shape (P, Q).
        threshold: Energy T in (0, 1]: the factors keep more than T of the sum of σ².

    Returns:
        (U Σ, Vᵀ) where P >= Q, (U, Σ Vᵀ) otherwise: the same product, and the cheaper side to compute.
    """
    wide = matrix.shape[0] < matrix.shape[1]
    tall = (matrix.T if wide else matrix).astype(np.float64)
    values, vectors = np.linalg.eigh(tall.T @ tall)
    basis = vectors[:, ::-1][:, : rank_for_energy(values[::-1], threshold)]
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
    if threshold is None or threshold > GRAM_LIMIT or min(rows, columns) == 1:
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
    total = np.zeros(spec.matrix, np.float64)
    for column, row in zip(form.left.T.astype(np.float64), form.right.astype(np.float64), strict=True):
        total += column[:, None] * row
    return total.astype(np.float32).reshape(spec.shape)
