"""Laws of rows that an update leaves as they are: what is decoded is the same, at fewer bytes."""

from dataclasses import replace

import numpy as np
import pytest

from fedkd.base.tensors import TensorSpec
from fedkd.exchange.blob import Header, PayloadError, read_blob, write_blob
from fedkd.exchange.codec import DENSE, decode, encode, largest
from fedkd.exchange.compressors import Svd
from tests.exchange.codings import coding

TABLE = TensorSpec("table", (2000, 32), 1)
SPEC = (TABLE, TensorSpec("bias", (32,), 0))
HEADER = Header(3, "ab" * 8, "fedkd")


def update(words=50, spec=SPEC, seed=0):
    """A table of which a few rows changed, alike but for noise."""
    rng = np.random.default_rng(seed)
    table = np.zeros(spec[0].shape, np.float32)
    rows = rng.choice(len(table), words, replace=False)
    size = spec[0].size // len(table)
    changed = rng.normal(size=(words, 3)) @ rng.normal(size=(3, size)) + 0.01 * rng.normal(size=(words, size))
    table[rows] = changed.reshape(words, *spec[0].shape[1:])
    return [table, *(rng.normal(size=item.shape).astype(np.float32) for item in spec[1:])]


@pytest.mark.parametrize("energy", [0.9, 0.9999, 1.0])
def test_same_tensor_is_decoded_as_from_all_rows(energy, monkeypatch):
    blob = encode(update(), SPEC, HEADER, coding("svd", energy=energy))
    monkeypatch.setattr(Svd, "leaves_out_zeros", False)
    whole = encode(update(), SPEC, HEADER, coding("svd", energy=energy))
    few, all_ = decode(blob, SPEC), decode(whole, SPEC)
    for a, b in zip(few.tensors, all_.tensors, strict=True):
        assert np.linalg.norm(a - b) <= 1e-6 * np.linalg.norm(b)
    assert len(blob) < len(whole) / 5


def test_rows_that_did_not_change_stay_exactly_as_they_are():
    sent = update()
    got = decode(encode(sent, SPEC, HEADER, coding("svd", bits=4, energy=0.9)), SPEC).tensors[0]
    np.testing.assert_array_equal(got.any(axis=1), sent[0].any(axis=1))


def test_bytes_are_those_of_the_rows_in_use_and_a_bit_for_each_row():
    """Rank 3 of 50 x 32 is 246 numbers, the bias 32, the rows 2000 bits, the forms 2 numbers."""
    blob = encode(update(), SPEC, HEADER, coding("svd", energy=0.99))
    assert decode(blob, SPEC).ranks == (3, DENSE)
    assert 0 <= len(blob) - (4 * (246 + 32 + 2) + 250) <= 400


def test_kernels_of_more_axes_and_attention_leave_out_rows_of_their_matrix():
    for item in (TensorSpec("conv", (3, 3, 40, 8), 3), TensorSpec("query", (400, 4, 8), 1)):
        tensor = np.zeros(item.matrix, np.float32)
        tensor[::100] = np.random.default_rng(0).normal(size=tensor[::100].shape)
        tensor = tensor.reshape(item.shape)
        got = decode(encode([tensor], (item,), HEADER, coding("svd", energy=1.0)), (item,)).tensors[0]
        np.testing.assert_array_equal(got, tensor)


def test_all_rows_are_sent_where_leaving_some_out_would_not_pay():
    sent = update()
    sent[0][:] = 1.0
    sent[0][:10] = 0.0
    blob = encode(sent, SPEC, HEADER, coding("svd", energy=1.0))
    assert not read_blob(blob, largest(SPEC))[0]["used"].size


@pytest.mark.parametrize("name", ["topk", "dense", "powersgd"])
def test_what_keeps_a_share_of_all_entries_or_directions_of_all_rows_is_given_all(name):
    blob = encode(update(), SPEC, HEADER, coding(name, density=0.01))
    assert not read_blob(blob, largest(SPEC))[0]["used"].size


def forged(used=None, codes=None, bits=32, spec=SPEC):
    blob = encode(update(), SPEC, HEADER, coding("svd", bits=bits, energy=0.99))
    entries, header, bits = read_blob(blob, largest(SPEC))
    entries["used"] = entries["used"] if used is None else used(entries["used"].copy())
    entries["forms"] = entries["forms"] if codes is None else np.int32(codes)
    return write_blob(entries, header, bits, deflate=False)


BAD = {
    "values": [lambda u: u[:-1], lambda u: np.append(u, 0).astype(np.uint8), lambda u: u[:0]],
    "rank": [lambda u: u * 0, lambda u: u * 0 + 255],
}


@pytest.mark.parametrize("reason, change", [(reason, change) for reason, them in BAD.items() for change in them])
def test_rows_that_the_forms_do_not_ask_for_are_refused(reason, change):
    with pytest.raises(PayloadError) as caught:
        decode(forged(change), SPEC)
    assert caught.value.reason == reason


def test_one_row_more_is_refused_as_numbers_that_are_missing():
    def one_more(used):
        bits = np.unpackbits(used)
        bits[np.flatnonzero(bits == 0)[0]] = 1
        return np.packbits(bits)

    with pytest.raises(PayloadError) as caught:
        decode(forged(one_more), SPEC)
    assert caught.value.reason == "values"


def test_bits_past_the_last_row_are_refused():
    spec = (TensorSpec("table", (2001, 32), 1), SPEC[1])
    blob = encode(update(spec=spec), spec, HEADER, coding("svd", energy=0.99))
    entries, header, bits = read_blob(blob, largest(spec))
    entries["used"] = entries["used"].copy()
    entries["used"][-1] |= 1
    with pytest.raises(PayloadError, match="rank"):
        decode(write_blob(entries, header, bits, deflate=False), spec)


def test_statistics_are_never_without_rows():
    spec = (replace(TABLE, statistic=True), SPEC[1])
    blob = encode(update(), spec, HEADER, coding("svd", energy=0.9))
    assert not read_blob(blob, largest(spec))[0]["used"].size
    with pytest.raises(PayloadError):
        decode(forged(), spec)


def test_factor_in_known_directions_can_not_be_of_some_rows():
    """Code 5 rank + 4 is a right factor: its directions are of all 2000 rows."""
    from fedkd.exchange.basis import shared_bases

    bases = shared_bases(None, SPEC, 2, 3, np.random.default_rng(0))
    with pytest.raises(PayloadError) as caught:
        decode(forged(codes=[~(5 * 3 + 4), 0]), SPEC, bases)
    assert caught.value.reason == "rank"
