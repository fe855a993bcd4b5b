import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from keras import layers
from sklearn.datasets import load_digits

from fedkd.base.errors import InputError
from fedkd.compress.constraints import keep_clusters
from fedkd.config.edge import PRECISIONS
from fedkd.edge.convert import Conversion, convert, convert_here
from fedkd.edge.runtime import describe, predict
from fedkd.models.inspect import logits_model
from fedkd.models.transformer import student as small_transformer

DIGITS = load_digits()
X, Y = (DIGITS.images[..., None] / 16).astype(np.float32), DIGITS.target
TRAIN, TEST = slice(0, 1200), slice(1200, None)
SERIES = np.random.default_rng(0).normal(size=(100, 32, 6)).astype(np.float32)
TOKENS = np.random.default_rng(0).integers(0, 50, (200, 16))


def cnn() -> keras.Model:
    """Digits classifier with the layers that fold: convolution, batch normalisation, ReLU."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((8, 8, 1))])
    for filters in (8, 16):
        model.add(layers.Conv2D(filters, 3, padding="same", use_bias=False))
        model.add(layers.BatchNormalization(momentum=0.8))
        model.add(layers.ReLU())
    for layer in (layers.MaxPooling2D(), layers.Flatten(), layers.Dense(10)):
        model.add(layer)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-2), loss, jit_compile=False)
    model.fit(X[TRAIN], Y[TRAIN], epochs=5, batch_size=64, verbose=0)
    return model


def conv1d() -> keras.Model:
    keras.utils.set_random_seed(0)
    steps = [layers.Conv1D(8, 3, activation="relu"), layers.GlobalAveragePooling1D(), layers.Dense(4)]
    return keras.Sequential([keras.Input((32, 6)), *steps])


def transformer() -> keras.Model:
    """One block over word ids, attention and layer normalisation included."""
    keras.utils.set_random_seed(0)
    ids = keras.Input((16,), dtype="int32")
    words = layers.Embedding(50, 16, embeddings_initializer="glorot_normal")(ids)
    seen = layers.LayerNormalization()(words + layers.MultiHeadAttention(2, 8)(words, words))
    seen = layers.LayerNormalization()(seen + layers.Dense(16, activation="gelu")(seen))
    return keras.Model(ids, layers.Dense(4)(layers.Flatten()(seen)))


def rolled_lstm() -> keras.Model:
    return keras.Sequential([keras.Input((16, 6)), layers.LSTM(8), layers.Dense(4)])


def inverse_error_function() -> keras.Model:
    """No TFLite kernel computes it."""
    inputs = keras.Input((4,))
    return keras.Model(inputs, keras.ops.erfinv(inputs))


def here(model: keras.Model, rows: np.ndarray, out: Path, *precisions: str) -> list[Conversion]:
    """Convert in this process, for the laws that hold without a child and its seconds of importing TensorFlow."""
    model.save(out / "model.keras")
    np.save(out / "calibration.npy", rows)
    return list(convert_here(out / "model.keras", out, out / "here", precisions))


def stand_in(path: Path, script: str) -> str:
    """A shell script in place of the Python interpreter, to die in ways TensorFlow does only now and then."""
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "conv1d.keras"
    conv1d().save(path)
    return path


@pytest.fixture(scope="module")
def digits() -> keras.Model:
    return cnn()


@pytest.fixture(scope="module")
def children(digits: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Conversion]]:
    """What real children make of the digits model and of a rolled LSTM: side by side, for each takes seconds."""
    out = tmp_path_factory.mktemp("children")
    digits.save(out / "cnn.keras")
    rolled_lstm().save(out / "lstm.keras")
    with ThreadPoolExecutor(2) as pool:
        cnn_job = pool.submit(convert, out / "cnn.keras", X[:100], out / "cnn", stem="cnn")
        lstm_job = pool.submit(convert, out / "lstm.keras", SERIES[:20, :16], out / "lstm", ["int8"])
    return {"cnn": cnn_job.result(), "lstm": lstm_job.result()}


@pytest.fixture(scope="module")
def files(children: dict[str, list[Conversion]]) -> dict[str, Path]:
    """The digits model in every precision."""
    assert [(c.precision, c.error) for c in children["cnn"]] == [(precision, None) for precision in PRECISIONS]
    return {c.precision: c.path for c in children["cnn"] if c.path}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_precision_is_written_under_its_own_name(files: dict[str, Path], precision: str) -> None:
    assert files[precision].name == f"cnn_{precision}.tflite"
    assert describe(files[precision])["precision"] == precision.removesuffix("_per_tensor")


def test_nothing_but_the_files_is_left_behind(files: dict[str, Path]) -> None:
    assert set(files["int8"].parent.iterdir()) == set(files.values())


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_precision_keeps_accuracy_within_a_point_and_nearly_all_decisions(
    files: dict[str, Path], digits: keras.Model, precision: str
) -> None:
    expected = np.asarray(digits(X[TEST])).argmax(axis=1)
    found = predict(files[precision], X[TEST]).argmax(axis=1)
    assert np.mean(expected == Y[TEST]) > 0.9
    assert abs(np.mean(found == Y[TEST]) - np.mean(expected == Y[TEST])) <= 0.01
    assert np.mean(found == expected) >= 0.98


def test_float32_computes_the_logits_of_keras(files: dict[str, Path], digits: keras.Model) -> None:
    expected = np.asarray(digits(X[TEST]))
    np.testing.assert_allclose(predict(files["float32"], X[TEST]), expected, atol=1e-4)


def test_int8_is_integer_throughout_and_under_half_the_size(files: dict[str, Path]) -> None:
    whole, small = describe(files["float32"]), describe(files["int8"])
    assert (small["input_dtype"], small["output_dtype"], small["float_tensors"]) == ("int8", "int8", 0)
    assert small["flash_bytes"] < whole["flash_bytes"] / 2


def test_the_same_model_converts_to_the_same_bytes_in_another_process(
    files: dict[str, Path], digits: keras.Model, tmp_path: Path
) -> None:
    again = here(digits, X[:100], tmp_path, "float32", "int8")
    assert [c.path.read_bytes() == files[c.precision].read_bytes() for c in again if c.path] == [True, True]


def test_a_transformer_keeps_int32_ids_gives_int8_logits_and_decides_as_keras_does(tmp_path: Path) -> None:
    model = transformer()
    expected = np.asarray(model(TOKENS)).argmax(axis=1)
    whole, small = (c.path for c in here(model, TOKENS[:100], tmp_path, "float32", "int8"))
    assert whole is not None
    assert small is not None
    assert np.mean(predict(whole, TOKENS).argmax(axis=1) == expected) == 1.0
    assert np.mean(predict(small, TOKENS).argmax(axis=1) == expected) >= 0.95
    found = describe(small)
    assert (found["input_dtype"], found["output_dtype"]) == ("int32", "int8")


@pytest.mark.slow
def test_padding_costs_the_scores_of_attention_none_of_their_steps(tmp_path: Path) -> None:
    """Masked scores were at -1e9, so that all others were one step of int8: attention to all words alike."""
    keras.utils.set_random_seed(0)
    model = logits_model(small_transformer(16, 50, 4, 32))
    padded = np.where(np.arange(16) < np.arange(1, 17)[:, None], np.resize(np.unique(TOKENS)[2:], 16), 0)
    expected = np.asarray(model(padded))
    (done,) = here(model, padded, tmp_path, "int8")
    assert done.path is not None
    power, noise = np.square(expected).sum(), np.square(predict(done.path, padded) - expected).sum()
    assert power > 100 * noise


@pytest.mark.slow
def test_a_text_of_padding_alone_is_what_it_is_in_keras(tmp_path: Path) -> None:
    model, nothing = logits_model(small_transformer(16, 50, 4, 32)), np.zeros((2, 16), np.int32)
    (done,) = here(model, nothing, tmp_path, "float32")
    assert done.path is not None
    np.testing.assert_allclose(predict(done.path, nothing), np.asarray(model(nothing)), atol=1e-5)


def test_a_series_model_decides_in_int8_as_in_keras(tmp_path: Path) -> None:
    model = conv1d()
    (done,) = here(model, SERIES, tmp_path, "int8")
    assert done.path is not None
    expected = np.asarray(model(SERIES)).argmax(axis=1)
    assert np.mean(predict(done.path, SERIES).argmax(axis=1) == expected) >= 0.95


def test_a_converter_that_dies_is_an_error_and_leaves_no_litter(
    children: dict[str, list[Conversion]], files: dict[str, Path]
) -> None:
    """Calibrating a rolled LSTM is a segmentation fault in TensorFlow 2.21."""
    (dead,) = children["lstm"]
    assert dead.path is None
    assert dead.error is not None
    assert dead.error.startswith("the converter died of SIGSEGV in int8")
    assert "unroll=True" in dead.error
    assert list((files["int8"].parents[1] / "lstm").iterdir()) == []


def test_precisions_after_the_fatal_one_get_a_fresh_child(
    model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of int8, float16, float32 the first child does int8 and is killed in float16; the second does float32."""
    line = '{{"precision": "{}", "path": "{}.tflite", "error": null}}'
    script = f"""case "$*" in
        *float16*) echo '{line.format("int8", "a")}'; kill -KILL $$ ;;
        *) echo '{line.format("float32", "b")}' ;;
    esac"""
    monkeypatch.setattr(sys, "executable", stand_in(tmp_path / "python", script))
    assert convert(model_file, SERIES, tmp_path / "made", ["int8", "float16", "float32"]) == [
        Conversion("int8", Path("a.tflite"), None),
        Conversion("float16", None, "the converter died of SIGKILL in float16"),
        Conversion("float32", Path("b.tflite"), None),
    ]


def test_a_child_that_can_not_start_fails_every_precision_at_once_and_quietly(
    model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The child says, with TensorFlow's usual chatter, what a broken install says; it is not asked twice."""
    words = r"Traceback (most recent call last):\n  File x\nImportError: no tensorflow\nI0000 00:00 chatter\n"
    script = f"echo run >> $0.log; printf '{words}' >&2; exit 1"
    monkeypatch.setattr(sys, "executable", stand_in(tmp_path / "python", script))
    capfd.readouterr()
    failed = convert(model_file, X[:1], tmp_path / "made", ["float32", "float16"])
    assert capfd.readouterr() == ("", "")
    error = "the converter stopped with exit code 1 in {}: ImportError: no tensorflow"
    assert failed == [Conversion(name, None, error.format(name)) for name in ("float32", "float16")]
    assert (tmp_path / "python.log").read_text() == "run\n"


def test_an_op_that_tflite_lacks_is_named(tmp_path: Path) -> None:
    (failed,) = here(inverse_error_function(), np.zeros((1, 4)), tmp_path, "float32")
    assert failed == Conversion("float32", None, "ConverterError: Custom ops: Erfinv")


def test_calibration_rows_that_do_not_fit_cost_int8_only(tmp_path: Path) -> None:
    misfit, fine = here(conv1d(), SERIES[:, :5], tmp_path, "int8", "float32")
    assert misfit.error == "InputError: calibration must have shape (n, 32, 6), got (100, 5, 6)"
    assert fine.error is None


def test_a_model_of_two_outputs_fails_every_precision_alike(tmp_path: Path) -> None:
    inputs = keras.Input((4,))
    failed = here(keras.Model(inputs, [inputs, inputs * 2]), np.zeros((1, 4)), tmp_path, "float32", "int8")
    assert {c.error for c in failed} == {"InputError: the model must have 1 input and 1 output, got 1 and 2"}
    assert [c.precision for c in failed] == ["float32", "int8"]


def test_a_model_of_no_fixed_length_is_refused(tmp_path: Path) -> None:
    inputs = keras.Input((None, 6))
    pooled = layers.GlobalAveragePooling1D()(inputs)
    (failed,) = here(keras.Model(inputs, pooled), SERIES, tmp_path, "float32")
    assert failed.error == "InputError: the model's input shape must be fixed, got (None, 6)"


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.keras must be a \.keras file, got no file there"):
        convert(tmp_path / "none.keras", X[:1], tmp_path)


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.keras").write_bytes(b"no model")
    with pytest.raises(InputError, match=r"bad\.keras must be a \.keras file, got one that is no zip archive"):
        convert(tmp_path / "bad.keras", X[:1], tmp_path)


def test_an_unknown_precision_is_refused_by_value_and_rule(model_file: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"precision must be one of float32, .*, int16x8, got int2"):
        convert(model_file, X[:1], tmp_path, ["float32", "int2"])


@pytest.mark.parametrize("precision", ["int8", "int8_per_tensor", "int16x8"])
def test_integers_without_calibration_rows_are_refused(model_file: Path, tmp_path: Path, precision: str) -> None:
    with pytest.raises(InputError, match=f"calibration must have at least 1 row for {precision}, got 0"):
        convert(model_file, X[:0], tmp_path, ["float32", precision])


def values_of_a_kernel(path: Path) -> int:
    """How many values the int8 kernel with the most has."""
    file = Interpreter(str(path))
    kernels = [
        t["index"] for t in file.get_tensor_details() if t["dtype"] == np.int8 and t["name"].endswith("convolution")
    ]
    return max(len(np.unique(file.get_tensor(index))) for index in kernels)


def test_clusters_survive_where_a_kernel_has_one_scale(tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((8, 8, 1)), layers.Conv2D(16, 3), layers.Flatten(), layers.Dense(10)])
    keep_clusters(model, 4)
    files = [done.path for done in here(model, X[:20], tmp_path, "int8", "int8_per_tensor") if done.path]
    assert [values_of_a_kernel(path) > 16 for path in files] == [True, False]
