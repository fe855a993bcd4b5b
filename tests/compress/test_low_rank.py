"""Laws of kernels of low rank."""

import keras
import numpy as np
import pytest
from keras import layers

from fedkd.base.errors import InputError
from fedkd.compress.cost import cost
from fedkd.compress.low_rank import low_rank


def model(rank, rng):
    """A convolution and a dense layer whose kernels have this rank, with biases."""
    x = inputs = keras.Input((8, 8, 4))
    x = layers.Conv2D(24, 3, strides=2, padding="same", activation="relu", name="conv")(x)
    built = keras.Model(inputs, layers.Dense(30, name="dense")(layers.Flatten()(x)))
    for name, shape in (("conv", (36, 24)), ("dense", (384, 30))):
        kernel = rng.normal(size=(shape[0], rank)) @ rng.normal(size=(rank, shape[1])) / shape[0]
        bias = rng.normal(size=shape[1])
        layer = built.get_layer(name)
        layer.set_weights([kernel.reshape(layer.kernel.shape), bias])
    return built


def test_a_kernel_of_rank_three_is_two_layers_that_compute_the_same():
    """Places are 16: 16 * (36 * 3 + 3 * 24) + 384 * 3 + 3 * 30 multiplications instead of 16 * 36 * 24 + 384 * 30."""
    rng = np.random.default_rng(0)
    whole = model(3, rng)
    thin = low_rank(whole, 1 - 1e-9)
    x = rng.normal(size=(6, 8, 8, 4)).astype(np.float32)
    assert np.asarray(thin(x)) == pytest.approx(np.asarray(whole(x)), abs=1e-5)
    assert cost(whole).macs == 16 * 36 * 24 + 384 * 30
    assert cost(thin).macs == 16 * (36 * 3 + 3 * 24) + 384 * 3 + 3 * 30


def test_what_it_would_not_make_cheaper_stays():
    whole = model(30, np.random.default_rng(0))
    thin = low_rank(whole, 1.0)
    assert [layer.name for layer in thin.layers[1:]] == [layer.name for layer in whole.layers[1:]]
    assert all(map(np.array_equal, thin.get_weights(), whole.get_weights()))


def test_less_energy_means_fewer_multiplications():
    whole = model(20, np.random.default_rng(0))
    costs = [cost(low_rank(whole, energy)).macs for energy in (0.9, 0.7, 0.5)]
    assert costs == sorted(costs, reverse=True)
    assert len(set(costs)) == 3


def test_no_energy_is_refused():
    with pytest.raises(InputError, match=r"energy must be in \(0, 1\]"):
        low_rank(model(2, np.random.default_rng(0)), 0.0)
