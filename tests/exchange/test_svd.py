"""Laws of the low-rank form."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fedkd.base.tensors import TensorSpec
from fedkd.exchange.blob import Header
from fedkd.exchange.codec import DENSE, decode, encode
from fedkd.exchange.coding import Coding
from fedkd.exchange.compressors import Svd
from fedkd.exchange.factors import Factors, nothing
from fedkd.exchange.layout import as_form
from fedkd.exchange.schedule import energy
from fedkd.exchange.spectrum import rank_for_energy
from fedkd.exchange.svd import factorise

HEADER = Header(1, "ab" * 8, "fedkd")

# Layers of the field in Keras layout, with the leading axes that make the rows of their matrix.
KERNELS = {
    "dense": TensorSpec("dense", (40, 24), 1),
    "conv1d": TensorSpec("conv1d", (5, 9, 16), 2),
    "conv2d": TensorSpec("conv2d", (3, 3, 8, 16), 3),
    "conv3d": TensorSpec("conv3d", (2, 2, 2, 4, 8), 4),
    "depthwise": TensorSpec("depthwise", (3, 3, 16, 2), 2),
    "attention query": TensorSpec("query", (32, 4, 8), 1),
    "attention output": TensorSpec("output", (4, 8, 32), 2),
    "1 x 200": TensorSpec("row", (1, 200), 1),
    "200 x 1": TensorSpec("column", (200, 1), 1),
    "bias of 3": TensorSpec("bias", (3,), 0),
    "scalar": TensorSpec("scalar", (), 0),
}


def relative_error(tensor, restored):
    """Share of the energy that is lost: |A - A'|² / |A|²."""
    return float(np.sum((tensor.astype(float) - restored) ** 2) / np.sum(tensor.astype(float) ** 2))


@pytest.mark.parametrize("spec", KERNELS.values(), ids=KERNELS)
@pytest.mark.parametrize("threshold", [0.5, 0.95, 0.999, 1.0])
def test_every_kind_of_kernel_survives_within_its_energy(spec, threshold):
    tensor = np.random.default_rng(0).normal(size=spec.shape).astype(np.float32)
    restored = as_form(Svd(threshold).compress(tensor.reshape(spec.matrix), None)).restore(spec)
    assert restored.shape == spec.shape
    assert restored.dtype == np.float32
    assert relative_error(tensor, restored) <= (1 - threshold) + 1e-6


@settings(max_examples=150, deadline=None)
@given(
    st.tuples(st.integers(1, 24), st.integers(1, 24)).flatmap(
        lambda shape: arrays(np.float32, shape, elements=st.floats(-1e3, 1e3, width=32, allow_subnormal=False))
    ),
    st.floats(0.01, 1.0),
)
def test_any_matrix_survives_within_any_energy(matrix, threshold):
    spec = TensorSpec("matrix", matrix.shape, 1)
    if matrix.any():
        assert (
            relative_error(matrix, as_form(Svd(threshold).compress(matrix, None)).restore(spec))
            <= (1 - threshold) + 1e-5
        )


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 30), st.integers(2, 30), st.floats(0.01, 1 - 1e-9), st.integers(0, 2**31))
def test_rank_is_that_of_an_exact_svd(rows, columns, threshold, seed):
    """The Gram matrix in float64 finds the K that σ² of a float64 SVD asks for (unless two are within 1e-9)."""
    matrix = np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32)
    squares = np.linalg.svd(matrix.astype(np.float64), compute_uv=False) ** 2
    shares = np.cumsum(squares) / squares.sum()
    if np.abs(shares - threshold).min() > 1e-9:
        assert factorise(matrix, threshold).rank == int(np.sum(shares <= threshold)) + 1


@pytest.mark.parametrize("threshold", [1e-6, 0.5, 0.95, 0.98, 1 - 1e-9])
def test_rank_one_update_survives_any_energy(threshold):
    left, right = np.arange(1, 31, dtype=np.float32), np.linspace(-1, 1, 20, dtype=np.float32)
    tensor, spec = np.outer(left, right), TensorSpec("outer", (30, 20), 1)
    form = Svd(threshold).compress(tensor, None)
    assert isinstance(form, Factors)
    assert form.rank == 1
    np.testing.assert_allclose(as_form(form).restore(spec), tensor, rtol=1e-6, atol=1e-6)


def test_full_rank_update_goes_dense_and_exact():
    tensor, spec = np.eye(16, dtype=np.float32), (TensorSpec("eye", (16, 16), 1),)
    payload = decode(encode([tensor], spec, HEADER, Coding(Svd(0.95))), spec)
    assert payload.ranks == (DENSE,)
    np.testing.assert_array_equal(payload.tensors[0], tensor)


@pytest.mark.parametrize("spec", KERNELS.values(), ids=KERNELS)
def test_zero_update_costs_nothing(spec):
    form = nothing(*spec.matrix)
    assert form.left.size + form.right.size == 0
    assert not as_form(form).restore(spec).any()


@pytest.mark.parametrize("bits, most", [(32, 4), (4, 3), (2, 2)])
def test_factors_are_sent_only_where_they_are_fewer_bits(bits, most):
    """Rank k of a 10 x 10 matrix is 20 k numbers and, where quantized, 2 k steps of 16 bits; dense 100 and one step.

    At 32 bits 640 k < 3200, at 4 bits 112 k < 416, at 2 bits 72 k < 216: k is at most 4, 3 and 2.
    """
    spec = (TensorSpec("square", (10, 10), 1),)
    directions = np.linalg.qr(np.random.default_rng(0).normal(size=(10, 10)))[0]
    for rank in range(1, 6):
        tensor = (directions[:, :rank] @ np.eye(10)[:rank]).astype(np.float32)
        ranks = decode(encode([tensor], spec, HEADER, Coding(Svd(1 - 1e-9), bits)), spec).ranks
        assert ranks == ((rank,) if rank <= most else (DENSE,))


def test_rank_can_be_full():
    """σ² = (1, 1, 1, 1): T = 0.75 is reached but not exceeded by three of them."""
    assert rank_for_energy(np.ones(4), 0.75) == 4
    assert rank_for_energy(np.ones(4), 0.74) == 3
    assert rank_for_energy(np.ones(4), 1.0) == 4


def test_restored_tensor_is_the_exact_sum_in_order():
    """No BLAS: each element is the float64 sum, in order, of exact products, which all machines agree on."""
    rng = np.random.default_rng(1)
    factors = Factors(rng.normal(size=(7, 3)).astype(np.float32), rng.normal(size=(3, 5)).astype(np.float32))
    restored = factors.restore(TensorSpec("m", (7, 5), 1))
    for i in range(7):
        for j in range(5):
            total = 0.0
            for k in range(3):
                total += float(factors.left[i, k]) * float(factors.right[k, j])
            assert restored[i, j] == np.float32(total)


def test_energy_rises_from_start_to_end_and_stays():
    assert [energy(r, 3, 0.9, 1.0) for r in (1, 2, 3, 4)] == [0.9, pytest.approx(0.95), 1.0, 1.0]
    assert energy(1, 1, 0.95, 0.98) == 0.95
