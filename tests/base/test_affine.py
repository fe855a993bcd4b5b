"""Laws of the integers that stand for real numbers."""

import numpy as np
import pytest

from fedkd.base.affine import dequantize, quantize, scale_and_zero
from fedkd.base.errors import InputError
from tests.compress.test_cluster import WEIGHTS


def test_sixteen_weights_in_two_bits_are_multiples_of_their_scale():
    """From -1.08 to 2.12 there are 3 steps of 1.0667; 0 is the integer -1, so 2.09 is 2 steps above it."""
    scale, zero = scale_and_zero(float(WEIGHTS.min()), float(WEIGHTS.max()), 2)
    assert (round(scale, 4), zero) == (1.0667, -1)
    integers = np.clip(np.round(WEIGHTS / scale) + zero, -2, 1)
    assert integers.tolist() == [[1, -2, 0, -1], [-1, -1, -2, 1], [-2, 1, -1, -2], [1, -1, 0, 0]]


def test_a_range_in_eight_bits_comes_back_within_half_a_step():
    scale, zero = scale_and_zero(-1.0, 3.0, 8)
    x = np.linspace(-1, 3, 100, dtype=np.float32)
    assert dequantize(quantize(x, np.int8, scale, zero), scale, zero) == pytest.approx(x, abs=0.51 * scale)


@pytest.mark.parametrize(("low", "high"), [(1.0, 1.0), (2.0, 1.0), (0.0, np.inf), (np.nan, 1.0)])
def test_a_range_that_is_none_is_refused(low, high):
    with pytest.raises(InputError, match="lower end below"):
        scale_and_zero(low, high, 8)
