"""Laws of files with word tables and dense kernels of 4 bits."""

import keras
import numpy as np
import pytest
from keras import layers

from fedkd.base.errors import InputError
from fedkd.compress.grid import rounded
from fedkd.edge.convert import convert_here
from fedkd.edge.few_bits import in_four_bits
from fedkd.edge.litert_internals import read_model, schema
from fedkd.edge.runtime import describe, predict
from fedkd.models import transformer
from fedkd.models.inspect import logits_model

KERNELS = ("xnnpack", "reference")
IDS = np.random.default_rng(0).integers(0, 200, (20, 6)).astype(np.int32)


def converted(model, rows, out, *precisions):
    model.save(out / "model.keras")
    np.save(out / "calibration.npy", rows)
    done = list(convert_here(out / "model.keras", out, out / "m", precisions))
    assert [each.error for each in done] == [None] * len(precisions)
    return [each.path for each in done]


def lookup(width):
    keras.utils.set_random_seed(0)
    ids = keras.Input((6,), dtype="int32")
    x = layers.Embedding(200, width, embeddings_initializer="glorot_normal", name="table")(ids)
    return keras.Model(ids, layers.Flatten()(x))


def test_steps_are_those_of_the_least_error_and_multiples_fit_their_bits():
    matrix = np.random.default_rng(0).normal(size=(30, 64)).astype(np.float32)
    matrix[3] = 0
    for bits, most in ((4, 7), (8, 127)):
        whole, steps = rounded(matrix, bits)
        assert np.abs(whole).max() == most
        assert not whole[3].any()
        widest = np.abs(matrix).max(axis=1) / most
        plain = np.round(matrix / np.where(widest > 0, widest, 1)[:, None]) * widest[:, None]
        errors = [np.square(found - matrix).sum(axis=1) for found in (whole * steps[:, None], plain)]
        assert (errors[0] <= errors[1] * 1.0001).all()
        assert (errors[0].sum() < 0.95 * errors[1].sum()) == (bits == 4)


@pytest.mark.parametrize("kernels", KERNELS)
def test_a_lookup_gives_the_rounded_rows_exactly(kernels, tmp_path):
    model = lookup(16)
    (path,) = converted(model, IDS, tmp_path, "int4")
    whole, steps = rounded(model.get_layer("table").get_weights()[0], 4)
    expected = (whole * steps[:, None])[IDS].reshape(len(IDS), -1)
    np.testing.assert_allclose(predict(path, IDS, kernels), expected, rtol=1e-6)


def test_a_table_takes_half_a_byte_a_number(tmp_path):
    float32, int4 = converted(lookup(16), IDS, tmp_path, "float32", "int4")
    assert describe(int4)["precision"] == "int4"
    # Each row has its step, of 4 bytes, and a zero point, of 8.
    assert describe(float32)["flash_bytes"] - describe(int4)["flash_bytes"] == pytest.approx(
        200 * (16 * 3.5 - 12), abs=1000
    )


@pytest.mark.parametrize("kernels", KERNELS)
def test_a_transformer_of_four_bits_is_close_to_that_of_floats(kernels, tmp_path):
    keras.utils.set_random_seed(0)
    model = logits_model(transformer.student(6, 200, 4, 48))
    (path,) = converted(model, IDS, tmp_path, "int4")
    expected = np.asarray(model(IDS))
    power, noise = np.square(expected).sum(), np.square(predict(path, IDS, kernels) - expected).sum()
    assert power > 20 * noise


@pytest.mark.parametrize("kernels", KERNELS)
def test_a_file_runs_whose_kernel_has_a_row_of_next_to_nothing(kernels, tmp_path):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((32,)), layers.Dense(32, name="a")])
    kernel = np.array(model.get_layer("a").kernel)
    kernel[:, 5] = 1e-44
    model.get_layer("a").kernel.assign(kernel)
    x = np.random.default_rng(0).normal(size=(8, 32)).astype(np.float32)
    (path,) = converted(model, x, tmp_path, "int4")
    found, expected = predict(path, x, kernels), np.asarray(model(x))
    assert not found[:, 5].any()
    assert np.square(found - expected).sum() < np.square(expected).sum() / 20


@pytest.mark.parametrize("kernels", KERNELS)
def test_convolutions_get_eight_bits(kernels, tmp_path):
    keras.utils.set_random_seed(0)
    steps = [layers.Conv2D(32, 3), layers.DepthwiseConv2D(3), layers.Conv2D(32, 3, activation="relu")]
    model = keras.Sequential([keras.Input((8, 8, 4)), *steps, layers.Flatten(), layers.Dense(32)])
    x = np.random.default_rng(0).normal(size=(8, 8, 8, 4)).astype(np.float32)
    (path,) = converted(model, x, tmp_path, "int4")
    expected = np.asarray(model(x))
    assert np.square(predict(path, x, kernels) - expected).sum() < np.square(expected).sum() / 20
    kinds, tensors = schema().TensorType, read_model(path).subgraphs[0].tensors
    held = {
        len(tensor.shape): tensor.type for tensor in tensors if getattr(tensor.quantization, "scale", None) is not None
    }
    assert held == {4: kinds.INT8, 2: kinds.INT4}


def test_a_model_with_nothing_for_four_bits_is_refused(tmp_path):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((8,)), layers.Dense(4)])
    (float32,) = converted(model, np.zeros((1, 8)), tmp_path, "float32")
    with pytest.raises(InputError, match="neither a word table nor a dense kernel of 1024 numbers or more"):
        in_four_bits(float32.read_bytes())


def test_tables_of_odd_width_are_left_to_gather(tmp_path):
    """A row of such a table would begin in the middle of a byte."""
    keras.utils.set_random_seed(0)
    ids = keras.Input((6,), dtype="int32")
    x = layers.Flatten()(layers.Embedding(200, 15)(ids))
    model = keras.Model(ids, layers.Dense(32)(x))
    (path,) = converted(model, IDS, tmp_path, "int4")
    expected = np.asarray(model(IDS))
    assert np.square(predict(path, IDS) - expected).sum() < np.square(expected).sum() / 20
