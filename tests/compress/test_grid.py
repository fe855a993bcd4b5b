"""Laws of rows that are multiples of a step."""

import numpy as np
import pytest

from fedkd.compress.grid import rounded


@pytest.mark.parametrize("largest", range(1, 8))
def test_rows_of_multiples_keep_them_whatever_the_largest_is(largest):
    rng = np.random.default_rng(largest)
    whole = rng.integers(-largest, largest + 1, (20, 50))
    whole[:, 0], whole[:, 1] = largest, 1
    steps = rng.uniform(0.001, 10, 20).astype(np.float32)
    found, kept = rounded(whole * steps[:, None], 4)
    np.testing.assert_allclose(found * kept[:, None], whole * steps[:, None], rtol=1e-6)
    if largest > 1:  # of -1, 0 and 1 the multiples of a seventh are as good
        np.testing.assert_array_equal(found, whole)


def test_rows_of_other_numbers_reach_at_most_to_their_largest():
    matrix = np.random.default_rng(0).normal(size=(200, 30)).astype(np.float32)
    _, steps = rounded(matrix, 4)
    assert (steps * 7 <= np.abs(matrix).max(axis=1) * 1.0001).all()


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("size", [1e-44, 1e-38, 1e-37])
def test_rows_too_small_for_a_normal_step_are_zeros(size, bits):
    matrix = np.full((2, 30), size, np.float32)
    matrix[1] = 1
    whole, steps = rounded(matrix, bits)
    assert (steps >= np.finfo(np.float32).tiny).all()
    assert not whole[0].any()
    np.testing.assert_allclose(whole[1] * steps[1], 1, rtol=1e-6)
