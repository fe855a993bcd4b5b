"""Laws of the three ways to the leading singular vectors: one rank, one subspace."""

import numpy as np
import pytest

from fedkd.exchange import spectrum
from fedkd.exchange.spectrum import by_gram, by_projection, by_svd, leading_basis


def with_spectrum(sigma, rows, seed=0):
    """A matrix (rows, len(sigma)) with the given singular values."""
    rng = np.random.default_rng(seed)
    left = np.linalg.qr(rng.standard_normal((rows, len(sigma))))[0]
    right = np.linalg.qr(rng.standard_normal((len(sigma), len(sigma))))[0]
    return (left * sigma) @ right.T


DECAYS = {
    "geometric": 0.8 ** np.arange(640),
    "quadratic": np.arange(1.0, 641.0) ** -2,
    "low rank with noise": np.where(np.arange(640) < 9, 1.0, 1e-4),
    "exactly low rank": np.where(np.arange(640) < 9, 1.0, 0.0),
}


@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("threshold", [0.5, 0.9, 0.95, 0.98])
def test_projection_finds_the_rank_and_the_subspace_of_the_svd(decay, threshold):
    matrix = with_spectrum(DECAYS[decay], 700)
    exact, found = by_svd(matrix, threshold), by_projection(matrix, threshold)
    assert found is not None
    assert found.shape == exact.shape
    np.testing.assert_allclose(found.T @ found, np.eye(found.shape[1]), atol=1e-9)
    assert np.sum((matrix @ found) ** 2) > threshold * np.sum(matrix**2)


def test_projection_gives_up_where_the_spectrum_is_flat():
    """A random matrix has no leading directions: the rank of .95 is most of the full one."""
    matrix = np.random.default_rng(0).standard_normal((700, 600))
    assert by_projection(matrix, 0.95) is None
    assert leading_basis(matrix, 0.95).shape == by_svd(matrix, 0.95).shape


def test_projection_is_refused_where_its_rank_is_not_proved(monkeypatch):
    """Without power iterations a slow decay is found too poorly to tell the rank; the Gram matrix then decides."""
    monkeypatch.setattr(spectrum, "_POWERS", 0)
    matrix = with_spectrum(np.arange(1, 641) ** -0.7, 700)
    ranks = [by_projection(matrix, t) for t in (0.3, 0.5, 0.6)]
    exact = [by_svd(matrix, t).shape[1] for t in (0.3, 0.5, 0.6)]
    assert all(found is None or found.shape[1] == rank for found, rank in zip(ranks, exact, strict=True))
    assert any(found is None for found in ranks)


@pytest.mark.parametrize("threshold", [0.5, 0.95, 1 - 1e-6, 1 - 1e-10])
def test_gram_and_svd_agree(threshold):
    matrix = with_spectrum(0.5 ** np.arange(30), 50)
    assert by_gram(matrix, threshold).shape == by_svd(matrix, threshold).shape


def test_beyond_the_grams_accuracy_the_plain_svd_decides():
    """σ = 1 and 1e-7: an energy of 1 - 1e-15 needs both, and the Gram matrix sees 1e-14 as noise."""
    matrix = with_spectrum(np.array([1.0, 1e-7]), 50)
    assert leading_basis(matrix, 1 - 1e-15).shape == (2, 2)
    assert leading_basis(matrix, 0.99).shape == (2, 1)


def test_same_matrix_gives_the_same_bits():
    matrix = with_spectrum(DECAYS["geometric"], 700)
    np.testing.assert_array_equal(by_projection(matrix, 0.95), by_projection(matrix, 0.95))


def test_large_matrix_of_low_rank_is_projected():
    matrix = with_spectrum(0.5 ** np.arange(1024), 1030)
    np.testing.assert_array_equal(leading_basis(matrix, 0.95), by_projection(matrix, 0.95))
