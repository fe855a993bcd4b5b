"""Laws of pruning pieces of filters."""

import keras
import numpy as np
import pytest
from keras import layers

from fedkd.base.errors import InputError
from fedkd.compress.channels import channels
from fedkd.compress.constraints import GradualPruning, keep_filterlets
from fedkd.compress.filterlets import filterlet_bytes, prune_filterlets
from fedkd.compress.importance import dead
from fedkd.compress.remove_channels import remove_channels


def of_sums(*sums):
    """A kernel of 1 x 2 windows, 2 inputs and 2 filters, whose filterlets' magnitudes have these sums."""
    halves = np.array(sums, np.float32).reshape(1, 1, 2, 2) / 2
    return np.concatenate([halves, -halves], axis=1)


def test_the_least_filterlets_of_each_kernel_go_whole():
    bias = np.array([0.1, 0.2], np.float32)
    kernel, same = prune_filterlets([of_sums(4, 1, 2, 3), bias], 0.5)
    assert np.array_equal(kernel, of_sums(4, 0, 0, 3))
    assert np.array_equal(same, bias)


def test_together_a_filterlet_counts_by_its_share_of_its_kernel():
    """Shares 1.6 .4 .8 1.2 and 4 / 3, 2 / 3 of single weights: .4, 2 / 3, .8 are 5 of 10 weights, 1.2 too much."""
    kernel, dense = prune_filterlets([100 * of_sums(4, 1, 2, 3), np.array([[2.0], [1.0]])], 0.6, together=True)
    assert np.array_equal(kernel, 100 * of_sums(4, 0, 0, 3))
    assert dense.tolist() == [[2.0], [0.0]]


def test_bytes_are_those_of_what_is_kept_and_an_index():
    """Half of 4 filterlets of 2 weights: 4 B, a byte of index and 2 scales; a bias of 2 floats."""
    pruned = prune_filterlets([of_sums(4, 1, 2, 3), np.ones(2)], 0.5)
    assert filterlet_bytes(pruned) == 4 + 1 + 8 + 8


def a_model():
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((8, 8, 1))
    for filters, name in ((4, "first"), (6, "second")):
        x = layers.ReLU()(layers.Conv2D(filters, 3, name=name)(x))
    model = keras.Model(inputs, layers.Dense(10)(layers.Flatten()(x)))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


@pytest.mark.parametrize("gradual", [False, True])
def test_filterlets_stay_away_while_the_others_train(gradual):
    rng, model = np.random.default_rng(0), a_model()
    x, y = rng.normal(size=(64, 8, 8, 1)).astype(np.float32), rng.integers(0, 10, 64)
    callbacks = [GradualPruning(0.75, epochs=2, hold=keep_filterlets)] if gradual else []
    if not gradual:
        keep_filterlets(model, 0.75)
    model.fit(x, y, epochs=2, verbose=0, callbacks=callbacks)
    for layer, count in (("first", 4), ("second", 24)):
        kernel = next(w for w in model.weights if w.path == f"{layer}/kernel")
        zeros = (np.asarray(kernel) == 0).reshape(9, -1)
        assert (zeros.all(0) == zeros.any(0)).all()
        assert zeros.all(0).sum() == 0.75 * count


def test_a_channel_whose_filterlets_are_gone_goes_without_a_trace():
    """Nothing reads the second of the first layer; nothing makes the first of the second, which has no bias yet."""
    model = a_model()
    kernel = np.array(model.get_layer("second").kernel)
    kernel[:, :, 1], kernel[..., 0] = 0, 0
    model.get_layer("second").kernel.assign(kernel)
    found = channels(model)
    removed = dead(found)
    assert removed == [found.given["first"][1], found.given["second"][0]]
    x = np.random.default_rng(0).normal(size=(5, 8, 8, 1)).astype(np.float32)
    assert np.asarray(remove_channels(model, removed)(x)) == pytest.approx(np.asarray(model(x)), abs=1e-5)


def test_a_sparsity_of_one_is_refused():
    with pytest.raises(InputError, match="sparsity must be in"):
        prune_filterlets([np.ones((2, 2))], 1.0)
