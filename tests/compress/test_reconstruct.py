"""Laws of channels that the next layer makes up for."""

import keras
import numpy as np
import pytest
from keras import layers

from fedkd.base.errors import InputError
from fedkd.compress.channels import channels
from fedkd.compress.reconstruct import lasso, reconstructed
from fedkd.compress.remove_channels import remove_channels
from tests.compress.test_channels import dense, randomised
from tests.compress.test_qat import residual


def scores(model, x):
    return list(lasso(model, x)(channels(model)).values())


def test_channels_that_share_nothing_enter_in_the_order_of_what_they_add():
    """Each example shows one channel, so they add 1, 2 and 3; squares 1, 4 and 9 are shares of a mean of 14 / 3."""
    model = dense(np.eye(3), np.array([[1.0], [2.0], [3.0]]))
    assert scores(model, np.eye(3, dtype=np.float32)) == pytest.approx([3 / 14, 12 / 14, 27 / 14])


def test_a_channel_that_another_can_stand_for_never_enters():
    """The second is twice the first, so the first is nothing new, though its weights are as large as the third's."""
    model = dense(np.array([[1.0, 2.0, 0.0], [0.0, 0.0, 1.0]]), np.ones((3, 1)))
    first, second, third = scores(model, np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32))
    assert first == 0
    assert min(second, third) > 0


def reader(kind):
    """A layer of four channels, the second twice the first and the fourth the constant 1, and what reads them."""
    x = inputs = keras.Input((8, 8, 2) if kind != "causal" else (8, 2))
    conv = layers.Conv1D if kind == "causal" else layers.Conv2D
    x = layers.ReLU()(conv(4, 3, name="first")(x))
    if kind == "strides":
        x = layers.Conv2D(5, 3, strides=2)(x)
    elif kind == "separable":
        x = layers.SeparableConv2D(5, 3, depth_multiplier=2, activation="tanh", name="reader")(x)
    elif kind == "causal":
        x = layers.Conv1D(5, 3, padding="causal", dilation_rate=2)(x)
    model = randomised(keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x))))
    kernel, bias = model.get_layer("first").get_weights()
    kernel[..., 1], bias[1] = 2 * kernel[..., 0], 2 * bias[0]
    kernel[..., 3], bias[3] = 0, 1
    model.get_layer("first").set_weights([kernel, bias])
    if kind == "separable":  # its windows are each channel's own, and not for another to make up for
        depth = np.array(model.get_layer("reader").depthwise_kernel)
        depth[:, :, 1] = depth[:, :, 0]
        model.get_layer("reader").depthwise_kernel.assign(depth)
    return model


@pytest.mark.parametrize(
    ("kind", "places"), [("dense", [1, 3]), ("strides", [1, 3]), ("separable", [1, 3]), ("causal", [1])]
)
def test_what_other_channels_and_the_bias_can_say_is_lost_without_a_trace(kind, places):
    """Causal padding shows where a row begins, so that a constant is no bias there."""
    model, rng = reader(kind), np.random.default_rng(1)
    seen, new = (rng.normal(size=(200, *model.input_shape[1:])).astype(np.float32) for _ in range(2))
    removed = channels(model).given["first"][places]
    expected = np.asarray(model(new))
    size = float(np.abs(expected).max())
    assert np.asarray(reconstructed(model, removed, seen)(new)) == pytest.approx(expected, abs=1e-4 * size)
    assert np.abs(np.asarray(remove_channels(model, removed)(new)) - expected).max() > 1e-2 * size


def test_a_residual_model_comes_closer_to_what_it_was():
    model, rng = residual(), np.random.default_rng(0)
    x = rng.normal(size=(64, 8, 8, 1)).astype(np.float32)
    removed = rng.choice(channels(model).removable, 10, replace=False)
    plain, made = (
        np.square(np.asarray(m(x) - model(x))).sum()
        for m in (remove_channels(model, removed), reconstructed(model, removed, x))
    )
    assert made < 0.5 * plain


def test_weights_stay_where_examples_say_nothing():
    """Only the first input is ever on, and so is the first channel: the one that goes leaves no gap to fill."""
    model = dense(np.eye(3), np.arange(6.0).reshape(3, 2))
    x = np.array([[1.0, 0.0, 0.0]], np.float32)
    made = reconstructed(model, channels(model).removable[2:], x)
    assert np.array_equal(made.get_weights()[1], [[0.0, 1.0], [2.0, 3.0]])


def test_it_needs_an_example():
    model = dense(np.eye(3), np.ones((3, 1)))
    with pytest.raises(InputError, match="at least 1 row"):
        lasso(model, np.zeros((0, 3), np.float32))
    with pytest.raises(InputError, match="at least 1 row"):
        reconstructed(model, [1], np.zeros((0, 3), np.float32))
