"""``fedkd bench svd``: what the energy threshold costs, by each of the three ways to the singular vectors."""

from collections.abc import Callable
from functools import partial

import numpy as np

from fedkd.exchange.spectrum import by_gram, by_projection, by_svd, leading_basis
from sims.bench.report import Row
from sims.bench.timing import median_seconds

SHAPES = ((144, 32), (1568, 10), (784, 512), (3072, 768), (2048, 2048))
# Singular values fall as 1/j to this power: steeply, as early updates do, or slowly.
DECAYS = {"steep": 1.0, "slow": 0.5}
_ENERGY = 0.95


def matrix(rows: int, columns: int, power: float) -> np.ndarray:
    """A random float64 matrix whose j-th singular value is about j to the minus ``power``."""
    rng = np.random.default_rng(0)
    left = rng.standard_normal((rows, columns)) / np.sqrt(rows)
    right = rng.standard_normal((columns, columns)) / np.sqrt(columns)
    return (left * np.arange(1, columns + 1) ** -power) @ right


def rows(rate: float, repeats: int) -> list[Row]:
    """Measure all shapes.

    Args:
        rate: Rate of one core's matrix products, in 10⁹ operations a second.
        repeats: Repetitions of each measurement.
    """
    return [_row(shape, decay, rate, repeats) for shape in SHAPES for decay in DECAYS]


def _row(shape: tuple[int, int], decay: str, rate: float, repeats: int) -> Row:
    tall = matrix(*shape, DECAYS[decay])
    taken = _milliseconds(leading_basis, tall, repeats)
    projected = by_projection(tall, _ENERGY)
    return {
        "matrix": f"{shape[0]}x{shape[1]}",
        "spectrum": decay,
        "rank": leading_basis(tall, _ENERGY).shape[1],
        "ms": taken,
        "gram_ms": _milliseconds(by_gram, tall, repeats),
        "random_ms": _milliseconds(by_projection, tall, repeats),
        "proved": projected is not None,
        "svd_ms": _milliseconds(by_svd, tall, 1),
        "gflop": taken / 1e3 * rate,
    }


def _milliseconds(way: Callable[[np.ndarray, float], object], tall: np.ndarray, repeats: int) -> float:
    return 1e3 * median_seconds(partial(way, tall, _ENERGY), repeats)
