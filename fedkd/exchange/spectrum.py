"""Leading right singular vectors of a matrix, as many as an energy threshold asks for: three exact ways to get them.

The Gram matrix in float64 is the cheapest in general. It can't tell singular values apart that are smaller than a
millionth of the largest, so thresholds next to 1 take the plain SVD. Where both sides are long and the energy sits in
few directions, a random projection finds these without a decomposition of the whole; its result is used only where
it is proved to have the same rank.
"""

import numpy as np

# Beyond this energy the float64 Gram matrix can't tell a singular value from noise.
GRAM_LIMIT = 1.0 - 1e-12
# Shorter sides are decomposed faster than projected (see `fedkd bench svd`).
RANDOMISED_FROM = 1024
_FIRST_WIDTH, _GROWTH, _POWERS, _PROBES, _NOISE, _TOO_FLAT = 32, 4, 2, 16, 1e-12, 0.75


def rank_for_energy(eigenvalues: np.ndarray, threshold: float) -> int:
    """Smallest K with the sum of the K largest σ² > threshold times the sum of all; all of them if none is.

    Args:
        eigenvalues: σ² in descending order, shape (min(P, Q),), not all zero.
        threshold: T in (0, 1].

    Reference:
        Wu et al. 2022, eq. 8, with σ² and a strict inequality on both sides of the network.

    Examples:
        >>> rank_for_energy(np.array([9.0, 1.0, 0.0]), 0.9), rank_for_energy(np.array([9.0, 1.0, 0.0]), 0.89)
        (2, 1)
    """
    cumulative = np.cumsum(np.clip(eigenvalues, 0.0, None))
    first_above = int(np.searchsorted(cumulative, threshold * cumulative[-1], side="right")) + 1
    return min(first_above, len(eigenvalues))


def leading_basis(tall: np.ndarray, threshold: float) -> np.ndarray:
    """Right singular vectors that hold more than ``threshold`` of the energy of a matrix, and no vector more.

    Args:
        tall: float64 (P, Q) with P >= Q, finite, not all zero.
        threshold: T in (0, 1].

    Returns:
        (Q, K), orthonormal columns, largest singular value first.
    """
    if threshold > GRAM_LIMIT:
        return by_svd(tall, threshold)
    if tall.shape[1] >= RANDOMISED_FROM and (basis := by_projection(tall, threshold)) is not None:
        return basis
    return by_gram(tall, threshold)


def by_gram(tall: np.ndarray, threshold: float) -> np.ndarray:
    """``leading_basis`` by the eigenvectors of the Gram matrix."""
    values, vectors = np.linalg.eigh(tall.T @ tall)
    return vectors[:, ::-1][:, : rank_for_energy(values[::-1], threshold)]


def by_svd(tall: np.ndarray, threshold: float) -> np.ndarray:
    """``leading_basis`` by the plain SVD."""
    _, sigma, right = np.linalg.svd(tall, full_matrices=False)
    return right[: rank_for_energy(sigma**2, threshold)].T


def by_projection(tall: np.ndarray, threshold: float) -> np.ndarray | None:
    """``leading_basis`` by random projections of growing width, or None where none proves its rank.

    Reference:
        Halko, Martinsson & Tropp, SIAM Review 53, 2011, algorithm 4.4.
    """
    rng = np.random.default_rng(0)  # any directions do; fixed ones give the same bytes each time
    total, width = float(np.vdot(tall, tall)), _FIRST_WIDTH
    while width <= tall.shape[1] // 8:  # beyond, the Gram matrix is cheaper
        left = _range(tall, rng.standard_normal((tall.shape[1], width)))
        small = left.T @ tall  # (width, Q)
        values, vectors = (a[..., ::-1] for a in np.linalg.eigh(small @ small.T))
        real = values > _NOISE * values[0]
        values, vectors, left = values[real], vectors[:, real], left @ vectors[:, real]
        right = (small.T @ vectors) / np.sqrt(values)
        cumulative = np.cumsum(values)
        rank = int(np.searchsorted(cumulative, threshold * total, side="right")) + 1
        if rank == 1 or (rank <= len(values) and _is_minimal(tall, left, right, values, rank - 1, threshold, rng)):
            return right[:, :rank]
        if cumulative[-1] < _TOO_FLAT * threshold * total:
            break
        width *= _GROWTH
    return None


def _range(tall: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Orthonormal basis of what a few power iterations make of the start's image."""
    left = np.linalg.qr(tall @ start)[0]
    for _ in range(_POWERS):
        left = np.linalg.qr(tall @ np.linalg.qr(tall.T @ left)[0])[0]
    return left


def _is_minimal(
    tall: np.ndarray,
    left: np.ndarray,
    right: np.ndarray,
    values: np.ndarray,
    k: int,
    threshold: float,
    rng: np.random.Generator,
) -> bool:
    """Whether no k directions of the whole matrix hold more than the threshold's share of its energy.

    With G = A Aᵀ in the basis of the Ritz vectors and their complement, G <= diag(θ + ε, S + Σ ρᵢ²/εᵢ) for every ε > 0
    (θ the values found, ρᵢ their residuals, S the complement's part). So if the ε of the first k add up to what the
    first k lack, and the complement stays below the k-th value, the k largest σ² don't reach it (Ky Fan).
    """
    slack = threshold * float(np.vdot(tall, tall)) - float(np.sum(values[:k]))
    if slack <= 0:
        return False
    image = tall @ right
    residuals = values * np.sum((image - left @ (left.T @ image)) ** 2, 0)
    level = values[k - 1] + slack / k
    room = np.where(np.arange(len(values)) < k, slack / k, level - values)
    return bool(_norm_bound(tall, left, rng) + np.sum(residuals / room) < level)


def _norm_bound(tall: np.ndarray, left: np.ndarray, rng: np.random.Generator) -> float:
    """Bound of the largest σ² outside the projection: six times the root of Σσ⁴ as random probes estimate it.

    The estimate is at least that of one direction alone, σ² √(χ²ₙ/n) for n probes, so the bound fails with a chance
    of 1e-10 for n = 16. The rest of the proof is exact.
    """
    probes = rng.standard_normal((tall.shape[0], _PROBES))
    probes -= left @ (left.T @ probes)
    image = tall @ (tall.T @ probes)
    image -= left @ (left.T @ image)
    return 6.0 * float(np.sqrt(np.mean(np.sum(image**2, 0))))
