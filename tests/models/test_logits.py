"""Models that end in probabilities: their activation is taken off, or they are refused; none is trained on them."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from fedkd.base.errors import InputError
from fedkd.models.graph import functional
from fedkd.models.inspect import build_model, split_outputs
from fedkd.models.logits import with_logits

X = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)
THREE, TWO, LABELS, NUMBERS = {3: "softmax"}, {2: "softmax", 1: "sigmoid"}, {3: "sigmoid"}, {3: ""}


def ending(end, units=3):
    """A model whose hidden layer goes into what ``end`` makes of it."""

    def build():
        inputs = keras.Input((5,))
        hidden = layers.Dense(4, activation="relu", name="inner")(inputs)
        return keras.Model(inputs, end(hidden, units))

    return build_model(build, 1)


ENDS = {
    "an activation's name": lambda h, n: layers.Dense(n, activation="softmax", name="last")(h),
    "TensorFlow's function": lambda h, n: layers.Dense(n, activation=tf.nn.softmax, name="last")(h),
    "an Activation": lambda h, n: layers.Activation("softmax")(layers.Dense(n, name="last")(h)),
    "a Softmax layer": lambda h, n: layers.Softmax()(layers.Dense(n, name="last")(h)),
    "an operation": lambda h, n: keras.ops.softmax(layers.Dense(n, name="last")(h)),
    "a dictionary": lambda h, n: {"logits": layers.Dense(n, activation="softmax", name="last")(h), "hidden": [h]},
    "a dictionary's operation": lambda h, n: {
        "logits": keras.ops.softmax(layers.Dense(n, name="last")(h)), "hidden": [h],
    },
}  # fmt: skip


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_softmax_at_the_end_is_taken_off(end):
    model = ending(end)
    before = np.asarray(split_outputs(model(X)).logits)
    np.testing.assert_allclose(before.sum(1), 1, rtol=1e-5)
    found = with_logits(model, THREE)
    logits = np.asarray(split_outputs(found(X)).logits)
    np.testing.assert_allclose(tf.nn.softmax(logits), before, rtol=1e-5)
    last, inner = (found.get_layer(name) for name in ("last", "inner"))
    by_hand = np.asarray(inner(X)) @ np.asarray(last.kernel) + np.asarray(last.bias)
    np.testing.assert_allclose(logits, by_hand, rtol=1e-4, atol=1e-5)
    assert [w.path for w in found.weights] == [w.path for w in model.weights]
    assert (len(split_outputs(found.output).hidden) == 1) == isinstance(model.output, dict)


def test_what_is_saved_and_loaded_gives_logits_too(tmp_path):
    found = with_logits(ending(ENDS["an activation's name"]), THREE)
    found.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(np.asarray(again(X)), np.asarray(found(X)))


def test_one_sigmoid_unit_for_two_classes_is_taken_off_and_so_is_one_for_each_label():
    for links, units in ((TWO, 1), (LABELS, 3)):
        model = ending(lambda h, n: layers.Dense(n, activation="sigmoid")(h), units)
        before = np.asarray(model(X))
        np.testing.assert_allclose(tf.sigmoid(with_logits(model, links)(X)), before, rtol=1e-5)


@pytest.mark.parametrize("links", [THREE, LABELS, NUMBERS])
def test_a_model_that_ends_in_numbers_is_left_alone(links):
    model = ending(lambda h, n: layers.Dense(n)(h))
    assert with_logits(model, links) is model


def test_numbers_may_end_in_a_sigmoid():
    model = ending(lambda h, n: layers.Dense(n, activation="sigmoid")(h))
    assert with_logits(model, NUMBERS) is model


class Hidden(layers.Layer):
    """Probabilities that no graph shows."""

    def call(self, x):
        return tf.nn.softmax(x)


def nested(h, n):
    inputs = keras.Input((4,))
    return keras.Model(inputs, layers.Dense(n, activation="softmax")(inputs), name="head")(h)


@pytest.mark.parametrize(
    "end, links, words",
    [
        (lambda h, n: layers.Dense(n, activation="sigmoid")(h), THREE, "must end in logits or softmax for 3 outputs"),
        (lambda h, n: layers.Dense(n, activation="softmax")(h), LABELS, "must end in logits or sigmoid for 3 outputs"),
        (lambda h, n: Hidden(name="odd")(layers.Dense(n)(h)), THREE, r"can't be seen what makes them \(odd\)"),
        (nested, THREE, r"can't be seen what makes them \(head\)"),
        (lambda h, n: layers.Dense(4)(h), THREE, r"logits must have shape \(n, 3\), got \(None, 4\)"),
        (lambda h, n: layers.Dense(4)(h), TWO, r"logits must have shape \(n, 2\) or \(n, 1\), got \(None, 4\)"),
    ],
)
def test_probabilities_that_cannot_be_undone_are_refused_in_one_line(end, links, words):
    with pytest.raises(InputError, match=words) as caught:
        with_logits(ending(end), links)
    assert "\n" not in str(caught.value)


def test_an_end_that_is_not_known_but_gives_numbers_passes():
    model = ending(lambda h, n: layers.Rescaling(3.0)(layers.Dense(n)(h)))
    assert with_logits(model, THREE) is model
    assert functional(model)
