"""Laws of zeros that are chosen by what kernels read."""

import keras
import numpy as np
import pytest
from keras import layers

from fedkd.base.errors import InputError
from fedkd.compress.compensate import output_error
from fedkd.compress.moments import moments
from fedkd.compress.prune import prune
from fedkd.compress.sparse_gpt import sparse_gpt, sparse_gpt_pruned
from fedkd.compress.sparse_pattern import sparse_pattern
from fedkd.compress.wanda import wanda
from tests.compress.activations import correlated, lost, moment, trained

METHODS = (wanda, sparse_gpt)


def one_layer(seed=0):
    keras.utils.set_random_seed(seed)
    model = keras.Sequential([keras.Input((48,)), layers.Dense(40, name="a")])
    return model, correlated(200, 48, seed).astype(np.float32)


def kernel_of(model, name="a"):
    return np.asarray(model.get_layer(name).kernel)


def test_by_hand_wanda_keeps_what_is_large_times_what_is_read():
    """Norms of the four inputs are 1, 10, 1 and 2; of each output two stay."""
    pattern = sparse_pattern(0.5)
    weights, norms = np.array([[4.0, 0.1, 3.0, 1.0], [0.5, 0.1, 0.4, 0.3]]), np.array([1.0, 10.0, 1.0, 2.0])
    expected = [[True, False, True, False], [False, True, False, True]]
    assert pattern.stay(weights * norms).tolist() == expected


def test_wanda_is_a_choice_of_each_output_by_itself():
    model, x = one_layer()
    found, whole = kernel_of(wanda(model, moments(model, x), 0.4)), kernel_of(model)
    norms = np.linalg.norm(x.astype(np.float64), axis=0)
    for output in range(40):
        scores = np.abs(whole[:, output]) * norms
        gone = sorted(range(48), key=lambda i: scores[i])[:19]  # 0.4 of 48, rounded down
        expected = whole[:, output].copy()
        expected[gone] = 0
        np.testing.assert_array_equal(found[:, output], expected)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("pattern", "kept", "group"), [("2:4", 2, 4), ("4:8", 4, 8), ("1:5", 1, 5)])
def test_no_group_keeps_more_than_it_may(method, pattern, kept, group):
    model, x = one_layer()
    found = kernel_of(method(model, moments(model, x), pattern))
    for start in range(0, 48, group):  # 48 = 9 * 5 + 3
        there = (found[start : start + group] != 0).sum(axis=0)
        np.testing.assert_array_equal(there, kept)


@pytest.mark.parametrize("method", METHODS)
def test_a_share_of_the_weights_goes(method):
    model, x, _ = trained()
    found = method(model, moments(model, x), 0.6)
    assert (kernel_of(found, "hidden") == 0).mean() == pytest.approx(0.6, abs=0.01)
    np.testing.assert_array_equal(kernel_of(found, "head"), kernel_of(model, "head"))
    assert method(model, moments(model, x), 0.0).count_params() == model.count_params()


@pytest.mark.parametrize("sparsity", [0.5, "2:4"])
def test_what_stays_makes_up_for_what_went(sparsity):
    matrix, held = np.random.default_rng(1).normal(size=(48, 40)).astype(np.float32), moment(correlated(300, 48))
    pattern = sparse_pattern(sparsity)
    plain = np.where(pattern.stay(np.abs(matrix.T).astype(np.float64)).T, matrix, 0)
    made_up = sparse_gpt_pruned(matrix, held, pattern)
    assert output_error(made_up - matrix, held.second) < 0.7 * output_error(plain - matrix, held.second)


def test_a_trained_model_loses_less_of_its_answers_the_more_a_method_looks_at():
    model, x, unseen = trained()
    shown, twin = moments(model, x), keras.models.clone_model(model)
    twin.set_weights(
        prune(model.get_weights(), 0.7, [weight is model.get_layer("hidden").kernel for weight in model.weights])
    )
    magnitude, chosen, made_up = (
        lost(each, model, unseen) for each in (twin, wanda(model, shown, 0.7), sparse_gpt(model, shown, 0.7))
    )
    assert made_up < chosen < magnitude


def test_weights_of_zero_share_stay_bit_for_bit():
    model, x = one_layer()
    for method in METHODS:
        np.testing.assert_array_equal(kernel_of(method(model, moments(model, x), 0.0)), kernel_of(model))


@pytest.mark.parametrize("scale", [1, 1e-3])
@pytest.mark.parametrize("method", METHODS)
def test_weights_of_inputs_that_nobody_showed_go_first_whatever_the_scale(method, scale):
    model, x = one_layer()
    x[:, ::4] = 0
    model.get_layer("a").kernel.assign(kernel_of(model) / scale)
    found = kernel_of(method(model, moments(model, x * np.float32(scale)), 0.5))
    assert not found[::4].any()
    assert (found == 0).mean() == 0.5


def test_what_sparse_gpt_prunes_does_not_depend_on_the_scale_of_the_inputs():
    model, x, _ = trained()
    kernel, pattern = kernel_of(model, "hidden"), sparse_pattern(0.7)
    plain, scaled = (sparse_gpt_pruned(kernel / by, moment(x[:50] * by), pattern) for by in (1, 2.0**-7))
    np.testing.assert_array_equal(scaled == 0, plain == 0)


@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.7, "2:4"])
@pytest.mark.parametrize("method", METHODS)
def test_zeros_stay_zeros_and_count(method, sparsity):
    model, x = one_layer()
    kernel = prune([kernel_of(model)], 0.5)[0]
    model.get_layer("a").kernel.assign(kernel)
    found = kernel_of(method(model, moments(model, x), sparsity))
    assert not found[kernel == 0].any()
    if sparsity == 0.7:
        assert (found == 0).mean() == pytest.approx(0.7, abs=0.02)


def test_a_share_that_floats_have_a_little_less_of_is_whole():
    """In floats 0.29 * 100 is 28.999..."""
    assert (~sparse_pattern(0.29).stay(np.ones((1, 100)))).sum() == 29


@pytest.mark.parametrize("method", METHODS)
def test_what_cannot_be_pruned_is_refused(method):
    model, x = one_layer()
    shown = moments(model, x)
    for wrong in (1.0, -0.1, float("nan"), None):
        with pytest.raises(InputError, match=r"sparsity must be in \[0, 1\)"):
            method(model, shown, wrong)
    for wrong in ("4:2", "2:2", "0:4", "half", "2:4:8"):
        with pytest.raises(InputError, match=f"0 < N < M, .*got '{wrong}'"):
            method(model, shown, wrong)
    with pytest.raises(InputError, match="moments must be of this model, got none of a"):
        method(model, {})
    with pytest.raises(InputError, match="must have a dense kernel of 1,024 numbers or more"):
        method(keras.Sequential([keras.Input((8,)), layers.Dense(4)]), shown)
    model.get_layer("a").kernel.assign(np.full((48, 40), np.nan))
    with pytest.raises(InputError, match="a must be finite, got NaN or infinity"):
        method(model, shown)
