import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedkd.base.errors import InputError
from fedkd.compress.prune import masks, polynomial_sparsity, prunable, prune, sparsity_of

finite = st.floats(-100, 100, width=32)
kernels = hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=4, max_side=5), elements=finite)
sparsities = st.floats(0, 1, exclude_max=True)


def test_schedule_ends_exactly_at_the_final_sparsity() -> None:
    assert polynomial_sparsity(7, 7, 0.78) == 0.78


@pytest.mark.parametrize("step", [0, -1])
def test_schedule_prunes_nothing_before_the_first_step(step: int) -> None:
    assert polynomial_sparsity(step, 7, 0.78) == 0.0


def test_schedule_is_the_cubic_of_zhu_and_gupta() -> None:
    """Half way, 1 - (1/2)^3 = 7/8 of the final sparsity is reached."""
    assert polynomial_sparsity(5, 10, 0.8) == pytest.approx(0.7)


@given(st.integers(1, 50), st.floats(0.01, 0.99))
def test_schedule_never_decreases_and_stays_at_the_end(steps: int, final: float) -> None:
    path = [polynomial_sparsity(step, steps, final) for step in range(steps + 3)]
    assert path == sorted(path)
    assert path[-1] == final


def test_kernels_and_word_tables_are_prunable_and_vectors_are_not() -> None:
    assert prunable([(3, 3, 1, 8), (50, 16), (8,), ()]) == (True, True, False, False)


@given(kernels, sparsities)
def test_pruning_zeroes_exactly_the_smallest_share_of_each_kernel(kernel: np.ndarray, sparsity: float) -> None:
    """Every survivor is at least as large as every victim, and the victims number floor(sparsity * size)."""
    kernel = np.where(kernel == 0, np.float32(1), kernel)  # so that zeros after are zeros made
    (pruned,) = prune([kernel], sparsity)
    removed = pruned == 0
    assert removed.sum() == int(np.floor(sparsity * kernel.size))
    np.testing.assert_array_equal(pruned[~removed], kernel[~removed])
    if removed.any():
        assert np.abs(kernel[removed]).max() <= np.abs(kernel[~removed]).min()


def test_each_kernel_is_pruned_on_its_own_scale() -> None:
    small, large = np.full((2, 2), 1e-6, np.float32), np.full((2, 2), 1e6, np.float32)
    assert [np.count_nonzero(w) for w in prune([small, large], 0.5)] == [2, 2]


def test_among_equal_magnitudes_the_lower_index_goes_first() -> None:
    (pruned,) = prune([np.array([[1, -1], [1, -1]], np.float32)], 0.5)
    np.testing.assert_array_equal(pruned, [[0, 0], [1, -1]])


def test_vectors_pass_untouched() -> None:
    vector = np.array([1e-9, 5, -1e-9], np.float32)
    np.testing.assert_array_equal(prune([vector], 0.9)[0], vector)


@given(kernels)
def test_zero_sparsity_changes_no_byte(kernel: np.ndarray) -> None:
    assert prune([kernel], 0.0)[0].tobytes() == kernel.tobytes()


def test_pruning_leaves_its_input_alone_and_returns_float32() -> None:
    kernel = np.arange(1.0, 5.0).reshape(2, 2)
    (pruned,) = prune([kernel], 0.5)
    assert pruned.dtype == np.float32
    np.testing.assert_array_equal(kernel, [[1, 2], [3, 4]])


@settings(max_examples=30)
@given(kernels, sparsities)
def test_memory_layout_and_float_width_do_not_change_the_bytes(kernel: np.ndarray, sparsity: float) -> None:
    """Keras, safetensors and numpy hand over the same numbers in different dresses."""
    dresses = [kernel, np.asfortranarray(kernel), kernel.astype(np.float64), kernel.astype(">f4")]
    assert len({prune([dress], sparsity)[0].tobytes() for dress in dresses}) == 1


def test_pruned_bytes_are_the_same_on_every_machine() -> None:
    """Integers modulo a prime, so ties abound; the hash is a constant of the algorithm and was taken once."""
    kernel = ((np.arange(3000) * 7919) % 101 - 50).astype(np.float32).reshape(3, 10, 100)
    digest = hashlib.sha256(prune([kernel], 0.78)[0].astype("<f4").tobytes()).hexdigest()
    assert digest == "4a15b0e6bdc29375f671ff3ddab423946c81285fd40d24d780d3a98fab187288"


def test_denormals_are_ranked_too() -> None:
    """1e-44 and 1e-45 are denormals, equal to zero for a processor that flushes them."""
    (pruned,) = prune([np.array([[1e-44, 1e-45], [1, 1]], np.float32)], 0.25)
    np.testing.assert_array_equal(pruned == 0, [[False, True], [False, False]])


@given(kernels, sparsities)
def test_pruning_twice_is_pruning_once(kernel: np.ndarray, sparsity: float) -> None:
    once = prune([kernel], sparsity)
    assert prune(once, sparsity)[0].tobytes() == once[0].tobytes()


@given(kernels, sparsities)
def test_masks_keep_pruned_weights_as_they_are(kernel: np.ndarray, sparsity: float) -> None:
    weights = prune([kernel, np.zeros(3, np.float32)], sparsity)
    for weight, mask in zip(weights, masks(weights), strict=True):
        assert mask.dtype == np.float32
        assert mask.shape == weight.shape
        np.testing.assert_array_equal(weight * mask, weight)


def test_a_mask_is_zero_where_a_kernel_is_and_one_all_over_a_vector() -> None:
    kernel_mask, vector_mask = masks([np.array([[0, 2.0]]), np.zeros(2)])
    np.testing.assert_array_equal(kernel_mask, [[0, 1]])
    np.testing.assert_array_equal(vector_mask, [1, 1])


def test_sparsity_counts_zeros_of_kernels_only() -> None:
    """3 zeros among 2 * 2 + 1 * 4 elements; the vector of zeros does not count."""
    weights = [np.array([[0, 1.0], [2, 3]]), np.array([[0, 0, 1.0, 1]]), np.zeros(100)]
    assert sparsity_of(weights) == 3 / 8


def test_a_model_without_kernels_has_no_sparsity() -> None:
    assert sparsity_of([np.zeros(3)]) == 0.0


@pytest.mark.parametrize("value", [-0.1, 1.0, 1.5, float("nan")])
def test_sparsity_outside_its_range_is_refused_by_value_and_rule(value: float) -> None:
    with pytest.raises(InputError, match=rf"sparsity must be in \[0, 1\), got {value}"):
        prune([np.ones((2, 2))], value)
    with pytest.raises(InputError, match=r"\[0, 1\)"):
        polynomial_sparsity(1, 2, value)


def test_a_schedule_of_no_steps_is_refused() -> None:
    with pytest.raises(InputError, match="steps must be at least 1, got 0"):
        polynomial_sparsity(1, 0, 0.5)
