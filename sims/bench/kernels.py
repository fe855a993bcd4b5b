"""``fedkd bench kernels``: what an update by FedKD's rule sends of two kernels that other codes get wrong, and loses.

A kernel whose singular values are all alike needs all of them, and a convolution has its structure in the matrix of
all its windows, not in each. ``findings/fedkd_rank_search.sh`` gives the same two to other libraries.
"""

import numpy as np

from fedkd.base.tensors import TensorSpec
from fedkd.exchange.blob import Header
from fedkd.exchange.codec import decode, encode
from fedkd.exchange.coding import Coding
from fedkd.exchange.compressors import Svd
from sims.bench.report import Row

_HEADER = Header(1, "0" * 16, "fedkd")
_ENERGIES = (0.95, 0.98)


def kernels() -> dict[str, np.ndarray]:
    """Both, in float32 as Keras lays them out."""
    rng = np.random.default_rng(0)
    dense = np.linalg.qr(rng.standard_normal((64, 10)))[0]
    convolution = rng.standard_normal((144, 4)) @ rng.standard_normal((4, 32))
    return {
        "dense 64x10, full rank": dense.astype(np.float32),
        "convolution 3x3 of rank 4": convolution.astype(np.float32).reshape(3, 3, 16, 32),
    }


def rows(rate: float) -> list[Row]:
    """Send each kernel at the shares of its energy that the first and the last round of a run keep.

    Args:
        rate: Of the machine; nothing here depends on it.
    """
    return [_row(name, kernel, energy) for name, kernel in kernels().items() for energy in _ENERGIES]


def _row(name: str, kernel: np.ndarray, energy: float) -> Row:
    item = TensorSpec(name, kernel.shape, kernel.ndim - 1)
    blob = encode([kernel], (item,), _HEADER, Coding(Svd(energy)))
    payload = decode(blob, (item,))
    (rank,), lost = payload.ranks, np.square(kernel - payload.tensors[0]).sum() / np.square(kernel).sum()
    return {
        "kernel": name,
        "energy": energy,
        "kept": rank if rank >= 0 else min(item.matrix),
        "numbers": item.size if rank < 0 else rank * sum(item.matrix),
        "numbers_dense": item.size,
        "payload_bytes": len(blob),
        "energy_lost": float(lost),
    }
