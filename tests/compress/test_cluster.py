"""Laws of clustered weights."""

import numpy as np
import pytest

from fedkd.base.errors import InputError
from fedkd.compress.cluster import cluster

# The example of Han, Mao & Dally 2016, figure 3.
WEIGHTS = np.array(
    [[2.09, -0.98, 1.48, 0.09], [0.05, -0.14, -1.08, 2.12], [-0.91, 1.92, 0, -1.03], [1.87, 0, 1.53, 1.49]], np.float32
)


def test_sixteen_weights_share_four_centres():
    """64 B of floats become 16 indices of 2 bits and 4 centres of 4 B: 20 B."""
    found = cluster(WEIGHTS, 2)
    assert found.codebook == pytest.approx([-1.0, 0.0, 1.5, 2.0], abs=1e-6)
    assert found.indices.tolist() == [[3, 0, 2, 1], [1, 1, 0, 3], [0, 3, 1, 0], [3, 1, 2, 2]]
    assert (WEIGHTS.nbytes, found.nbytes) == (64, 20)


def test_each_centre_is_the_mean_of_the_weights_that_are_nearest_to_it():
    weights = np.random.default_rng(0).normal(size=(40, 25)).astype(np.float32)
    found = cluster(weights, 4)
    for index in np.unique(found.indices):
        assert found.codebook[index] == pytest.approx(weights[found.indices == index].mean(), abs=1e-5)
    distance = np.abs(weights[..., None] - found.codebook)
    assert np.array_equal(np.abs(weights - found.dense()), distance.min(-1))


def test_values_that_have_a_centre_each_are_kept_exactly():
    weights = np.array([0.5, -2.0, 0.5, 7.0], np.float32)
    assert np.array_equal(cluster(weights, 3).dense(), weights)


@pytest.mark.parametrize(
    ("weights", "bits", "rule"),
    [
        (WEIGHTS, 1, "bits must be"),
        (WEIGHTS, 2.5, "whole number from 2 to 8, got 2.5"),
        (WEIGHTS[:0], 4, "finite"),
        (np.array([np.nan]), 4, "finite"),
    ],
)
def test_arguments_that_break_a_rule_are_named(weights, bits, rule):
    with pytest.raises(InputError, match=rule):
        cluster(weights, bits)
