"""Low-rank form of a matrix: exact rank to an energy threshold (Wu et al. 2022, eqs 8-9)."""

import numpy as np

from fedkd.exchange.factors import Factors
from fedkd.exchange.spectrum import leading_basis


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
