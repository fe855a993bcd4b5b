"""Laws of sub-models: what is left out of which tensor, and that what is trained of them is a smaller model."""

import keras
import numpy as np
import pytest
from keras import layers

from fedkd.base.seeding import Purpose, generator
from fedkd.compress.remove_channels import remove_channels
from fedkd.compress.units import units_of
from fedkd.exchange.sub_model import Units
from fedkd.models.inspect import get_weights, model_spec, set_weights


def network():
    """Convolutions with a shortcut, a depthwise one, a separable one, norms, and dense layers behind a flattening."""
    inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="first")(inputs)
    y = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, name="depthwise")(x)
    y = layers.BatchNormalization(name="norm")(layers.Conv2D(8, 1, name="second")(y))
    x = layers.SeparableConv2D(6, 3, activation="sigmoid", name="separable")(layers.Add()([x, y]))
    x = layers.Dense(10, activation="tanh", name="dense")(layers.Flatten()(x))
    return keras.Model(inputs, {"logits": layers.Dense(3, name="head")(x), "hidden": [y]})


def random(model, seed=0):
    rng = np.random.default_rng(seed)
    set_weights(model, [rng.uniform(0.1, 1, w.shape) for w in model.weights])
    return model


def draw(model, share, seed=0):
    return units_of(model).draw(share, generator(seed, Purpose.UNITS, 1))


def test_units_that_are_added_are_one_and_the_logits_stay():
    units = units_of(network())
    # Of the first convolution and the second one, which are added; of the separable and of the dense layer.
    assert [len(each) for each in units.layers] == [8, 6, 10]
    assert len(np.unique(np.concatenate(units.layers))) == 24


@pytest.mark.parametrize("share", [0.75, 0.5, 0.01])
def test_a_sub_model_has_a_share_of_each_layer_s_units_and_is_the_model_without_the_others(share):
    model = random(network())
    spec, part, left = model_spec(model), draw(model, share), {0.75: (6, 4, 8), 0.5: (4, 3, 5), 0.01: (1, 1, 1)}[share]
    smaller = remove_channels(keras.Model(model.inputs, model.output["logits"]), part.gone)
    kernels = {item.name: item.shape for item in part.spec(spec)}
    assert kernels["first/kernel"] == (3, 3, 2, left[0])
    assert kernels["dense/kernel"] == (16 * left[1], left[2])
    assert kernels["head/kernel"] == (left[2], 3)
    by_name = dict(zip((item.name for item in spec), part.taken(get_weights(model)), strict=True))
    for weight, array in zip(smaller.weights, smaller.get_weights(), strict=True):
        np.testing.assert_array_equal(by_name[weight.path], array)


def test_with_zeros_in_their_places_the_model_computes_what_the_smaller_one_does():
    model = random(network())
    part, spec = draw(model, 0.5), model_spec(model)
    smaller = remove_channels(keras.Model(model.inputs, model.output["logits"]), part.gone)
    set_weights(model, [w * mask for w, mask in zip(get_weights(model), part.masks(spec), strict=True)])
    x = np.random.default_rng(1).normal(size=(4, 6, 6, 2)).astype(np.float32)
    np.testing.assert_allclose(model(x, training=True)["logits"], smaller(x, training=True), rtol=1e-4)


def test_what_is_taken_and_spread_lies_where_it_was():
    model = random(network())
    part, spec, weights = draw(model, 0.6), model_spec(model), get_weights(model)
    for whole, mask, weight in zip(part.spread(part.taken(weights), spec), part.masks(spec), weights, strict=True):
        assert set(np.unique(mask)) <= {0, 1}
        np.testing.assert_array_equal(whole, weight * mask)


def test_the_seed_and_the_round_alone_draw_and_a_node_that_reads_the_units_draws_the_same():
    units = units_of(network())
    again = Units.from_json(units.to_json())
    drawn = [each.draw(0.5, generator(7, Purpose.UNITS, 2)) for each in (units, again)]
    np.testing.assert_array_equal(drawn[0].gone, drawn[1].gone)
    spec = model_spec(network())
    assert drawn[0].spec(spec) == drawn[1].spec(spec)
    assert set(drawn[0].gone) != set(units.draw(0.5, generator(7, Purpose.UNITS, 3)).gone)


def test_units_of_frozen_layers_stay():
    model = network()
    model.get_layer("second").trainable = False
    assert [len(each) for each in units_of(model).layers] == [6, 10]  # and those it reads
