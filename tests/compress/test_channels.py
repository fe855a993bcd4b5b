"""Laws of removing channels: a smaller model computes what the larger one with zeros in their place does."""

import keras
import numpy as np
import pytest
from keras import layers

from fedkd.base.errors import InputError
from fedkd.compress.channels import channels
from fedkd.compress.cost import Cost, cost
from fedkd.compress.importance import batch_norm_gamma, l1, nisp
from fedkd.compress.remove_channels import macs_without, remove_channels
from fedkd.compress.structured import prune_channels
from tests.compress.test_qat import cnn, depthwise, residual, temporal


def randomised(model, seed=0):
    """Give all weights values that no rule of the code can hide behind, variances above 0."""
    rng = np.random.default_rng(seed)
    model.set_weights([rng.uniform(0.5, 1.5, w.shape) * rng.choice([-1, 1], w.shape) for w in model.get_weights()])
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.moving_variance.assign(np.abs(layer.moving_variance))
    return model


def zeroed(model, removed):
    """A copy in which what makes those channels, and every normalisation of them, gives 0."""
    found, copy = channels(model), keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    for node in found.nodes:
        out = np.isin(found.given[node.name], removed)
        if not getattr(node.operation, "weights", None) or not out.any():
            continue
        layer = copy.get_layer(node.name)
        held = layer.get_weights()
        if isinstance(layer, layers.BatchNormalization):
            held[0][out], held[1][out] = 0, 0
        elif isinstance(layer, layers.SeparableConv2D):
            held[1][..., out], held[2][out] = 0, 0
        elif isinstance(layer, layers.DepthwiseConv2D):
            held[0].reshape(*held[0].shape[:2], -1)[..., out] = 0
        else:
            held[0][..., out] = 0
            held[1:] = [np.where(out, 0, bias) for bias in held[1:]]
        layer.set_weights(held)
    return copy


@pytest.mark.parametrize("make", [cnn, depthwise, residual, temporal])
def test_a_smaller_model_equals_itself_masked(make):
    model, rng = randomised(make()), np.random.default_rng(1)
    removable = channels(model).removable
    removed = rng.choice(removable, len(removable) // 3, replace=False)
    smaller = remove_channels(model, removed)
    x = rng.normal(size=(5, *model.input_shape[1:])).astype(np.float32)
    expected = np.asarray(zeroed(model, removed)(x))
    assert np.asarray(smaller(x)) == pytest.approx(expected, rel=1e-5, abs=1e-5 * float(np.abs(expected).max()))
    assert smaller.count_params() < model.count_params()
    assert macs_without(channels(model), removed) == cost(smaller).macs < cost(model).macs


def test_channels_that_are_added_go_together_and_those_of_the_output_stay():
    """Four channels after the first convolution, joined with the second's; the third's two are their own."""
    x = inputs = keras.Input((4, 4, 1))
    x = layers.Conv2D(4, 1, name="a")(x)
    x = layers.Add()([x, layers.Conv2D(4, 1, name="b")(x)])
    x = layers.Concatenate()([x, layers.Conv2D(2, 1, name="c")(x)])
    found = channels(keras.Model(inputs, layers.Dense(3, name="end")(layers.Flatten(name="flat")(x))))
    assert np.array_equal(found.given["a"], found.given["b"])
    assert len(found.removable) == 6
    assert not found.given["end"].any()
    assert np.array_equal(found.given["flat"], np.tile(np.r_[found.given["a"], found.given["c"]], 16))


def test_what_an_unknown_layer_reads_stays():
    x = inputs = keras.Input((8, 3))
    x = layers.LayerNormalization()(layers.Conv1D(4, 1)(x))
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))
    assert not len(channels(model).removable)
    with pytest.raises(InputError, match="channel 1 can't be removed"):
        remove_channels(model, [1])


@pytest.mark.parametrize(
    "make",
    [
        lambda x: layers.Dense(4, activation="softmax")(x),
        lambda x: layers.Dense(4, activation=layers.Softmax())(x),
        lambda x: layers.Dense(4)(x) * np.arange(4, dtype=np.float32),
    ],
)
def test_channels_that_depend_on_all_or_on_an_array_stay(make):
    x = inputs = keras.Input((3,))
    assert not len(channels(keras.Model(inputs, layers.Dense(2)(make(x)))).removable)


def test_the_output_of_a_model_whose_last_layer_was_dropped_stays():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(6), layers.Dense(3), layers.Dense(5)])
    model.pop()
    assert len(channels(model).removable) == 6
    assert remove_channels(model, [1]).output_shape == (None, 3)


def test_channels_first_is_refused():
    x = inputs = keras.Input((1, 8, 8))
    model = keras.Model(inputs, layers.Conv2D(2, 3, data_format="channels_first", name="first")(x))
    with pytest.raises(InputError, match="'first' must have data_format 'channels_last'"):
        channels(model)


def test_a_layer_keeps_one_channel_at_least():
    model = cnn()
    with pytest.raises(InputError, match="would lose all of its channels"):
        remove_channels(model, channels(model).removable)


def dense(*kernels):
    """Dense layers without biases, with these kernels."""
    x = inputs = keras.Input((kernels[0].shape[0],))
    for kernel in kernels:
        x = layers.Dense(kernel.shape[1], use_bias=False)(x)
    model = keras.Model(inputs, x)
    model.set_weights(kernels)
    return model


def test_l1_is_the_share_of_a_filters_magnitude():
    """Columns sum to 2, 4 and 6 in magnitude: 1/2, 1 and 3/2 of their mean."""
    model = dense(np.array([[1.0, -2.0, 3.0], [-1.0, 2.0, 3.0]]), np.ones((3, 2)))
    assert list(l1(channels(model)).values()) == pytest.approx([0.5, 1.0, 1.5])


def test_nisp_passes_the_last_layers_importance_back():
    """Rows of the last kernel sum to 1, 3 and 5; the one before passes back 1 + 3, 5 and 3: shares of a mean of 4."""
    last = np.array([[1.0, 0.0], [-1.0, 2.0], [0.0, 5.0]])
    middle = np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
    scores = nisp(channels(dense(np.eye(3), middle, last)))
    assert list(scores.values()) == pytest.approx([1.0, 1.25, 0.75, 1 / 3, 1.0, 5 / 3])


def test_an_output_that_is_read_too_has_the_importance_of_both():
    """Its own 1 each, and 3 more for the first: 4 and 1 are 8/5 and 2/5 of their mean. Its producer's get them back."""
    inputs = keras.Input((2,))
    first, second, third = (layers.Dense(2, use_bias=False) for _ in range(3))
    hidden = first(inputs)
    ends = second(hidden)
    model = keras.Model(inputs, [ends, third(ends)])
    model.set_weights([np.eye(2), np.eye(2), np.array([[3.0, 0.0], [0.0, 0.0]])])
    assert list(nisp(channels(model)).values()) == pytest.approx([8 / 5, 2 / 5])


def test_gamma_ranks_channels_by_their_scale():
    x = inputs = keras.Input((4, 4, 1))
    norm = layers.BatchNormalization()
    x = norm(layers.Conv2D(3, 1)(x))
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))
    norm.gamma.assign([1.0, -4.0, 1.0])
    assert list(batch_norm_gamma(channels(model)).values()) == pytest.approx([0.5, 2.0, 0.5])


def test_multiplications_are_kernels_times_places():
    """4x4 places: 9 * 8 for the convolution, (9 + 8) * 8... depthwise 9 * 8, pointwise 8 * 4; then 64 * 2 once."""
    x = inputs = keras.Input((4, 4, 1))
    x = layers.Conv2D(8, 3, padding="same")(x)
    x = layers.SeparableConv2D(4, 3, padding="same")(x)
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))
    assert cost(model) == Cost(16 * (72 + 72 + 32) + 128, 72 + 8 + 72 + 32 + 4 + 128 + 2)


def test_what_is_not_counted_is_named():
    """A transposed convolution meets the 4x4 places of its input; attention isn't counted."""
    x = inputs = keras.Input((4, 4, 2))
    x = layers.Conv2DTranspose(3, 3, strides=2)(x)
    x = layers.Reshape((81, 3))(x)
    x = layers.MultiHeadAttention(1, 2, name="attention")(x, x)
    found = cost(keras.Model(inputs, x))
    assert (found.macs, found.uncounted) == (16 * 54, ("attention",))


@pytest.mark.parametrize("measure", ["l1", "batch_norm_gamma", "nisp"])
def test_pruning_stops_at_its_share_of_the_multiplications(measure):
    model = residual()
    smaller = prune_channels(model, 0.5, measure)
    assert 0.4 < cost(smaller).macs / cost(model).macs <= 0.5
    assert smaller.output_shape == model.output_shape
    widths = [layer.filters for layer in smaller.layers if isinstance(layer, layers.Conv2D)]
    assert min(widths) >= 4


def test_the_search_for_a_share_counts_and_builds_nothing_but_its_result(monkeypatch):
    """Twice to see what feeds what, once for the smaller model: deep models take seconds each."""
    model, built, whole = residual(), [], keras.models.clone_model
    monkeypatch.setattr(keras.models, "clone_model", lambda *a, **k: built.append(1) or whole(*a, **k))
    prune_channels(model, 0.5)
    assert len(built) <= 3


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [((1.0,), "macs must be"), ((0.5, "l9"), "measure must be one of l1"), ((0.01,), "multiplications are left")],
)
def test_arguments_that_break_a_rule_are_named(arguments, rule):
    with pytest.raises(InputError, match=rule):
        prune_channels(cnn(), *arguments)
