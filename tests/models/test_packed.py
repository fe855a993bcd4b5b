"""Laws of leaving padding out: answers and gradients are the model's own, and what stands for padding is 0."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from fedkd.base.encoder import read_encoder
from fedkd.models import temporal, transformer
from fedkd.models.inspect import build_model, split_outputs
from fedkd.models.packed import PackedAttention, packed
from fedkd.tasks.builtin import FirstLayers
from tests.pretrained_folder import write

STEPS, WORDS = 9, 20
KINDS = ("teacher", "student", "bert", "roberta", "distilbert", "relu")


@pytest.fixture(params=KINDS)
def model(request, tmp_path):
    """Small transformers of our own, and encoders: each family, and each way to write an activation."""
    if request.param in ("teacher", "student"):
        return build_model(lambda: getattr(transformer, request.param)(STEPS, WORDS, 3, 16), 0)
    given = {"hidden_act": "relu"} if request.param == "relu" else {}
    encoder = read_encoder(write(tmp_path, "bert" if request.param == "relu" else request.param, **given))
    return build_model(FirstLayers(encoder, 3, STEPS, 3), 0)


def texts(model, rng):
    """Of all lengths: a whole one, one of padding alone, and one with padding in its middle."""
    padding = next(i for i in range(3) if not np.any(split_outputs(model(np.full((1, STEPS), i, np.int32))).mask))
    x = rng.integers(5, WORDS, (6, STEPS)).astype(np.int32)
    for i, length in enumerate((STEPS, 0, 4, 1, 7)):
        x[i, length:] = padding
    x[5, 3] = padding
    return x


def test_answers_and_states_of_words_are_the_models_and_those_of_padding_are_zero(model):
    x = texts(model, np.random.default_rng(0))
    smaller = packed(model)
    assert [layer for layer in smaller.layers if isinstance(layer, PackedAttention)]
    assert {id(v) for v in smaller.weights} == {id(v) for v in model.weights}
    whole, found = (split_outputs(each(x)) for each in (model, smaller))
    real = whole.mask.numpy() > 0
    np.testing.assert_array_equal(found.mask, whole.mask)
    np.testing.assert_allclose(found.logits, whole.logits, rtol=1e-5, atol=1e-6)
    assert len(found.hidden) == len(whole.hidden) > 1
    for ours, theirs in zip(found.hidden, whole.hidden, strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours.numpy()[real], theirs.numpy()[real], rtol=1e-4, atol=1e-5)
        assert not ours.numpy()[~real].any()
    for ours, theirs in zip(found.attention, whole.attention, strict=True):
        assert ours.shape == theirs.shape
        some = real & real.any(1, keepdims=True)
        swapped = [np.swapaxes(maps.numpy(), 1, 2)[some] for maps in (ours, theirs)]
        np.testing.assert_allclose(*swapped, rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(found.values, whole.values, strict=True):
        swapped = [np.swapaxes(values.numpy(), 1, 2) for values in (ours, theirs)]
        np.testing.assert_allclose(swapped[0][real], swapped[1][real], rtol=1e-4, atol=1e-5)
        assert not swapped[0][~real].any()


def test_gradients_are_the_models(model):
    rng = np.random.default_rng(1)
    x, y = texts(model, rng), rng.integers(0, 3, 6)
    real = split_outputs(model(x)).mask[..., None]
    target = rng.normal(size=split_outputs(model(x)).hidden[1].shape).astype(np.float32)
    smaller, found = packed(model), []
    for each in (model, smaller):
        with tf.GradientTape() as tape:
            outputs = split_outputs(each(x))
            loss = tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(y, outputs.logits, from_logits=True))
            loss += tf.reduce_sum(outputs.hidden[1] * target * real) / 50
        variables = [v.value for v in model.trainable_variables]
        slopes = tape.gradient(loss, variables, unconnected_gradients="zero")
        found.append([tf.convert_to_tensor(slope).numpy() for slope in slopes])
    for ours, theirs in zip(*reversed(found), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)
    assert sum(np.abs(slope).max() > 1e-4 for slope in found[0]) > len(found[0]) // 2


def test_compiled_once_for_batches_of_any_number_of_words(model):
    smaller, traces = packed(model), []

    @tf.function
    def call(x):
        traces.append(1)
        return split_outputs(smaller(x)).logits

    x = texts(model, np.random.default_rng(2))
    for order in (range(6), [5, 4, 3, 2, 1, 0], [0] * 6, [1] * 6):
        rows = x[list(order)]
        np.testing.assert_allclose(call(tf.constant(rows)), split_outputs(model(rows)).logits, rtol=1e-4, atol=1e-5)
    assert len(traces) == 1


def test_other_models_are_returned_themselves():
    convolutions = build_model(lambda: temporal.student((16, 3), 4), 0)
    assert packed(convolutions) is convolutions
    ids = keras.Input((STEPS,), dtype="int32")
    x = keras.layers.Embedding(WORDS, 8)(ids)
    plain = keras.Model(ids, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling1D()(x)))
    assert packed(plain) is plain
