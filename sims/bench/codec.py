"""``fedkd bench codec``: megabytes of float32 a second through encode and decode, on one core."""

from functools import partial

import numpy as np

from fedkd.base.tensors import Spec, Weights, default_spec
from fedkd.exchange.blob import Header
from fedkd.exchange.codec import decode, encode
from fedkd.exchange.coding import PLAIN, Coding
from fedkd.exchange.compressors import Svd
from fedkd.models.inspect import model_spec
from sims.bench import work
from sims.bench.report import Row
from sims.bench.svd import matrix
from sims.bench.timing import median_seconds

_HEADER = Header(1, "0" * 16, "fedkd")
CODINGS = {
    "dense": PLAIN,
    "svd .95": Coding(Svd(0.95)),
    "svd .5, 4 bits": Coding(Svd(0.5), bits=4, stochastic=True, deflate=True),
}


def update(spec: Spec) -> Weights:
    """An update whose kernels have singular values that fall as 1/j."""
    return [
        matrix(max(item.matrix), min(item.matrix), 1.0).astype(np.float32).reshape(item.shape)
        if min(item.matrix) > 1
        else np.ones(item.shape, np.float32)
        for item in spec
    ]


def rows(rate: float, repeats: int) -> list[Row]:
    """Measure the models of the work and a large dense layer, dense, as the paper's first round, and as fedkd_plus.

    Args:
        rate: Rate of one core's matrix products, in 10⁹ operations a second.
        repeats: Repetitions of each measurement.
    """
    specs = {
        "student": model_spec(work.network(*work.STUDENT)),
        "teacher": model_spec(work.network(*work.TEACHER)),
        "dense 3072x768": default_spec([(3072, 768), (768,)]),
    }
    return [_row(name, spec, coding, rate, repeats) for name, spec in specs.items() for coding in CODINGS]


def _row(name: str, spec: Spec, label: str, rate: float, repeats: int) -> Row:
    tensors, size = update(spec), sum(item.size for item in spec) * 4
    write = partial(encode, tensors, spec, _HEADER, CODINGS[label], rng=np.random.default_rng(0))
    blob, there = write(), median_seconds(write, repeats)
    back = median_seconds(partial(decode, blob, spec), repeats)
    return {
        "model": name,
        "coding": label,
        "dense_bytes": size,
        "payload_bytes": len(blob),
        "encode_mb_s": size / 1e6 / there,
        "decode_mb_s": size / 1e6 / back,
        "gflop": (there + back) * rate,
    }
