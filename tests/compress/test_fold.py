"""Laws of normalisations that convolutions take in."""

import keras
import numpy as np
import pytest
from keras import layers

from fedkd.compress.fold import folded
from fedkd.compress.qat import quantize_aware
from tests.compress.test_channels import randomised
from tests.compress.test_qat import cnn, dense_norm_of_steps, dense_norms, depthwise, residual, temporal


def transposed():
    x = inputs = keras.Input((4, 4, 2))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2DTranspose(5, 3, strides=2)(x)))
    x = layers.Reshape((-1, 5))(x)
    return keras.Model(inputs, layers.BatchNormalization()(layers.Conv1DTranspose(3, 2, use_bias=False)(x)))


@pytest.mark.parametrize("make", [cnn, depthwise, residual, temporal, dense_norms, dense_norm_of_steps, transposed])
def test_a_folded_model_computes_the_same_without_normalisations(make):
    model = randomised(make())
    whole = folded(model)
    assert not any(isinstance(layer, layers.BatchNormalization) for layer in whole.layers)
    x = np.random.default_rng(0).normal(size=(5, *model.input_shape[1:])).astype(np.float32)
    expected = np.asarray(model(x))
    assert np.asarray(whole(x)) == pytest.approx(expected, rel=1e-4, abs=1e-5 * float(np.abs(expected).max()))


def test_training_that_sees_int8_names_transposed_convolutions_and_what_goes_into_them():
    named = quantize_aware(transposed()).skipped
    assert sorted(reason.split()[0] for reason in named.values()) == ["it", "it", "no", "no"]


def test_a_normalisation_that_no_convolution_can_take_in_stays():
    """One follows a ReLU, the other a convolution that is read twice."""
    x = inputs = keras.Input((4, 4, 2))
    x = layers.BatchNormalization(name="late")(layers.Conv2D(3, 1, activation="relu")(x))
    twice = layers.Conv2D(3, 1)(x)
    x = layers.Add()([twice, layers.BatchNormalization(name="beside")(twice)])
    model = randomised(keras.Model(inputs, x))
    whole = folded(model)
    assert {layer.name for layer in whole.layers} >= {"late", "beside"}
    rows = np.random.default_rng(0).normal(size=(3, 4, 4, 2)).astype(np.float32)
    assert np.asarray(whole(rows)) == pytest.approx(np.asarray(model(rows)), rel=1e-5)
