"""Laws of the transformers' own layers."""

import keras
import numpy as np

from fedkd.models import transformer
from fedkd.models.inspect import split_outputs

X = np.random.default_rng(0).normal(size=(3, 5, 8)).astype(np.float32)
MASK = np.array([[[1, 1, 1, 1, 1]], [[1, 1, 1, 0, 0]], [[1, 0, 0, 0, 0]]], bool)


def layer(kind, *shapes):
    attend = kind(2, 4, name="attention")
    keras.utils.set_random_seed(4)
    attend.build(*shapes)
    return attend


def test_self_attention_is_that_of_keras_to_the_bit():
    ours, theirs = layer(transformer.SelfAttention, X.shape), layer(keras.layers.MultiHeadAttention, X.shape, X.shape)
    mixed, maps, _ = ours(X, MASK)
    expected, scores = theirs(X, X, attention_mask=MASK, return_attention_scores=True)
    assert [w.path for w in ours.weights] == [w.path for w in theirs.weights]
    for a, b in zip([*ours.weights, mixed, maps], [*theirs.weights, expected, scores], strict=True):
        np.testing.assert_array_equal(a, b)


def test_values_are_what_the_maps_mix():
    attend = layer(transformer.SelfAttention, X.shape)
    mixed, maps, values = attend(X, MASK)
    heads = np.swapaxes(np.asarray(maps) @ np.asarray(values), 1, 2)
    np.testing.assert_allclose(attend.output_dense(heads), mixed, atol=1e-6)


def test_a_model_says_which_words_are_padding_and_attends_to_none():
    ids = np.array([[5, 3, 0, 0], [1, 0, 0, 0], [2, 2, 2, 2]], np.int32)
    model = transformer.teacher(4, 10, 3, 8)
    outputs = split_outputs(model(ids))
    np.testing.assert_array_equal(outputs.mask, ids != 0)
    assert len(outputs.hidden) == len(outputs.attention) == len(outputs.values) == 4
    assert [tuple(tensor.shape[1:]) for tensor in split_outputs(model.output).values] == [(2, 4, 4)] * 4
    for maps in outputs.attention:
        assert not (np.asarray(maps) * (ids == 0)[:, None, None]).any()
