"""Laws of what takes a layer's place in training that sees int8, and of what isn't seen there."""

import re

import keras
import numpy as np
import pytest
from keras import layers

from fedkd.base.errors import InputError
from fedkd.compress.cost import cost
from fedkd.compress.in_floats import in_floats
from fedkd.compress.qat import learned_scales, quantize_aware, unaware
from tests.compress.test_qat import ceilings, cnn, dense_norms, ranges


def test_what_the_model_cannot_see_is_named():
    x = inputs = keras.Input((8, 4))
    x = layers.LayerNormalization(name="norm")(layers.Dense(4, activation="swish", name="swish")(x))
    x = layers.BatchNormalization(name="late")(layers.Dense(4, activation="relu", name="dense")(x))
    x = layers.ReLU(threshold=0.5, name="threshold")(x)
    x = layers.Add(name="three")([x, x, x])
    x = layers.DepthwiseConv1D(3, name="depth")(layers.Dense(4, activation=layers.LeakyReLU(), name="leaky")(x))
    model = keras.Model(inputs, layers.Dense(3, activation="softmax", name="end")(layers.Flatten()(x)))
    skipped = quantize_aware(model).skipped
    assert set(skipped) == {"norm", "swish", "late", "threshold", "three", "leaky", "depth"}
    assert skipped["norm"] == "no recipe for LayerNormalization"
    assert re.search("folded", skipped["late"])


def test_a_model_of_two_inputs_has_a_range_for_each():
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    aware = quantize_aware(keras.Model([a, b], layers.Dense(2)(layers.Add()([a, b])))).model
    assert {"a_range", "b_range"} <= {layer.name for layer in ranges(aware)}


def test_what_cannot_be_made_aware_is_refused():
    inputs, dense = keras.Input((4,)), layers.Dense(4, name="twin")
    with pytest.raises(InputError, match="'twin' is called twice"):
        quantize_aware(keras.Model(inputs, dense(dense(inputs))))
    with pytest.raises(InputError, match="aware already"):
        quantize_aware(quantize_aware(cnn()).model)
    floats = keras.Input((4,))
    with pytest.raises(InputError, match="word ids of 'table' must be integers"):
        quantize_aware(keras.Model(floats, layers.Embedding(9, 2, name="table")(floats)))
    with pytest.raises(InputError, match=r"must start with keras\.Input"):
        quantize_aware(keras.Sequential([layers.Dense(3)]))


def test_a_dense_layer_with_its_normalisation_trains_as_the_two_do():
    """But for the rounding of the kernel; and gives them their weights back."""
    keras.utils.set_random_seed(0)
    plain = dense_norms(dropout=0)
    aware = quantize_aware(plain).model
    given = keras.models.clone_model(plain)
    assert all(map(np.array_equal, unaware(aware, given).get_weights(), plain.get_weights()))
    for layer in ranges(aware):
        layer.call = lambda x, training=False: x
    x = np.random.default_rng(0).normal(size=(64, 16)).astype(np.float32)
    for training in (True, False):
        found, expected = np.asarray(aware(x, training=training)), np.asarray(plain(x, training=training))
        assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.999
    unaware(aware, given)
    moved = [layer.get_weights()[-2:] for layer in given.layers if isinstance(layer, layers.BatchNormalization)]
    wanted = [layer.get_weights()[-2:] for layer in plain.layers if isinstance(layer, layers.BatchNormalization)]
    assert np.concatenate(moved[0]) == pytest.approx(np.concatenate(wanted[0]), abs=0.02)


def test_a_model_counts_alike_with_and_without_rounding():
    """Whatever stands for its layers there."""
    assert cost(quantize_aware(dense_norms()).model) == cost(dense_norms())


def test_a_ceiling_is_cut_by_the_range_and_kept_without_rounding():
    keras.utils.set_random_seed(0)
    plain = ceilings()
    aware = quantize_aware(plain).model
    x = np.random.default_rng(0).normal(size=(40, 8, 8, 1)).astype(np.float32)
    aware(x, training=True)
    assert max(float(layer.high) for layer in ranges(aware) if layer.ceiling == 0.5) == 0.5
    floats = in_floats(aware)
    assert [layer.ceiling for layer in ranges(aware) if layer.ceiling] == [0.5, 20.0, 1.0, 2.0]
    held = [floats.get_layer(layer.name).get_weights() for layer in plain.layers if layer.weights]
    plain.set_weights([weight for weights in held for weight in weights])
    assert np.asarray(floats(x)) == pytest.approx(np.asarray(plain(x)), abs=1e-5)


def test_a_ceiling_before_a_concatenation_is_named():
    """What is concatenated has one range, which can't cut each part where it should."""
    inputs = keras.Input((8, 8, 1))
    parts = [layers.ReLU(max_value=top, name=f"to_{top}")(layers.Conv2D(2, 1)(inputs)) for top in (1, 6)]
    assert set(quantize_aware(keras.Model(inputs, layers.Concatenate()(parts))).skipped) == {"to_1"}


def test_scales_of_what_gives_nothing_are_refused_by_name():
    inputs = keras.Input((4,))
    dead = layers.Dense(3, activation="relu", name="dead")
    model = keras.Model(inputs, layers.Dense(2)(dead(inputs)))
    dead.set_weights([np.zeros((4, 3)), -np.ones(3)])
    aware = quantize_aware(model).model
    with pytest.raises(InputError, match="must be trained before its scales are read"):
        learned_scales(aware)
    aware(np.random.default_rng(0).random((32, 4)).astype(np.float32), training=True)
    with pytest.raises(InputError, match=r"layer 'dead' must give something else than 0 .* take it out, or train"):
        learned_scales(aware)
    aware.get_layer("dead_range").high.assign(np.inf)
    with pytest.raises(InputError, match=r"layer 'dead' must give finite numbers, got 0\.0 to inf"):
        learned_scales(aware)
