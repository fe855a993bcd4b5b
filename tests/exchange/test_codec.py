"""Laws of the payload."""

import json
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from fedkd.base.tensors import TensorSpec
from fedkd.exchange.blob import _DICTIONARY, Header, PayloadError, write_blob
from fedkd.exchange.codec import DENSE, decode, encode, pack_forms
from fedkd.exchange.coding import PLAIN
from fedkd.exchange.factors import Factors, nothing
from fedkd.exchange.forms import Dense
from fedkd.exchange.layout import FORMS, read_layout
from tests.exchange.codings import coding

SPEC = (
    TensorSpec("conv", (3, 3, 4, 16), 3),
    TensorSpec("bias", (16,), 0),
    TensorSpec("query", (32, 4, 8), 1),
    TensorSpec("still", (8, 8), 1),
)
HEADER = Header(3, "ab" * 8, "fedkd")


def update(seed=0):
    """A low-rank kernel, a vector, a noisy kernel, and one that did not change."""
    rng = np.random.default_rng(seed)
    conv = np.outer(rng.normal(size=36), rng.normal(size=16)).astype(np.float32).reshape(SPEC[0].shape)
    rest = [rng.normal(size=s.shape).astype(np.float32) for s in SPEC[1:3]]
    return [conv, *rest, np.zeros((8, 8), np.float32)]


@pytest.mark.parametrize("sizes", [(0, 0, 0, 0), (5, 3, 0, 7), (1, 1, 1, 1), (4, 1000, 33, 2)])
def test_a_blob_is_what_safetensors_writes(sizes):
    """Byte for byte, where its metadata have one key; every other number of an array in one that isn't contiguous."""
    forms, values, steps, masks = (np.arange(2 * size)[::2] for size in sizes)
    entries = {"values": values.astype("<f4"), "forms": forms.astype("<i4"), "masks": masks.astype("u1")}
    entries["steps"] = np.arange(2 * len(steps)).astype("<u2")[::2]
    blob = write_blob(entries, HEADER, 32, deflate=False)
    (said,) = metadata_of(blob).items()
    assert blob == save({n: np.ascontiguousarray(a) for n, a in entries.items() if a.size}, dict([said]))
    found = load(blob)
    assert set(found) == {name for name, array in entries.items() if array.size}
    assert all(np.array_equal(found[name], entries[name]) for name in found)


def metadata_of(blob):
    return json.loads(blob[8 : 8 + int.from_bytes(blob[:8], "little")])["__metadata__"]


def test_decoding_gives_back_what_was_encoded():
    payload = decode(encode(update(), SPEC, HEADER, coding("svd", energy=0.95)), SPEC)
    assert payload.header == HEADER
    assert payload.ranks[0] == 1
    assert payload.ranks[1] == DENSE
    assert payload.ranks[3] == 0
    np.testing.assert_array_equal(payload.tensors[1], update()[1])
    np.testing.assert_allclose(payload.tensors[0], update()[0], atol=1e-5)


def test_dense_encoding_is_exact():
    for got, sent in zip(decode(encode(update(), SPEC, HEADER), SPEC).tensors, update(), strict=True):
        np.testing.assert_array_equal(got, sent)


def test_encoding_is_the_same_bytes_every_time():
    assert len({encode(update(), SPEC, HEADER, coding("svd", energy=0.95)) for _ in range(20)}) == 1


def test_payload_is_its_numbers_and_a_small_header():
    tensors = update()
    blob = encode(tensors, SPEC, HEADER)
    assert len(blob) <= 4 * sum(t.size for t in tensors[:3]) + 400


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_update_that_is_not_finite_is_refused_by_name(bad):
    tensors = update()
    tensors[2][1, 2, 3] = bad
    with pytest.raises(PayloadError, match="query holds NaN or Inf") as caught:
        encode(tensors, SPEC, HEADER, coding("svd", energy=0.95))
    assert caught.value.reason == "not_finite"


def test_update_of_another_shape_is_refused_by_name():
    tensors = update()
    tensors[0] = tensors[0].reshape(36, 16)
    with pytest.raises(PayloadError, match="conv must have shape"):
        encode(tensors, SPEC, HEADER, coding("svd", energy=0.95))


def test_truncation_at_every_byte_is_refused():
    blob = encode(update(), SPEC, HEADER, coding("svd"))
    for length in range(0, len(blob), 7):
        with pytest.raises(PayloadError):
            decode(blob[:length], SPEC)


def test_trailing_bytes_are_refused():
    blob = encode(update(), SPEC, HEADER, coding("svd"))
    for tail in (b"\0", b" " * 8, blob):
        with pytest.raises(PayloadError):
            decode(blob + tail, SPEC)


def test_huge_declared_header_is_refused():
    blob = encode(update(), SPEC, HEADER, coding("svd"))
    with pytest.raises(PayloadError, match="header"):
        decode((2**62).to_bytes(8, "little") + blob[8:], SPEC)


def test_blob_larger_than_the_model_is_refused_before_it_is_read():
    with pytest.raises(PayloadError) as caught:
        decode(bytes(10**7), SPEC)
    assert caught.value.reason == "size"


def test_blob_for_another_model_is_refused():
    with pytest.raises(PayloadError):
        decode(encode(update(), SPEC, HEADER, coding("svd")), SPEC[:3])


@pytest.mark.parametrize("code", [5 * 17 + 1, 5 * 17 + 3, 5 * 3, 2**31 - 1])
def test_form_that_is_none_or_too_large_is_refused(code):
    """Codes are 5 rank + kind: no rank is above 16, no dense form has one, no factor is known here."""
    blob = encode(update(), SPEC, HEADER, coding("svd"))
    codes = np.array([5 * 1 + 1, 0], "<i4").tobytes()
    position = blob.rindex(codes)
    forged = blob[:position] + code.to_bytes(4, "little", signed=True) + blob[position + 4 :]
    with pytest.raises(PayloadError) as caught:
        decode(forged, SPEC)
    assert caught.value.reason == "rank"


CODINGS = {
    f"{name} {bits} {'deflated' if deflate else ''}": coding(name, bits, bits == 8, deflate)
    for name, bits, deflate in [
        ("svd", 32, False),
        ("svd", 4, True),
        ("topk", 8, False),
        ("topk", 32, True),
        ("dense", 2, False),
    ]
}


@pytest.mark.parametrize("how", CODINGS.values(), ids=CODINGS)
@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_damaged_blob_is_refused_or_is_another_valid_update(how, data):
    """No crash, no NaN, no other shape, whatever bytes come."""
    blob = bytearray(encode(update(), SPEC, HEADER, how, rng=np.random.default_rng(0)))
    for _ in range(data.draw(st.integers(1, 4))):
        blob[data.draw(st.integers(0, len(blob) - 1))] = data.draw(st.integers(0, 255))
    try:
        payload = decode(bytes(blob), SPEC)
    except PayloadError:
        return
    assert all(np.isfinite(t).all() and t.shape == s.shape for t, s in zip(payload.tensors, SPEC, strict=True))


@pytest.mark.parametrize("how", CODINGS.values(), ids=CODINGS)
def test_truncated_or_extended_blob_is_refused_in_any_coding(how):
    blob = encode(update(), SPEC, HEADER, how, rng=np.random.default_rng(0))
    for damaged in (blob[:-1], blob[: len(blob) // 2], blob + b"\0", blob + blob):
        with pytest.raises(PayloadError):
            decode(damaged, SPEC)


def test_blob_of_few_bits_is_refused_before_its_numbers_take_room():
    """A deflated megabyte of 2-bit levels would be 8 MB of numbers; the forms ask for a handful."""
    spec = (TensorSpec("dense", (1000, 500), 1),)
    entries = {"forms": np.int32([0]), "values": np.zeros(1_900_000, np.uint8), "steps": np.zeros(1, "<u2")}
    blob = write_blob(entries, HEADER, 2, deflate=True)
    tracemalloc.start()
    with pytest.raises(PayloadError, match="bytes of values"):
        decode(blob, spec)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * 2_100_000


def test_blob_for_a_model_without_tensors_may_hold_nothing():
    entries = {"forms": np.zeros(0, np.int32), "masks": np.ones(5, np.uint8), "values": np.zeros(0, "<f4")}
    with pytest.raises(PayloadError, match="bytes of masks"):
        decode(write_blob(entries, HEADER, 32, deflate=False), ())
    assert decode(encode([], (), HEADER), ()).tensors == []


def test_header_of_a_deflated_blob_costs_less_than_100_bytes():
    still = [np.zeros(item.shape, np.float32) for item in SPEC]
    assert len(encode(still, SPEC, HEADER, coding("svd", 4, deflate=True))) < 100


def test_deflated_blob_that_would_grow_without_end_is_refused_at_the_limit():
    deflater = zlib.compressobj(9, zdict=_DICTIONARY)
    bomb = b"Z" + deflater.compress(bytes(10**7)) + deflater.flush()
    with pytest.raises(PayloadError) as caught:
        decode(bomb, SPEC)
    assert caught.value.reason == "size"


def test_factors_whose_product_overflows_are_refused():
    """Each number is finite, their product is not: 1e30 x 1e30."""
    factors = Factors(np.full((36, 1), 1e30, np.float32), np.full((1, 16), 1e30, np.float32))
    blob = pack_forms([factors, *map(Dense, update()[1:3]), nothing(8, 8)], HEADER, PLAIN)
    with pytest.raises(PayloadError, match="overflows"):
        decode(blob, SPEC)


def test_a_form_s_place_in_the_table_is_its_code():
    """Other numbers than these would be another format."""
    assert [form.name for form in FORMS] == ["dense", "factors", "sparse", "left", "right"]
    for code in range(20):
        assert read_layout(code).code == code
