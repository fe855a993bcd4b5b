"""Laws of models that pool before they add biases and apply activations."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from fedkd.models import cnn, temporal
from fedkd.models.graph import graph_of
from fedkd.models.inspect import logits_model, split_outputs
from fedkd.models.pool_first import pooled_first
from tests import tiny


def own():
    """Branches, an own loss, random layers, and what no copy of the configuration would have."""
    x = inputs = keras.Input((12, 12, 2))
    adapted = layers.Normalization()
    adapted.adapt(np.random.default_rng(2).normal(3, 2, (20, 12, 12, 2)))
    x = layers.Conv2D(4, 3, activation="relu6", bias_regularizer="l2", name="c")(adapted(x))
    x = Custom(2.0)(layers.MaxPooling2D(3, 2, padding="same")(x))
    x = layers.Lambda(lambda tensor: tensor - 1, name="c_bias")(x)
    left = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same", kernel_regularizer="l2")(x)))
    right = layers.Conv2D(4, 1, activation="leaky_relu", name="c_activation")(x)
    x = layers.Add()([layers.MaxPooling2D()(left), layers.MaxPooling2D()(right)])
    x = layers.GlobalMaxPooling2D()(layers.Activation("relu")(layers.Dropout(0.2)(x)))
    return keras.Model(inputs, layers.Dense(3)(x))


def partly_frozen():
    model = cnn.teacher((12, 12, 1), 3, 4)
    model.get_layer("block0_conv1").trainable = False
    model.get_layer("block1_conv1").bias.trainable = False
    return model


class Custom(layers.Layer):
    """No ``get_config``: it can't be copied."""

    def __init__(self, factor, **options):
        super().__init__(**options)
        self.factor = factor

    def call(self, x):
        return x * self.factor


MODELS = {
    "cnn student": lambda: cnn.student((12, 12, 1), 3, 4),
    "cnn teacher": lambda: cnn.teacher((12, 12, 1), 3, 4),
    "temporal": lambda: temporal.teacher((64, 3), 3, 4),
    "normalised": lambda: tiny.network(4),
    "own": own,
    "partly frozen": partly_frozen,
}


def randomised(model):
    rng = np.random.default_rng(0)
    model.set_weights(
        [rng.uniform(0.1, 1.0, w.shape) * rng.choice([-1, 1], w.shape) ** (w.ndim > 1) for w in model.get_weights()]
    )
    return model


def inputs_of(model):
    return np.random.default_rng(1).normal(size=(6, *model.input_shape[1:])).astype(np.float32)


def slopes_of(model, x, variables):
    with tf.GradientTape() as tape:
        logits = split_outputs(model(x, training=False)).logits
        total = tf.reduce_sum(logits * tf.constant([1.0, -2.0, 3.0])) + tf.add_n([tf.zeros(()), *model.losses])
    return [np.asarray(gradient) for gradient in tape.gradient(total, [v.value for v in variables])]


@pytest.mark.parametrize("name", MODELS)
def test_outputs_are_the_same_bits(name):
    model = randomised(MODELS[name]())
    found = pooled_first(model)
    assert found is not model
    x = inputs_of(model)
    expected, got = (tf.nest.flatten(m(x, training=False)) for m in (model, found))
    assert all(np.array_equal(a, b) for a, b in zip(expected, got, strict=True))


@pytest.mark.parametrize("policy", ["mixed_float16", "float64", "bfloat16"])
def test_outputs_are_the_same_bits_in_any_dtype_policy(policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = randomised(cnn.student((12, 12, 1), 3, 4))
        found = pooled_first(model)
        assert found is not model
        x = inputs_of(model)
        expected, got = (tf.nest.flatten(m(x, training=False)) for m in (model, found))
        assert [tensor.dtype for tensor in got] == [tensor.dtype for tensor in expected]
        assert all(np.array_equal(a, b) for a, b in zip(expected, got, strict=True))
    finally:
        keras.config.set_dtype_policy(before)


@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_the_same_but_for_the_order_of_sums(name):
    model = randomised(MODELS[name]())
    found, x = pooled_first(model), inputs_of(model)
    for expected, got in zip(*(slopes_of(m, x, model.trainable_variables) for m in (model, found)), strict=True):
        assert got == pytest.approx(expected, rel=1e-4, abs=1e-5 * max(float(np.abs(expected).max()), 1e-6))


@pytest.mark.parametrize("name", MODELS)
def test_variables_are_the_models_own(name):
    """In training too: statistics move, and random layers draw from the same states."""
    model = MODELS[name]()
    found = pooled_first(model)
    for kind in ("trainable_variables", "non_trainable_variables"):
        assert {id(v) for v in getattr(found, kind)} == {id(v) for v in getattr(model, kind)}


def test_what_the_largest_tensors_go_through_is_the_convolution_alone():
    """Of the teacher of images the second convolution of each block is read by a pooling; the first stays as it is."""
    model = cnn.teacher((12, 12, 1), 3, 4)
    nodes = {node.name: node for node in graph_of(pooled_first(model), make=lambda operation: operation).nodes}
    assert {"block0_conv0", "block1_conv0"} <= set(nodes)
    assert not {"block0_conv1", "block1_conv1"} & set(nodes)
    for pool in ("block0_pool", "block1_pool"):
        assert nodes[nodes[pool].sources[0]].kind == "Start"


def test_the_model_can_still_be_saved_and_copied(tmp_path):
    model = randomised(cnn.student((12, 12, 1), 3, 4))
    pooled_first(model)
    model.save(tmp_path / "model.keras")
    x = inputs_of(model)
    for other in (keras.models.load_model(tmp_path / "model.keras"), logits_model(model)):
        np.testing.assert_array_equal(split_outputs(other(x)).logits, split_outputs(model(x)).logits)


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


def activity_of(moved, pooling):
    x = inputs = keras.Input((8, 8, 1))
    x = layers.MaxPooling2D(activity_regularizer=pooling)(layers.ReLU(activity_regularizer=moved)(x))
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))


def mixed():
    x = inputs = keras.Input((8, 8, 1))
    x = layers.MaxPooling2D(dtype="mixed_float16")(layers.Conv2D(2, 3, activation="relu")(x))
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))


def causal():
    x = inputs = keras.Input((8, 2))
    x = layers.GlobalMaxPooling1D()(layers.Conv1D(2, 3, padding="causal", activation="relu")(x))
    return keras.Model(inputs, layers.Dense(3)(x))


UNCHANGED = {
    "falling activation": lambda: conv_then_pool(activation="gelu"),
    "regularised activation": lambda: conv_then_pool(activation="relu", activity_regularizer="l2"),
    "activation that falls between neighbours": lambda: conv_then_pool(activation="tanh"),
    "regularised ReLU": lambda: activity_of("l2", None),
    "regularised pooling": lambda: activity_of(None, "l2"),
    "two dtypes": mixed,
    "causal": causal,
    "nothing to move": lambda: conv_then_pool(use_bias=False),
    "read twice": read_twice,
    "called twice": called_twice,
    "no pooling": lambda: keras.Sequential([keras.Input((8, 8, 1)), layers.Conv2D(2, 3), layers.Flatten()]),
}


@pytest.mark.parametrize("name", UNCHANGED)
def test_what_would_compute_another_thing_stays_as_it_is(name):
    model = UNCHANGED[name]()
    assert pooled_first(model) is model
