"""Laws of what is exported: a model's inference, in float32, or nothing."""

import keras
import numpy as np
import pytest
from keras import layers

from fedkd.base.errors import InputError
from fedkd.compress.ids import check_ids
from fedkd.compress.qat import quantize_aware
from fedkd.edge.convert import convert, convert_here
from fedkd.edge.inference import plain_input
from fedkd.edge.ops import ops
from fedkd.edge.runtime import describe, predict

pytestmark = pytest.mark.slow

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(50, 8, 8, 1)).astype(np.float32)
IDS = np.arange(200)[:, None]


def normalised(*first):
    """A model whose BatchNormalization computes something else in training, behind some layers."""
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((8, 8, 1))
    for layer in first:
        x = layer(x)
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(4, 3)(x)))
    return keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))


def made(model, rows, folder, *precisions):
    model.save(folder / "model.keras")
    np.save(folder / "calibration.npy", rows)
    return list(convert_here(folder / "model.keras", folder, folder / "m", precisions))


@pytest.mark.parametrize(
    "first",
    [
        lambda: [layers.Resizing(6, 6)],
        lambda: [layers.Rescaling(1 / 255, offset=-1), layers.RandomRotation(0.1), layers.GaussianNoise(0.2)],
        lambda: [layers.RandomFlip(), layers.RandomZoom(0.2), layers.RandomContrast(0.1), layers.SpatialDropout2D(0.3)],
        lambda: [layers.Normalization(mean=1.0, variance=2.0), layers.CenterCrop(6, 6)],
        lambda: [keras.Sequential([keras.Input((8, 8, 1)), layers.RandomCrop(6, 6), layers.GaussianDropout(0.2)])],
        lambda: [],
    ],
    ids=["resizing", "augmentation", "flips", "normalization", "nested", "plain"],
)
def test_a_file_computes_inference_whatever_layers_are_in_the_model(first, tmp_path):
    model = normalised(*first())
    (done,) = made(model, IMAGES, tmp_path, "float32")
    assert done.error is None
    assert predict(done.path, IMAGES) == pytest.approx(np.asarray(model(IMAGES, training=False)), abs=1e-5)


def test_integers_of_a_model_with_augmentation_decide_as_keras_does(tmp_path):
    model = normalised(layers.Resizing(6, 6), layers.RandomRotation(0.1))
    expected = np.asarray(model(IMAGES, training=False)).argmax(1)
    (done,) = made(model, IMAGES, tmp_path, "int8")
    assert np.mean(predict(done.path, IMAGES).argmax(1) == expected) >= 0.9


def wrong_export(monkeypatch):
    """As if the converter had left it open whether the model trains, as ``model.export`` does."""

    def export(model, folder):
        signature = [keras.InputSpec(shape=(1, *model.inputs[0].shape[1:]), dtype=model.inputs[0].dtype)]
        model.export(folder, verbose=False, input_signature=signature)

    monkeypatch.setattr("fedkd.edge.inference.export", export)


@pytest.mark.parametrize("aware", [False, True])
def test_a_file_that_computes_something_else_fails_in_every_precision(aware, tmp_path, monkeypatch):
    wrong_export(monkeypatch)
    model = normalised(layers.Resizing(6, 6))
    if aware:
        model = quantize_aware(model).model
        model(IMAGES, training=True)
    failed = made(model, IMAGES, tmp_path, "int8", "float16")
    assert [done.path for done in failed] == [None, None]
    assert all("must compute what its model computes, within 0.0001 of" in done.error for done in failed)
    assert not list(tmp_path.glob("m_*"))


def test_files_are_held_against_keras_on_the_rows_that_are_given(tmp_path, monkeypatch):
    """Rows of zeros tell nothing of a model without biases; what is given beside them does."""
    wrong_export(monkeypatch)
    np.save(tmp_path / "rows.npy", IMAGES)
    (failed,) = made(normalised(layers.Resizing(6, 6)), np.zeros_like(IMAGES), tmp_path, "float32")
    assert failed.path is None


def test_an_aware_model_is_no_other_for_its_rounding(tmp_path):
    aware = quantize_aware(normalised()).model
    aware(IMAGES, training=True)
    (done,) = made(aware, IMAGES, tmp_path, "int8")
    assert done.error is None


def words(*between, dtype="float32"):
    inputs = x = keras.Input((1,), dtype=dtype)
    for layer in between:
        x = layer(x)
    return keras.Model(inputs, layers.Flatten()(layers.Embedding(200, 1, name="table")(x)))


@pytest.mark.parametrize("precision", ["int8", "int16x8", "int8_per_tensor"])
def test_ids_that_enter_as_floats_never_become_small_integers(precision, tmp_path):
    (failed,) = made(words(), IDS.astype(np.float32), tmp_path, precision)
    assert (failed.path, "word ids of 'table' must be integers, got floats" in failed.error) == (None, True)


def test_ids_that_enter_as_floats_are_no_matter_in_floats_nor_ids_that_are_integers(tmp_path):
    model = words()
    (done,) = made(model, IDS.astype(np.float32), tmp_path, "float16")
    rows = IDS.astype(np.float32)
    assert predict(done.path, rows) == pytest.approx(np.asarray(model(rows)), abs=1e-3)
    (done,) = made(words(dtype="int32"), IDS, tmp_path, "int8")
    assert (done.error, describe(done.path)["input_dtype"]) == (None, "int32")


def inside():
    inputs = keras.Input((1,))
    return keras.Model(inputs, words()(layers.Reshape((1,))(inputs)))


def cast():
    inputs = keras.Input((1,))
    return keras.Model(inputs, layers.Flatten()(layers.Embedding(9, 1)(keras.ops.cast(inputs, "int32"))))


def hot():
    inputs = keras.Input((1,))
    return keras.Model(inputs, layers.Dense(2)(layers.CategoryEncoding(9, output_mode="one_hot")(inputs)))


@pytest.mark.parametrize("make", [words, lambda: words(layers.Reshape((1,))), inside, cast, hot])
def test_ids_are_followed_back_to_the_inputs(make):
    with pytest.raises(InputError, match="must be integers, got floats; give their Input dtype='int32'"):
        check_ids(make())


def test_a_look_up_of_what_a_layer_has_computed_is_none_of_ids():
    inputs = keras.Input((4,))
    best = keras.ops.argmax(layers.Dense(9)(inputs), axis=-1)
    check_ids(keras.Model(inputs, layers.Embedding(9, 2)(best)))


@pytest.mark.parametrize("policy", ["mixed_float16", "float16", "mixed_bfloat16"])
def test_a_model_of_other_floats_is_exported_in_float32(policy, tmp_path):
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(policy)
    try:
        inside = keras.Sequential([keras.Input((6,)), layers.Dense(5, activation="relu"), layers.BatchNormalization()])
        inputs = keras.Input((6,), dtype="float32")
        model = keras.Model(inputs, layers.Dense(3)(inside(layers.Dropout(0.1)(inputs))))
    finally:
        keras.config.set_dtype_policy("float32")
    x = RNG.normal(size=(40, 6)).astype(np.float32)
    whole, small = made(model, x, tmp_path, "float32", "int8")
    assert (whole.error, small.error) == (None, None)
    assert describe(whole.path)["precision"] == "float32"
    assert predict(whole.path, x) == pytest.approx(np.asarray(model(x), np.float32), abs=0.05)


@pytest.mark.parametrize("mode", ["int8", "int4"])
def test_a_model_that_keras_has_quantised_is_refused_in_one_line(mode, tmp_path):
    model = keras.Sequential([keras.Input((16,)), layers.Dense(8, activation="relu", name="first"), layers.Dense(2)])
    model.quantize(mode)
    failed = made(model, RNG.normal(size=(20, 16)), tmp_path, "float32", "int8")
    assert all(f"layer 'first' must hold floats, got {mode} by Keras' model.quantize" in done.error for done in failed)


@pytest.mark.parametrize("mask", [False, True])
def test_words_are_looked_up_by_a_gather_alone(tmp_path, mask):
    """Keras' own lookup counts negative ids from the end by a SELECT, which no microcontroller's runtime has."""
    inputs = keras.Input((5,), dtype="int32")
    x = layers.GlobalAveragePooling1D()(layers.Embedding(20, 4, mask_zero=mask)(inputs))
    model, rows = keras.Model(inputs, layers.Dense(2)(x)), np.arange(20, dtype=np.int32).reshape(4, 5)
    model.save(tmp_path / "m.keras")
    np.save(tmp_path / "calibration.npy", rows)
    (made,) = convert_here(tmp_path / "m.keras", tmp_path, tmp_path / "m", ["float32"])
    names = {op.name for op in ops(made.path)}
    assert "GATHER" in names
    assert "SELECT" not in names
    np.testing.assert_allclose(predict(made.path, rows), model(rows), atol=1e-5)


def test_a_model_of_ids_as_bytes_takes_ids_as_int32():
    inputs = keras.Input((5,), dtype="uint8")
    model = keras.Model(inputs, layers.Flatten()(layers.Embedding(20, 4)(inputs)))
    found = plain_input(model)
    assert found.inputs[0].dtype == "int32"
    rows = np.arange(20).reshape(4, 5)
    np.testing.assert_array_equal(found(rows.astype(np.int32)), model(rows.astype(np.uint8)))


def test_lambda_layers_become_files_where_they_are_trusted(tmp_path):
    inputs = keras.Input((4,))
    keras.Model(inputs, layers.Dense(2)(layers.Lambda(lambda x: 2.0 * x)(inputs))).save(tmp_path / "m.keras")
    rows = np.ones((2, 4), np.float32)
    (refused,), (made,) = (
        convert(tmp_path / "m.keras", rows, tmp_path, ["float32"], rows=rows, trust=trust) for trust in (False, True)
    )
    assert refused.path is None
    assert made.error is None
