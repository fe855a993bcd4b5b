"""Laws of models inside models: whatever reads a graph reads theirs."""

import keras
import numpy as np
import pytest
from keras import layers

from fedkd.base.errors import InputError
from fedkd.compress.channels import channels
from fedkd.compress.cost import cost
from fedkd.compress.fold import folded
from fedkd.compress.low_rank import low_rank
from fedkd.compress.qat import quantize_aware, unaware
from fedkd.compress.reconstruct import lasso, reconstructed
from fedkd.compress.remove_channels import remove_channels
from fedkd.models.graph import functional, graph_of

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 8, 8, 3)).astype(np.float32)


def backbone(**names):
    x = inputs = keras.Input((8, 8, 3))
    x = layers.BatchNormalization(name="norm")(layers.Conv2D(8, 3, name="first")(x))
    inside = keras.Sequential([keras.Input((6, 6, 8)), layers.ReLU(), layers.Conv2D(16, 3, name="second")])
    return keras.Model(inputs, inside(x), **names)


def nested(**how):
    """A Sequential of augmentation, and a backbone in which there is a Sequential."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3))
    augmented = keras.Sequential([keras.Input((8, 8, 3)), layers.RandomFlip(), layers.GaussianNoise(0.1)])(inputs)
    x = layers.GlobalAveragePooling2D()(backbone(name="backbone")(augmented, **how))
    model = keras.Model(inputs, layers.Dense(4, name="end")(x))
    norm = model.get_layer("backbone").get_layer("norm")
    norm.set_weights([RNG.uniform(0.5, 1.5, weight.shape) for weight in norm.get_weights()])
    return model


def answers(model):
    return np.asarray(model(X, training=False))


def close(model):
    return pytest.approx(answers(model), rel=1e-4, abs=1e-5)


def test_the_multiplications_of_models_inside_are_counted():
    found = cost(nested())
    assert found.macs == 36 * 9 * 3 * 8 + 16 * 9 * 8 * 16 + 16 * 4
    assert found.uncounted == ()


def test_a_model_seen_through_is_of_the_same_layers_and_computes_the_same():
    model = nested()
    flat = functional(model)
    assert {"first", "norm", "second", "end"} <= {layer.name for layer in flat.layers}
    assert flat.get_layer("first") is model.get_layer("backbone").get_layer("first")
    assert [w.path for w in flat.weights] == [w.path for w in model.weights]
    assert np.array_equal(answers(flat), answers(model))


@pytest.mark.parametrize("called", [{}, {"training": False}, {"training": True}])
@pytest.mark.parametrize("training", [True, False, None])
def test_statistics_move_in_training_as_they_do_in_the_model_inside(called, training):
    """Keras lets what the outer model is told go before what the call of the inner one says."""
    model = nested(**called)
    norm = model.get_layer("backbone").get_layer("norm")
    before = norm.get_weights()
    model(X, training=training)
    moved = not np.array_equal(before[2], norm.moving_mean)
    norm.set_weights(before)
    functional(model)(X, training=training)
    assert (not np.array_equal(before[2], norm.moving_mean)) == moved


def test_folding_pruning_low_rank_and_reconstruction_reach_layers_of_models_inside():
    model = nested()
    assert answers(folded(model)) == close(model)
    assert "norm" not in {layer.name for layer in folded(model).layers}
    assert answers(low_rank(model, 1.0)) == close(model)
    found = channels(model)
    assert len(found.removable) == 24
    scores = lasso(model, X)(found)
    worst = sorted(scores, key=lambda channel: scores[channel])[:4]
    smaller = reconstructed(model, worst, X)
    assert smaller.count_params() == remove_channels(model, worst).count_params() < model.count_params()


def test_training_that_sees_int8_reaches_them_and_gives_their_weights_back():
    model = nested()
    aware, skipped = quantize_aware(model)
    assert skipped == {}
    aware.get_layer("second").bias.assign(np.ones(16))
    unaware(aware, model)
    assert np.array_equal(model.get_layer("backbone").layers[-1].get_layer("second").bias, np.ones(16))


def test_a_model_inside_with_other_inputs_gets_what_it_would_convert_itself():
    inside = keras.Sequential([keras.Input((4,), dtype="float32"), layers.Dense(2)])
    ids = keras.Input((4,), dtype="int32")
    model = keras.Model(ids, inside(ids))
    x = RNG.integers(0, 9, (5, 4))
    assert np.array_equal(np.asarray(functional(model)(x)), np.asarray(model(x)))


def test_what_cannot_be_seen_through_is_one_line():
    inputs = keras.Input((8, 8, 3))
    whole = backbone(name="a")
    with pytest.raises(InputError, match=r"must have names of their own, got two of '(first|norm|second)'"):
        cost(keras.Model(inputs, [whole(inputs), backbone(name="b")(inputs)]))
    with pytest.raises(InputError, match="is called twice"):
        graph_of(functional(keras.Model(inputs, [whole(inputs), whole(keras.ops.flip(inputs, 1))])))
    named = keras.Input((4,), name="row")
    inside = keras.Model({"row": named}, layers.Dense(2)(named), name="rows")
    outer = keras.Input((4,))
    with pytest.raises(InputError, match="model 'rows' must be called with one tensor for each of its inputs"):
        cost(keras.Model(outer, inside({"row": outer})))
