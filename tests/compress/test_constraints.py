"""Laws of kernels that training may move but not change in kind."""

import keras
import numpy as np
import pytest
from keras import layers

from fedkd.base.errors import InputError
from fedkd.compress.constraints import GradualPruning, codebook_bytes, keep_clusters, keep_sparse, kernels, rewind
from fedkd.compress.prune import prune_together, sparsity_of


@pytest.fixture(scope="module")
def digits():
    from sklearn.datasets import load_digits

    data = load_digits()
    return (data.images[:600] / 16).astype(np.float32)[..., None], data.target[:600]


def a_model():
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((8, 8, 1))
    x = layers.MaxPooling2D()(layers.Conv2D(8, 3, activation="relu")(x))
    model = keras.Model(inputs, layers.Dense(10)(layers.Flatten()(x)))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def arrays(model):
    return [np.asarray(weight) for weight in kernels(model)]


@pytest.mark.parametrize("fitted", [False, True])
def test_zeros_stay_while_the_others_train(digits, fitted):
    model = a_model()
    if fitted:
        model.fit(*digits, epochs=1, verbose=0)
    keep_sparse(model, 0.75)
    before = arrays(model)
    model.fit(*digits, epochs=1, verbose=0)
    for old, new in zip(before, arrays(model), strict=True):
        assert np.array_equal(old == 0, new == 0)
        assert (old != new).any()


def test_gradual_pruning_follows_its_schedule_in_the_compiled_step(digits):
    """1 - (1/2)^3 = 7/8 of the way after the first of two epochs, then all of it, and there it stays."""
    model, seen = a_model(), []
    model.fit(*digits, epochs=1, verbose=0)
    watch = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: seen.append(sparsity_of(arrays(model))))
    model.fit(*digits, epochs=3, verbose=0, callbacks=[GradualPruning(0.8, epochs=2), watch])
    assert seen == pytest.approx([0.7, 0.8, 0.8], abs=0.01)


def test_a_ticket_is_the_first_weights_without_those_that_were_pruned(digits):
    model = a_model()
    first = model.get_weights()
    model.fit(*digits, epochs=1, verbose=0)
    keep_sparse(model, 0.5)
    kept = [kernel != 0 for kernel in arrays(model)]
    rewind(model, first)
    for kernel, mask, old in zip(arrays(model), kept, [first[0], first[2]], strict=True):
        assert np.array_equal(kernel, old * mask)


def test_kernels_of_small_weights_lose_more_when_all_are_ranked_together():
    small, large = np.array([[0.1, 0.2]]), np.array([[1.0, 2.0, 3.0, 0.05]])
    pruned = prune_together([small, np.array([0.0, 9.0]), large], 0.5)
    assert [array.tolist() for array in pruned] == [[[0.0, 0.0]], [0.0, 9.0], [[1.0, 2.0, 3.0, 0.0]]]


@pytest.mark.parametrize("fitted", [False, True])
def test_clusters_stay_and_their_values_move(digits, fitted):
    model = a_model()
    if fitted:
        model.fit(*digits, epochs=1, verbose=0)
    found = keep_clusters(model, 3)
    model.fit(*digits, epochs=1, verbose=0)
    for weight, clustered in zip(kernels(model), found.values(), strict=True):
        array = np.asarray(weight)
        assert len(np.unique(array)) <= 8
        assert not np.allclose(array, clustered.dense())
        for index in range(8):
            assert len(np.unique(array[clustered.indices == index])) <= 1


def test_codebooks_are_counted_with_their_indices():
    """Kernels of 72 and 720 weights with 8 values: 32 B and 3 bits a weight each; 18 biases of 4 B."""
    model = a_model()
    keep_clusters(model, 3)
    assert codebook_bytes(model, 3) == 32 + 27 + 32 + 270 + 4 * 18
    with pytest.raises(InputError, match="at most 4 values for 2 bits, got 8"):
        codebook_bytes(model, 2)


def test_kernels_may_have_codebooks_of_different_sizes():
    """The first of 72 weights in 2 bits; the second stays 720 floats."""
    model = a_model()
    first, second = kernels(model)
    before = np.asarray(second)
    assert list(keep_clusters(model, {first.path: 2})) == [first.path]
    assert len(np.unique(np.asarray(first))) <= 4
    assert np.array_equal(np.asarray(second), before)
    assert codebook_bytes(model, {first.path: 2}) == 16 + 18 + 4 * 720 + 4 * 18
    with pytest.raises(InputError, match=r"one of .*kernel.*, got 'none/kernel'"):
        keep_clusters(model, {"none/kernel": 2})


def test_what_breaks_a_rule_is_refused_before_training():
    with pytest.raises(InputError, match="sparsity must be in"):
        GradualPruning(1.0, epochs=2)
    with pytest.raises(InputError, match="epochs must be at least 1, got 0"):
        GradualPruning(0.5, epochs=0)
    model = a_model()
    keep_sparse(model, 0.5)
    with pytest.raises(InputError, match="no constraint of another kind, got Zeros"):
        keep_clusters(model, 4)
    with pytest.raises(InputError, match="weights must be all of the model's"):
        rewind(model, model.get_weights()[1:])
