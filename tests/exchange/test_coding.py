"""Laws of what an update is reduced to."""

from dataclasses import replace

import numpy as np
import pytest

from fedkd.base.errors import InputError
from fedkd.base.tensors import TensorSpec
from fedkd.config.sections import COMPRESSORS as NAMES
from fedkd.exchange.basis import Basis, shared_bases
from fedkd.exchange.blob import Header
from fedkd.exchange.codec import decode, encode
from fedkd.exchange.coding import COMPRESSORS, Coding, compressor, powersgd, svd, topk
from fedkd.exchange.feedback import encode_with_feedback
from fedkd.exchange.forms import Factors, Sparse

SPEC = (TensorSpec("conv", (3, 3, 4, 16), 3), TensorSpec("bias", (16,), 0), TensorSpec("dense", (24, 10), 1))
HEADER = Header(1, "ab" * 8, "any")


def updates(count, seed=0):
    rng = np.random.default_rng(seed)
    return [[rng.normal(size=s.shape).astype(np.float32) for s in SPEC] for _ in range(count)]


def bases(rank, round_=1, previous=None):
    return shared_bases(previous, SPEC, round_, rank, np.random.default_rng(7))


def arrive(tensors, coding, known=None):
    return decode(encode(tensors, SPEC, HEADER, coding, known, np.random.default_rng(1)), SPEC, known).tensors


def assert_close(a, b, tolerance=0.0):
    for x, y in zip(a, b, strict=True):
        np.testing.assert_allclose(x, y, rtol=0, atol=tolerance)


def test_every_reduction_that_can_be_configured_exists():
    assert set(COMPRESSORS) == set(NAMES)


@pytest.mark.parametrize("name", sorted(COMPRESSORS))
def test_at_its_maximum_every_reduction_is_dense(name):
    coding = Coding(COMPRESSORS[name], energy=1.0, rank=100, density=1.0)
    assert_close(arrive(updates(1)[0], coding, bases(100)), updates(1)[0])


def test_topk_sends_the_largest_entries_and_no_other():
    """A tenth of 2 x 10 entries is 2: those of -9 and 8; of the equal ones the first."""
    matrix = np.float32([[1, -9, 2, 0, 1, 1, 1, 1, 1, 1], [8, 8, 1, 1, 1, 1, 1, 1, 1, 1]])
    form = topk(matrix, Coding(topk, density=0.1), None)
    assert isinstance(form, Sparse)
    assert form.values.tolist() == [-9, 8]
    assert np.flatnonzero(form.mask.ravel()).tolist() == [1, 10]


def test_sparse_entries_cost_a_bit_each_and_their_values():
    tensors = [np.random.default_rng(0).normal(size=(100, 80)).astype(np.float32)]
    spec = (TensorSpec("dense", (100, 80), 1),)
    size = len(encode(tensors, spec, HEADER, Coding(topk, density=0.01)))
    assert size <= 8000 / 8 + 80 * 4 + 4 + 400


@pytest.mark.parametrize("round_", [1, 2])
def test_powersgd_is_linear_so_that_updates_can_be_summed_unseen(round_):
    """Coordinates of a sum are the sum of coordinates, whichever side is shared in the round."""
    first, second = updates(2)
    known, coding = bases(3, round_), Coding(powersgd, rank=3)
    both = [a + b for a, b in zip(first, second, strict=True)]
    apart = [a + b for a, b in zip(arrive(first, coding, known), arrive(second, coding, known), strict=True)]
    assert_close(arrive(both, coding, known), apart, 1e-5)


def test_powersgd_finds_a_low_rank_update_after_two_rounds():
    """Rank 2 in both halves: the right directions of the first round's answer span the rows of the update."""
    rng = np.random.default_rng(3)
    update = [np.float32(rng.normal(size=(np.prod(s.matrix[:1]), 2)) @ rng.normal(size=(2, s.matrix[1]))) for s in SPEC]
    update = [u.reshape(s.shape) for u, s in zip(update, SPEC, strict=True)]
    coding = Coding(powersgd, rank=2)
    first = arrive(update, coding, bases(2, 1))
    second = arrive(update, coding, bases(2, 2, first))
    assert_close(second, update, 1e-4)


def test_only_one_factor_of_powersgd_is_sent():
    tensors, spec = [np.ones((100, 50), np.float32)], (TensorSpec("dense", (100, 50), 1),)
    known = shared_bases(None, spec, 1, 4, np.random.default_rng(0))
    assert len(encode(tensors, spec, HEADER, Coding(powersgd, rank=4), known)) <= 100 * 4 * 4 + 4 + 400


@pytest.mark.parametrize("round_", [1, 2])
def test_shared_directions_are_orthonormal_and_none_where_they_would_be_all(round_):
    conv, bias, dense = bases(3, round_, updates(1)[0])
    assert bias is None
    for basis in (conv, dense):
        np.testing.assert_allclose(basis.vectors.T @ basis.vectors, np.eye(3), atol=1e-6)


def test_blob_with_a_factor_missing_is_refused_by_who_does_not_know_it():
    blob = encode(updates(1)[0], SPEC, HEADER, Coding(powersgd, rank=3), bases(3))
    with pytest.raises(ValueError, match="can't have form left"):
        decode(blob, SPEC)


CODINGS = {
    "svd": Coding(svd, 0.5),
    "svd, 4 bits": Coding(svd, 0.5, bits=4, stochastic=True, deflate=True),
    "svd, 2 bits, nearest": Coding(svd, 0.3, bits=2),
    "topk": Coding(topk, density=0.05),
    "powersgd": Coding(powersgd, rank=2),
}


@pytest.mark.parametrize("coding", CODINGS.values(), ids=CODINGS)
def test_what_was_sent_and_the_residual_are_the_sum_of_all_updates(coding):
    residual = [np.zeros(s.shape, np.float32) for s in SPEC]
    sent = [np.zeros(s.shape) for s in SPEC]
    rng = np.random.default_rng(5)
    for round_, update in enumerate(updates(6), 1):
        known = bases(2, round_) if coding.reduce is powersgd else None
        blob, residual = encode_with_feedback(update, residual, SPEC, HEADER, coding, known, rng)
        sent = [s + t for s, t in zip(sent, decode(blob, SPEC, known).tensors, strict=True)]
    total = [np.sum(each, 0, np.float64) for each in zip(*updates(6), strict=True)]
    assert_close([s + r for s, r in zip(sent, residual, strict=True)], total, 1e-5)


def test_without_feedback_nothing_is_kept():
    blob, residual = encode_with_feedback(
        updates(1)[0], [], SPEC, HEADER, CODINGS["svd"], None, np.random.default_rng(0)
    )
    assert residual == []
    assert blob == encode(updates(1)[0], SPEC, HEADER, CODINGS["svd"])


def sign(matrix, coding, basis):
    """A codec of a user's own: the signs, times the mean magnitude, as a product of rank one where there is one."""
    left = np.sign(matrix[:, :1])
    return Factors(left, np.abs(matrix).mean(0, keepdims=True))


def test_reduction_of_the_users_own_is_one_function():
    coding = Coding(compressor("tests.exchange.test_coding:sign"))
    expected = np.sign(updates(1)[0][2][:, :1]) * np.abs(updates(1)[0][2]).mean(0)
    assert_close(arrive(updates(1)[0], coding)[2:], [expected], 1e-6)


def test_reduction_that_returns_another_shape_is_refused_by_the_tensor_s_name():
    with pytest.raises(ValueError, match=r"conv was reduced to \(16, 36\), its matrix has shape \(36, 16\)"):
        encode(updates(1)[0], SPEC, HEADER, replace(CODINGS["svd"], reduce=lambda matrix, *_: matrix.T))


def test_reduction_in_other_floats_is_sent_as_float32_and_one_that_costs_more_is_not_sent():
    def wasteful(matrix, coding, basis):
        return Factors(matrix.astype(np.float64) @ np.eye(matrix.shape[1]), np.eye(matrix.shape[1]))

    assert_close(arrive(updates(1)[0], Coding(wasteful)), updates(1)[0])
    assert_close(arrive(updates(1)[0], Coding(lambda matrix, *_: matrix.astype(np.float64))), updates(1)[0])


@pytest.mark.parametrize("name", ["tests.exchange.test_coding:missing", "no.such.module:f"])
def test_reduction_that_cannot_be_imported_is_refused(name):
    with pytest.raises(InputError, match=name):
        compressor(name)


def test_basis_on_the_left_keeps_the_rows_it_spans():
    matrix = np.diag(np.float32([3, 2, 1, 0]))
    form = powersgd(matrix, Coding(powersgd, rank=2), Basis("left", np.eye(4, 2, dtype=np.float32)))
    np.testing.assert_array_equal(form.left @ form.right, np.diag(np.float32([3, 2, 0, 0])))
