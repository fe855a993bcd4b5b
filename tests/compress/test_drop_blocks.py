"""Laws of layers that are left out."""

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from fedkd.base.encoder import Encoder
from fedkd.base.errors import InputError
from fedkd.base.keras_internals import call_behind
from fedkd.compress.blocks import blocks
from fedkd.compress.drop_blocks import Angles, block_angles, drop_blocks
from fedkd.models import transformer
from fedkd.models.graph import functional
from fedkd.models.inspect import logits_model

IDS = np.random.default_rng(0).integers(1, 50, (90, 6)).astype(np.int32)


def text_model(depth=4):
    keras.utils.set_random_seed(0)
    return logits_model(transformer._network(6, 50, 4, 32, depth))


def quiet(model, *indices):
    """Have layers add next to nothing to what passes them."""
    for index in indices:
        for layer in (model.get_layer(f"layer{index}_dense1"), model.get_layer(f"layer{index}_attention").output_dense):
            layer.set_weights([weight * 1e-3 for weight in layer.get_weights()])
    return model


def layers_left(model):
    return sorted({layer.name.partition("_")[0] for layer in model.layers if layer.name.startswith("layer")})


def names_of(tensors):
    return tuple(call_behind(tensor).operation.name for tensor in tensors)


def test_blocks_of_a_pre_norm_transformer_are_its_layers():
    model = transformer._network(6, 50, 4, 32, 4)
    found = blocks(keras.Model(model.inputs[0], model.output["logits"]))
    assert found == ("embedding", *names_of(model.output["hidden"]))


def test_blocks_of_a_post_norm_transformer_are_its_layers():
    encoder = Encoder(Path(), None, 3, 32, 2, 64, "gelu", 1e-12, 6, 50, 0, 0, 2)
    model = transformer.encoder_network(encoder, 3, 6, 4)
    found = blocks(keras.Model(model.inputs[0], model.output["logits"]))
    assert found == ("embedding_norm", *names_of(model.output["hidden"]))


def test_blocks_of_a_residual_network_are_those_of_one_shape():
    x = inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, padding="same", name="stem")(x)
    for i in range(3):
        x = layers.Add(name=f"sum{i}")([x, layers.Conv2D(8, 3, padding="same", activation="relu")(x)])
    x = layers.Conv2D(16, 3, name="wider")(x)
    model = keras.Model(inputs, layers.Dense(4)(layers.Flatten()(x)))
    assert blocks(model) == ("stem", "sum0", "sum1", "sum2")


def test_what_reads_another_shape_than_it_gives_is_no_block():
    widths = enumerate((8, 16, 16, 16))
    model = keras.Sequential([keras.Input((4,)), *(layers.Dense(width, name=f"d{i}") for i, width in widths)])
    assert blocks(functional(model)) == ("d1", "d2", "d3")


def test_angles_are_those_between_states_by_hand():
    """States [1, 0], [0, 1], [0, 2] and [-1, 0]: a quarter turn, none, and a quarter."""
    model = keras.Sequential([keras.Input((2,)), *(layers.Dense(2, use_bias=False, name=f"d{i}") for i in range(4))])
    turn, same = np.array([[0.0, 1.0], [-1.0, 0.0]]), np.eye(2)
    for i, kernel in enumerate((same, turn, 2 * same, turn / 2)):
        model.get_layer(f"d{i}").set_weights([kernel])
    found = block_angles(model, np.array([[1.0, 0.0], [0.0, 3.0]], np.float32))
    assert found.rows == 2
    expected = np.array([[0, 0.5, 0.5, 1], [0.5, 0, 0, 0.5], [0.5, 0, 0, 0.5], [1, 0.5, 0.5, 0]])
    np.testing.assert_allclose(found.total / 2, expected, atol=1e-6)
    without = drop_blocks(model, found)
    assert [layer.name for layer in without.layers if layer.weights] == ["d0", "d1", "d3"]


def test_angles_of_parts_add_up_to_those_of_the_whole():
    model, real = text_model(), IDS > 10
    whole = block_angles(model, IDS, real)
    parts = block_angles(model, IDS[:50], real[:50]) + block_angles(model, IDS[50:], real[50:])
    assert whole.rows == parts.rows == real.sum()
    np.testing.assert_allclose(parts.total, whole.total, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize(("count", "still", "left"), [(1, [2], [0, 1, 3]), (2, [1, 2], [0, 3])])
def test_the_layers_go_that_change_least_and_the_model_computes_what_is_left(count, still, left):
    model = quiet(text_model(), *still)
    found = drop_blocks(model, block_angles(model, IDS), count)
    assert layers_left(found) == [f"layer{i}" for i in left]
    expected = np.asarray(model(IDS))
    np.testing.assert_allclose(np.asarray(found(IDS)), expected, atol=0.05 * np.abs(expected).max())
    assert layers_left(model) == [f"layer{i}" for i in range(4)]
    assert found.count_params() < model.count_params()


def test_what_is_left_is_the_model_of_fewer_layers_bit_for_bit():
    """Without its last two layers, which add nothing, a model of four is one of two with the same weights."""
    model = quiet(text_model(), 2, 3)
    found = drop_blocks(model, block_angles(model, IDS), 2)
    two = text_model(2)
    for layer in two.layers:
        if layer.weights:
            layer.set_weights(model.get_layer(layer.name).get_weights())
    np.testing.assert_array_equal(np.asarray(found(IDS)), np.asarray(two(IDS)))


def test_what_has_no_blocks_to_spare_is_refused():
    model = text_model()
    shown = block_angles(model, IDS)
    for count in (0, 4, 1.0, "one"):
        with pytest.raises(InputError, match=rf"count must be from 1 to 3 \(of 4 blocks\), got {count}"):
            drop_blocks(model, shown, count)
    with pytest.raises(InputError, match="angles must be of this model, of 2 blocks, got 4"):
        drop_blocks(text_model(2), shown)
    with pytest.raises(InputError, match="angles must be of the same model, got such of 4 and 2 blocks"):
        shown + Angles(1, np.zeros((3, 3)))
    with pytest.raises(InputError, match="must have two blocks alike, one behind the other, got none"):
        blocks(functional(keras.Sequential([keras.Input((8,)), layers.Dense(4), layers.Dense(3)])))
    with pytest.raises(InputError, match="must have 1 output"):
        blocks(transformer.student(6, 50, 4, 32))
    with pytest.raises(InputError, match="x must have at least 1 row"):
        block_angles(model, IDS[:0])
    model.get_layer("embedding").words.assign(np.full((50, 32), np.nan))
    with pytest.raises(InputError, match="hidden states must be finite"):
        block_angles(model, IDS)
