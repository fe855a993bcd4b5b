"""Laws of what an update is reduced to."""

import numpy as np
import pytest

from fedkd.base.errors import InputError
from fedkd.base.tensors import TensorSpec
from fedkd.config.exchange import COMPRESSORS, ExchangeConfig
from fedkd.exchange.basis import Basis, shared_bases
from fedkd.exchange.blob import Header
from fedkd.exchange.codec import decode, encode
from fedkd.exchange.coding import Coding
from fedkd.exchange.compressors import OwnCompressor, PowerSgd, RoundSettings, TopK, compressor
from fedkd.exchange.factors import Factors
from fedkd.exchange.forms import Sparse
from tests.exchange.codings import coding

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


@pytest.mark.parametrize("name", sorted(COMPRESSORS))
def test_at_its_maximum_every_reduction_is_dense(name):
    how = coding(name, energy=1.0, rank=100, density=1.0)
    assert_close(arrive(updates(1)[0], how, bases(100)), updates(1)[0])


def test_topk_sends_the_largest_entries_and_no_other():
    """A tenth of 2 x 10 entries is 2: those of -9 and 8; of the equal ones the first."""
    matrix = np.float32([[1, -9, 2, 0, 1, 1, 1, 1, 1, 1], [8, 8, 1, 1, 1, 1, 1, 1, 1, 1]])
    form = TopK(0.1).compress(matrix, None)
    assert isinstance(form, Sparse)
    assert form.values.tolist() == [-9, 8]
    assert np.flatnonzero(form.mask.ravel()).tolist() == [1, 10]


def test_sparse_entries_cost_a_bit_each_and_their_values():
    tensors = [np.random.default_rng(0).normal(size=(100, 80)).astype(np.float32)]
    spec = (TensorSpec("dense", (100, 80), 1),)
    size = len(encode(tensors, spec, HEADER, Coding(TopK(0.01))))
    assert size <= 8000 / 8 + 80 * 4 + 4 + 400


@pytest.mark.parametrize("round_", [1, 2])
def test_powersgd_is_linear_so_that_updates_can_be_summed_unseen(round_):
    """Coordinates of a sum are the sum of coordinates, whichever side is shared in the round."""
    first, second = updates(2)
    known, how = bases(3, round_), Coding(PowerSgd(3))
    both = [a + b for a, b in zip(first, second, strict=True)]
    apart = [a + b for a, b in zip(arrive(first, how, known), arrive(second, how, known), strict=True)]
    assert_close(arrive(both, how, known), apart, 1e-5)


def test_powersgd_finds_a_low_rank_update_after_two_rounds():
    """Rank 2 in both halves: the right directions of the first round's answer span the rows of the update."""
    rng = np.random.default_rng(3)
    update = [np.float32(rng.normal(size=(np.prod(s.matrix[:1]), 2)) @ rng.normal(size=(2, s.matrix[1]))) for s in SPEC]
    update = [u.reshape(s.shape) for u, s in zip(update, SPEC, strict=True)]
    how = Coding(PowerSgd(2))
    first = arrive(update, how, bases(2, 1))
    second = arrive(update, how, bases(2, 2, first))
    assert_close(second, update, 1e-4)


def test_only_one_factor_of_powersgd_is_sent():
    tensors, spec = [np.ones((100, 50), np.float32)], (TensorSpec("dense", (100, 50), 1),)
    known = shared_bases(None, spec, 1, 4, np.random.default_rng(0))
    assert len(encode(tensors, spec, HEADER, Coding(PowerSgd(4)), known)) <= 100 * 4 * 4 + 4 + 400


@pytest.mark.parametrize("round_", [1, 2])
def test_shared_directions_are_orthonormal_and_none_where_they_would_be_all(round_):
    conv, bias, dense = bases(3, round_, updates(1)[0])
    assert bias is None
    for basis in (conv, dense):
        np.testing.assert_allclose(basis.vectors.T @ basis.vectors, np.eye(3), atol=1e-6)


def test_blob_with_a_factor_missing_is_refused_by_who_does_not_know_it():
    blob = encode(updates(1)[0], SPEC, HEADER, Coding(PowerSgd(3)), bases(3))
    with pytest.raises(ValueError, match="can't have form left"):
        decode(blob, SPEC)


def own(function):
    return Coding(OwnCompressor(function, RoundSettings()))


def sign(matrix, settings, basis):
    """A codec of a user's own: the signs, times the mean magnitude, as a product of rank one where there is one."""
    left = np.sign(matrix[:, :1])
    return Factors(left, np.abs(matrix).mean(0, keepdims=True))


def test_reduction_of_the_users_own_is_one_function():
    expected = np.sign(updates(1)[0][2][:, :1]) * np.abs(updates(1)[0][2]).mean(0)
    assert_close(arrive(updates(1)[0], coding("tests.exchange.test_coding:sign"))[2:], [expected], 1e-6)


def test_function_of_the_users_own_gets_all_settings_of_the_exchange_and_the_round_s_energy():
    got = []
    exchange = ExchangeConfig(rank=7, density=0.3, bits=4)
    own = OwnCompressor(
        lambda matrix, settings, basis: got.append((settings, basis)), RoundSettings(rank=7, energy=0.6)
    )
    own.compress(np.ones((2, 2), np.float32), None)
    assert got == [(RoundSettings(rank=7, energy=0.6), None)]
    made = compressor("tests.exchange.test_coding:sign", exchange, 0.6).settings
    assert (made.rank, made.density, made.bits, made.energy) == (7, 0.3, 4, 0.6)


def test_reduction_that_returns_another_shape_is_refused_by_the_tensor_s_name():
    with pytest.raises(ValueError, match=r"conv was reduced to \(16, 36\), its matrix has shape \(36, 16\)"):
        encode(updates(1)[0], SPEC, HEADER, own(lambda matrix, *_: matrix.T))


def test_reduction_in_other_floats_is_sent_as_float32_and_one_that_costs_more_is_not_sent():
    def wasteful(matrix, settings, basis):
        return Factors(matrix.astype(np.float64) @ np.eye(matrix.shape[1]), np.eye(matrix.shape[1]))

    assert_close(arrive(updates(1)[0], own(wasteful)), updates(1)[0])
    assert_close(arrive(updates(1)[0], own(lambda matrix, *_: matrix.astype(np.float64))), updates(1)[0])


@pytest.mark.parametrize("name", ["tests.exchange.test_coding:missing", "no.such.module:f"])
def test_reduction_that_cannot_be_imported_is_refused(name):
    with pytest.raises(InputError, match=name):
        compressor(name, ExchangeConfig(), 0.9)


def test_reduction_that_is_no_form_is_refused_and_the_forms_are_listed():
    with pytest.raises(TypeError, match=r"array or one of Dense, Factors, Sparse.*got list"):
        encode(updates(1)[0], SPEC, HEADER, own(lambda matrix, *_: matrix.tolist()))


def test_basis_on_the_left_keeps_the_rows_it_spans():
    matrix = np.diag(np.float32([3, 2, 1, 0]))
    form = PowerSgd(2).compress(matrix, Basis("left", np.eye(4, 2, dtype=np.float32)))
    np.testing.assert_array_equal(form.left @ form.right, np.diag(np.float32([3, 2, 0, 0])))
