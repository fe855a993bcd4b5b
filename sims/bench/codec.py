"""``fedkd bench codec``: megabytes of float32 a second through encode and decode, on one core."""

import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from fedkd.exchange.codec import Header, decode, encode
from fedkd.tensors import Spec, Weights, default_spec
from sims.bench.report import Row
from sims.bench.svd import matrix

# Kernels of the two models of ``sims.bench.work``, and of a large dense layer.
MODELS: dict[str, tuple[tuple[int, ...], ...]] = {
    "student": ((3, 3, 1, 16), (16,), (3, 3, 16, 32), (32,), (1568, 10), (10,)),
    "teacher": ((3, 3, 1, 32), (32,), (3, 3, 32, 64), (64,), (3136, 128), (128,), (128, 10), (10,)),
    "dense 3072x768": ((3072, 768), (768,)),
}
_HEADER = Header(1, "0" * 64, "fedkd")


def update(spec: Spec) -> Weights:
    """An update whose kernels have singular values that fall as 1/j."""
    return [
        matrix(max(item.matrix), min(item.matrix), 1.0).astype(np.float32).reshape(item.shape)
        if min(item.matrix) > 1
        else np.ones(item.shape, np.float32)
        for item in spec
    ]


def rows(rate: float, repeats: int) -> list[Row]:
    """Measure all models, dense and with the paper's first energy threshold.

    Args:
        rate: Of one core's matrix products, in 10⁹ operations a second.
        repeats: Of each measurement.
    """
    return [_row(name, energy, rate, repeats) for name in MODELS for energy in (None, 0.95)]


def _row(name: str, energy: float | None, rate: float, repeats: int) -> Row:
    spec = default_spec(MODELS[name])
    tensors, size = update(spec), sum(item.size for item in spec) * 4
    blob = encode(tensors, spec, _HEADER, energy)
    there = _seconds(partial(encode, tensors, spec, _HEADER, energy), repeats)
    back = _seconds(partial(decode, blob, spec), repeats)
    return {
        "model": name,
        "energy": energy or "dense",
        "dense_bytes": size,
        "payload_bytes": len(blob),
        "encode_mb_s": size / 1e6 / there,
        "decode_mb_s": size / 1e6 / back,
        "gflop": (there + back) * rate,
    }


def _seconds(call: Callable[[], object], repeats: int) -> float:
    taken = []
    for _ in range(repeats):
        begun = time.perf_counter()
        call()
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken)
