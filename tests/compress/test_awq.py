"""Laws of channels that are scaled before they are rounded."""

import keras
import numpy as np
import pytest
from keras import layers

from fedkd.base.errors import InputError
from fedkd.compress.awq import awq, awq_scaled
from fedkd.compress.moments import moments
from fedkd.compress.scalable import scalable
from fedkd.models import transformer
from fedkd.models.graph import functional
from fedkd.models.inspect import logits_model
from tests.compress.activations import encoder, in_four, lost

IDS = np.random.default_rng(0).integers(1, 100, (120, 6)).astype(np.int32)


def loud(weights, channels=(3, 11), by=30.0):
    """Make some channels of a scale many times what they are."""
    array = np.array(weights)
    array[..., list(channels)] *= by
    weights.assign(array)


def text_model():
    """With channels that normalisations, a ReLU and values make much larger than the others."""
    keras.utils.set_random_seed(0)
    model = logits_model(transformer.student(6, 100, 4, 48))
    for name in ("layer0_norm0", "layer0_norm1", "layer1_norm0"):
        loud(model.get_layer(name).gamma)
    loud(model.get_layer("layer0_dense0").kernel)
    return model


def names(model):
    return [[kernel.name for kernel in place.readers] for place in scalable(functional(model))]


def test_the_function_of_floats_stays():
    model = text_model()
    expected, found = np.asarray(model(IDS)), np.asarray(awq_scaled(model, moments(model, IDS))(IDS))
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_with_loud_channels_less_is_lost_by_rounding_also_of_examples_that_nobody_showed():
    model = text_model()
    found = awq(model, moments(model, IDS[:60]))
    assert lost(found, model, IDS[60:]) < lost(in_four(model), model, IDS[60:]) / 1.5


def test_rounding_to_the_nearest_finds_what_was_rounded():
    model = text_model()
    found = awq(model, moments(model, IDS))
    for now, was in zip(in_four(found).get_weights(), found.get_weights(), strict=True):
        np.testing.assert_allclose(now, was, rtol=1e-6)


def test_all_kernels_of_a_pre_norm_transformer_read_channels_that_can_be_scaled():
    attention = [f"layer0_attention/{part}" for part in ("query", "key", "value")]
    first = [attention, ["layer0_attention/attention_output"], ["layer0_dense0"], ["layer0_dense1"]]
    assert names(text_model())[:4] == first


def test_of_an_encoder_as_bert_is_the_values_can_be_scaled_and_no_more():
    model = encoder()
    assert names(model) == [[f"layer{i}_attention/attention_output"] for i in range(2)]
    expected, found = np.asarray(model(IDS)), np.asarray(awq_scaled(model, moments(model, IDS))(IDS))
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_channels_that_others_read_too_stay():
    """Behind each part, as BERT has its norms, a residual path reads what they give; GELU gives no multiples."""
    inputs = keras.Input((6, 48))
    x = layers.LayerNormalization(name="norm")(inputs)
    inner = layers.Dense(96, name="wide")(x)
    x = x + layers.Dense(48, name="narrow")(keras.ops.gelu(inner))
    model = keras.Model(inputs, layers.Dense(48, name="last")(layers.Dense(48, name="linear")(x)))
    assert names(model) == [["last"]]


def test_values_that_a_model_gives_stay_as_they_are():
    model = transformer.student(6, 100, 4, 48)
    assert ["layer0_attention/attention_output"] not in names(model)
    assert ["layer0_attention/attention_output"] in names(logits_model(model))


def between(layer):
    """How far weights move of a layer that reads a loud channel behind another, whose model computes the same."""
    keras.utils.set_random_seed(0)
    parts = [layers.Dense(40, name="a"), layer, layers.Dense(40, name="b")]
    model = keras.Sequential([keras.Input((32,)), *parts])
    loud(model.get_layer("a").kernel, [3])
    x = np.random.default_rng(0).normal(size=(80, 32)).astype(np.float32)
    found = awq_scaled(model, moments(model, x))
    expected = np.asarray(model(x))
    np.testing.assert_allclose(np.asarray(found(x)), expected, atol=1e-5 * np.abs(expected).max())
    return np.abs(np.asarray(found.get_layer("b").kernel) - np.asarray(model.get_layer("b").kernel)).max()


@pytest.mark.parametrize("layer", [layers.ReLU(), layers.LeakyReLU(), layers.Dropout(0.2), layers.Identity()])
def test_scales_pass_what_gives_multiples_for_multiples(layer):
    assert between(layer) > 0.01


@pytest.mark.parametrize("layer", [layers.ReLU(6.0), layers.Activation("gelu")])
def test_scales_stay_before_what_does_not(layer):
    assert between(layer) == 0


def test_channels_that_are_all_alike_stay_as_they_are():
    model = keras.Sequential([keras.Input((32,)), layers.Dense(40, name="a"), layers.Dense(40, name="b")])
    model.get_layer("a").set_weights([np.zeros((32, 40)), np.ones(40)])
    found = awq_scaled(model, moments(model, np.ones((3, 32), np.float32)))
    for now, was in zip(found.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(now, was, rtol=1e-6)


def test_what_cannot_be_scaled_is_refused():
    model = keras.Sequential([keras.Input((32,)), layers.Dense(40, name="a"), layers.Dense(40, name="b")])
    shown = moments(model, np.ones((3, 32), np.float32))
    with pytest.raises(InputError, match="moments must be of this model, got none of b"):
        awq(model, {"a": shown["a"]})
    with pytest.raises(InputError, match="must have a dense kernel of 1,024 numbers or more"):
        awq(keras.Sequential([keras.Input((8,)), layers.Dense(4)]), shown)
    model.get_layer("b").kernel.assign(np.full((40, 40), np.inf))
    with pytest.raises(InputError, match="b must be finite, got NaN or infinity"):
        awq(model, shown)
