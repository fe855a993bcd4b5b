"""Laws of the decoder under mutated payloads; a million of them are in tests/faults."""

import tracemalloc

import numpy as np
import pytest

from fedkd.base.tensors import TensorSpec
from fedkd.exchange.blob import PayloadError, write_blob
from fedkd.exchange.codec import decode, encode, largest
from tests.exchange.codings import coding
from tests.fuzz import HEADER, Fuzzer, accepted, deflated, fuzz, originals

WIDE = (TensorSpec("dense", (1000, 500), 1), TensorSpec("bias", (500,), 0))


def test_originals_are_accepted():
    assert all(accepted(blob) for blob in originals())


def test_mutants_are_refused_or_valid_updates_and_never_crash():
    taken, others = fuzz(20_000, seed=1)
    assert 0 < others <= taken < 5_000  # most mutations are seen; what isn't is another number in its place


def test_same_seed_gives_the_same_mutants():
    first, again = Fuzzer(7), Fuzzer(7)
    assert [first.mutant() for _ in range(200)] == [again.mutant() for _ in range(200)]


def hostile():
    """Blobs that are small, or as large as may be, and would take the most room."""
    cap, rng = largest(WIDE), np.random.default_rng(0)
    update = [rng.normal(size=s.shape).astype(np.float32) for s in WIDE]
    for name, bits, deflate in [("dense", 32, True), ("dense", 16, False), ("dense", 2, True), ("topk", 32, False)]:
        how = coding(name, bits, deflate=deflate, density=0.7)
        yield f"{name} {bits} {'deflated' if deflate else ''}", encode(update, WIDE, HEADER, how)
    low = [(rng.normal(size=(1000, 300)) @ rng.normal(size=(300, 500))).astype(np.float32), update[1]]
    yield "factors", encode(low, WIDE, HEADER, coding("svd", energy=0.99))
    yield "bomb below the cap", deflated(bytes(cap), 9)
    yield "bomb", deflated(bytes(50 * cap), 9)
    whole = originals()[0]
    yield "bomb with a header", deflated(whole + bytes(cap - len(whole)), 9)
    yield "huge header", (2**63).to_bytes(8, "little") + bytes(cap - 8)
    yield "largest", b"{" * cap
    yield "larger", bytes(10 * cap)
    codes = {"forms": np.int32([5 * 2**28 + 1, 0]), "values": np.zeros(cap - 400, np.uint8)}
    yield "huge rank", write_blob(codes, HEADER, 2, deflate=True)
    sparse = {"forms": np.int32([5 * 2**28 + 2, 0]), "masks": np.full(cap - 400, 255, np.uint8)}
    yield "huge mask", write_blob(sparse, HEADER, 2, deflate=True)


@pytest.mark.parametrize("blob", [pytest.param(blob, id=name) for name, blob in hostile()])
def test_decoding_takes_twice_the_largest_update_at_most(blob):
    tracemalloc.start()
    try:
        decode(blob, WIDE, None, HEADER)
    except PayloadError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak <= 2 * largest(WIDE) + 2**17  # and what zlib needs
