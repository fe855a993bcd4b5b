"""Laws of models that pool before they add biases and apply activations."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from fedkd.models import cnn, temporal
from fedkd.models.inspect import split_outputs
from fedkd.models.pool_first import pooled_first
from tests import tiny


def own():
    """A normalised branch whose weights come to lie in another order, a pooling that a sum reads, and an own loss."""
    x = inputs = keras.Input((12, 12, 2))
    x = layers.Conv2D(4, 3, activation="tanh", name="first")(x)
    x = layers.MaxPooling2D(3, 2, padding="same")(x)
    left = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same", kernel_regularizer="l2")(x)))
    right = layers.Conv2D(4, 1, activation="relu", name="second")(x)
    x = layers.Add()([layers.MaxPooling2D()(left), layers.MaxPooling2D()(right)])
    x = layers.GlobalMaxPooling2D()(layers.Activation("elu")(layers.Dropout(0.2)(x)))
    return keras.Model(inputs, layers.Dense(3)(x))


MODELS = {
    "cnn student": lambda: cnn.student((12, 12, 1), 3, 4),
    "cnn teacher": lambda: cnn.teacher((12, 12, 1), 3, 4),
    "temporal": lambda: temporal.teacher((64, 3), 3, 4),
    "normalised": lambda: tiny.network(4),
    "own": own,
}


def randomised(model):
    rng = np.random.default_rng(0)
    model.set_weights(
        [rng.uniform(0.1, 1.0, w.shape) * rng.choice([-1, 1], w.shape) ** (w.ndim > 1) for w in model.get_weights()]
    )
    return model


def given_to(model, found):
    """Weights of the first model, for the variables of the one made over."""
    held = model.get_weights()
    for variable in found.model.weights:
        variable.assign(held[found.places[id(variable)]])


def inputs_of(model):
    return np.random.default_rng(1).normal(size=(6, *model.input_shape[1:])).astype(np.float32)


def slopes_of(model, x, order):
    with tf.GradientTape() as tape:
        logits = split_outputs(model(x, training=False)).logits
        total = tf.reduce_sum(logits * tf.constant([1.0, -2.0, 3.0])) + tf.add_n([tf.zeros(()), *model.losses])
    gradients = tape.gradient(total, [v.value for v in model.trainable_variables])
    return {order[id(v)]: np.asarray(g) for v, g in zip(model.trainable_variables, gradients, strict=True)}


@pytest.mark.parametrize("name", MODELS)
def test_outputs_are_the_same_bits(name):
    model = randomised(MODELS[name]())
    found = pooled_first(model)
    assert found.model is not model
    given_to(model, found)
    x = inputs_of(model)
    expected, got = (tf.nest.flatten(m(x, training=False)) for m in (model, found.model))
    assert all(np.array_equal(a, b) for a, b in zip(expected, got, strict=True))


@pytest.mark.parametrize("policy", ["mixed_float16", "float64", "bfloat16"])
def test_outputs_are_the_same_bits_in_any_dtype_policy(policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = randomised(cnn.student((12, 12, 1), 3, 4))
        found = pooled_first(model)
        assert found.model is not model
        given_to(model, found)
        x = inputs_of(model)
        expected, got = (tf.nest.flatten(m(x, training=False)) for m in (model, found.model))
        assert [tensor.dtype for tensor in got] == [tensor.dtype for tensor in expected]
        assert all(np.array_equal(a, b) for a, b in zip(expected, got, strict=True))
    finally:
        keras.config.set_dtype_policy(before)


@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_the_same_but_for_the_order_of_sums(name):
    model = randomised(MODELS[name]())
    found = pooled_first(model)
    given_to(model, found)
    x = inputs_of(model)
    expected = slopes_of(model, x, {id(w): i for i, w in enumerate(model.weights)})
    got = slopes_of(found.model, x, found.places)
    assert expected.keys() == got.keys()
    for place, slope in expected.items():
        assert got[place] == pytest.approx(slope, rel=1e-4, abs=1e-5 * max(float(np.abs(slope).max()), 1e-6))


def test_what_the_largest_tensors_go_through_is_the_convolution_alone():
    """Of the teacher of images the second convolution of each block is read by a pooling; the first stays as it is."""
    made = pooled_first(cnn.teacher((12, 12, 1), 3, 4)).model
    activations = [made.get_layer(f"block{b}_conv{i}").activation.__name__ for b in (0, 1) for i in (0, 1)]
    assert activations == ["relu", "linear", "relu", "linear"]
    assert [made.get_layer(f"block0_conv{i}").use_bias for i in (0, 1)] == [True, False]


def conv_then_pool(**options):
    x = inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(2, 3, **options)(x)
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(layers.MaxPooling2D()(x))))


def read_twice():
    inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(2, 3, activation="relu")(inputs)
    both = layers.Concatenate()([layers.GlobalMaxPooling2D()(x), layers.GlobalAveragePooling2D()(x)])
    return keras.Model(inputs, layers.Dense(3)(both))


def called_twice():
    inputs, conv = keras.Input((8, 8, 2)), layers.Conv2D(2, 3, padding="same", activation="relu")
    return keras.Model(inputs, layers.Dense(3)(layers.GlobalMaxPooling2D()(conv(conv(inputs)))))


class Custom(layers.Layer):
    """No ``get_config``: it can't be copied."""

    def __init__(self, factor, **options):
        super().__init__(**options)
        self.factor = factor

    def call(self, x):
        return x * self.factor


def with_a_layer_of_its_own():
    model = conv_then_pool(activation="relu")
    return keras.Model(model.inputs, Custom(2.0)(model.outputs[0]))


def frozen():
    model = conv_then_pool(activation="relu")
    model.layers[1].trainable = False
    return model


UNCHANGED = {
    "falling activation": lambda: conv_then_pool(activation="gelu"),
    "regularised activation": lambda: conv_then_pool(activation="relu", activity_regularizer="l2"),
    "regularised bias": lambda: conv_then_pool(activation="relu", bias_regularizer="l2"),
    "nothing to move": lambda: conv_then_pool(use_bias=False),
    "read twice": read_twice,
    "called twice": called_twice,
    "own layer": with_a_layer_of_its_own,
    "frozen": frozen,
    "no pooling": lambda: keras.Sequential([keras.Input((8, 8, 1)), layers.Conv2D(2, 3), layers.Flatten()]),
}


@pytest.mark.parametrize("name", UNCHANGED)
def test_what_would_compute_another_thing_stays_as_it_is(name):
    model = UNCHANGED[name]()
    found = pooled_first(model)
    assert found.model is model
    assert found.places == {id(w): i for i, w in enumerate(model.weights)}
