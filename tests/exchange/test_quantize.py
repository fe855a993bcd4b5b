"""Laws of numbers of few bits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedkd.exchange.quantize import LEVEL_BITS, dequantize, pack, quantize, read_rows, step_values, unpack, write_rows


def rows(seed=0, shape=(3, 200)):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("bits", LEVEL_BITS)
def test_every_number_is_within_a_step_of_itself_when_rounded_at_random(bits):
    levels, steps = quantize(rows(), bits, np.random.default_rng(1))
    assert np.all(np.abs(dequantize(levels, steps) - rows()) < step_values(steps)[:, None])


@pytest.mark.parametrize("bits", [16, 8])
def test_every_number_is_within_half_a_step_of_itself_when_rounded_to_the_nearest(bits):
    levels, steps = quantize(rows(), bits, None)
    assert np.all(np.abs(dequantize(levels, steps) - rows()) <= step_values(steps)[:, None] * 0.5001)


@pytest.mark.parametrize("bits", LEVEL_BITS)
def test_rounding_at_random_is_right_on_average(bits):
    """The mean of n = 4000 draws, each within a step, is within 5 / sqrt(n) steps of the number."""
    number = np.float32([[1.0, 0.3, -0.7, 0.01]])
    rng = np.random.default_rng(2)
    draws = [dequantize(*quantize(number, bits, rng)) for _ in range(4000)]
    step = step_values(quantize(number, bits, rng)[1])[0]
    assert np.all(np.abs(np.mean(draws, 0, np.float64) - number) < 5 / np.sqrt(4000) * step)


@pytest.mark.parametrize("bits", [4, 2])
def test_clipping_the_largest_numbers_loses_less_than_coarse_steps_for_all(bits):
    """A step that just holds the largest of 200 normal numbers leaves more error than the chosen one."""
    levels, steps = quantize(rows(), bits, None)
    top = 2 ** (bits - 1) - 1
    widest = np.abs(rows()).max(1, keepdims=True) / top
    plain = np.rint(rows() / widest) * widest
    assert np.sum((dequantize(levels, steps) - rows()) ** 2) < np.sum((plain - rows()) ** 2)


def test_step_is_a_whole_bfloat16_so_that_products_are_exact():
    levels, steps = quantize(rows(), 16, None)
    exact = levels.astype(np.float64) * step_values(steps).astype(np.float64)[:, None]
    np.testing.assert_array_equal(dequantize(levels, steps), exact)


def test_row_of_zeros_stays_zeros_and_numbers_on_levels_stay_themselves():
    numbers = np.float32([[0, 0, 0], [-3.5, 0.5, 3.0]])
    np.testing.assert_array_equal(dequantize(*quantize(numbers, 4, None)), numbers)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(LEVEL_BITS), st.integers(0, 40), st.integers(0, 2**31))
def test_packing_loses_nothing(bits, count, seed):
    top = 2 ** (bits - 1) - 1
    levels = np.random.default_rng(seed).integers(-top, top + 1, count).astype(np.int16)
    packed = pack(levels, bits)
    assert packed.nbytes == -(-count * bits // 8)
    np.testing.assert_array_equal(unpack(packed, bits)[:count], levels)


def test_written_rows_come_back_in_their_shapes():
    given_rows = [rows(0, (2, 5)), rows(1, (0, 7)), rows(2, (1, 3))]
    shapes = [r.shape for r in given_rows]
    back = read_rows(*write_rows(given_rows, 32, None), shapes, 32)
    for a, b in zip(given_rows, back, strict=True):
        np.testing.assert_array_equal(a, b)
    assert [r.shape for r in read_rows(*write_rows(given_rows, 4, None), shapes, 4)] == shapes


@pytest.mark.parametrize(
    "damage",
    [lambda v, s: (v[:-1], s), lambda v, s: (v, s[:-1]), lambda v, s: (v, s | 0x8000), lambda v, s: (v, s | 0x7F80)],
)
def test_too_few_values_or_steps_that_are_no_finite_positive_numbers_are_refused(damage):
    with pytest.raises(ValueError, match="the forms ask for"):
        read_rows(*damage(*write_rows([rows()], 4, None)), [rows().shape], 4)


def test_bits_beyond_the_last_level_must_be_zero():
    values, steps = write_rows([np.float32([[1.0]])], 4, None)
    with pytest.raises(ValueError, match="the forms ask for"):
        read_rows(values | 0x10, steps, [(1, 1)], 4)
