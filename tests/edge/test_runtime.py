import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from fedkd.base.errors import InputError
from fedkd.edge.runtime import describe, predict

TABLE = np.arange(10, dtype=np.float32).reshape(5, 2)
KERNEL = np.array([[1, 0, -1], [0, 2, 1]], np.float32)
X = np.random.default_rng(0).uniform(-1, 1, (40, 2)).astype(np.float32)


def write_tflite(model: keras.Model, path: Path, calibration: np.ndarray | None = None) -> Path:
    """Convert in this process, by the shortest route: the runtime's laws do not depend on `fedkd.edge.convert`."""
    saved_model = str(path.with_suffix(""))
    spec = keras.InputSpec(shape=(1, *model.inputs[0].shape[1:]), dtype=model.inputs[0].dtype)
    model.export(saved_model, verbose=False, input_signature=[spec])
    converter = tf.lite.TFLiteConverter.from_saved_model(saved_model)
    if calibration is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([row] for row in calibration[:, None])
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    path.write_bytes(converter.convert())
    return path


def dense() -> keras.Model:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, use_bias=False)])
    model.set_weights([KERNEL])
    return model


def lookup() -> keras.Model:
    model = keras.Sequential([keras.Input((1,), dtype="int32"), keras.layers.Embedding(5, 2), keras.layers.Flatten()])
    model.set_weights([TABLE])
    return model


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    out = tmp_path_factory.mktemp("tflite")
    return {
        "float32": write_tflite(dense(), out / "float32.tflite"),
        "int8": write_tflite(dense(), out / "int8.tflite", X),
        "ids": write_tflite(lookup(), out / "ids.tflite"),
    }


def test_a_float_file_gives_the_matrix_product_of_every_row(files: dict[str, Path]) -> None:
    logits = predict(files["float32"], X)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, X @ KERNEL, atol=1e-6)


def test_an_int8_file_takes_floats_and_gives_real_logits_within_its_steps(files: dict[str, Path]) -> None:
    """Inputs in [-1, 1] round by half of 2/255 each, which KERNEL sums to at most 3 halves; the output, in [-3, 3],
    adds one step of 6/255 and the kernel one half of 2/127 an input."""
    logits = predict(files["int8"], X)
    assert logits.dtype == np.float32
    assert np.abs(logits - X @ KERNEL).max() <= 1.5 * 2 / 255 + 6 / 255 + 2 * 1 / 127


def test_inputs_beyond_the_calibrated_range_saturate(files: dict[str, Path]) -> None:
    far, edge = np.array([[50, -50]], np.float32), np.array([[2, -2]], np.float32)
    np.testing.assert_array_equal(predict(files["int8"], far), predict(files["int8"], edge))


def test_ids_look_up_their_rows(files: dict[str, Path]) -> None:
    ids = np.array([[4], [0], [2]])
    np.testing.assert_array_equal(predict(files["ids"], ids), TABLE[[4, 0, 2]])


def test_no_rows_in_no_rows_out(files: dict[str, Path]) -> None:
    assert predict(files["int8"], X[:0]).shape == (0, 3)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.tflite must be a TFLite file, got no file there"):
        predict(tmp_path / "none.tflite", X)


@pytest.mark.parametrize("content", [b"", b"not a model" * 100, b"\x1c\0\0\0TFL3" + b"\xff" * 1000])
def test_a_file_that_is_not_tflite_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.tflite"
    path.write_bytes(content)
    for read in (describe, lambda p: predict(p, X)):
        with pytest.raises(InputError, match=r"bad\.tflite must be a TFLite file"):
            read(path)


def test_half_a_download_is_refused(files: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "half.tflite"
    path.write_bytes(files["int8"].read_bytes()[:500])
    with pytest.raises(InputError, match=r"half\.tflite must be a TFLite file"):
        predict(path, X)


@pytest.mark.parametrize("x", [np.zeros((4, 3), np.float32), np.zeros((4, 2, 1), np.float32), np.float32(0)])
def test_a_wrong_shape_is_refused_by_value_and_rule(files: dict[str, Path], x: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"x must have shape \(n, 2\), got \("):
        predict(files["float32"], np.asarray(x))


@pytest.mark.parametrize("name", ["float32", "int8"])
def test_integers_are_refused_where_floats_are_due(files: dict[str, Path], name: str) -> None:
    with pytest.raises(InputError, match="x must hold floats for this file, got uint8"):
        predict(files[name], np.zeros((4, 2), np.uint8))


def test_floats_are_refused_where_ids_are_due(files: dict[str, Path]) -> None:
    with pytest.raises(InputError, match="x must hold integers for this file, got float32"):
        predict(files["ids"], np.zeros((4, 1), np.float32))


def test_a_number_that_is_none_can_not_be_quantized(files: dict[str, Path]) -> None:
    with pytest.raises(InputError, match="x must be finite"):
        predict(files["int8"], np.full((1, 2), np.nan, np.float32))


def test_a_file_says_what_it_holds(files: dict[str, Path]) -> None:
    """Input, kernel and output: three tensors, all integer in int8."""
    found = describe(files["int8"])
    assert found["path"] == "int8.tflite"
    assert (found["precision"], found["input_dtype"], found["output_dtype"]) == ("int8", "int8", "int8")
    assert (found["float_tensors"], found["tensors"]) == (0, 3)
    assert found["flash_bytes"] == files["int8"].stat().st_size > found["gzip_bytes"] > 0


def test_a_float_file_counts_its_float_tensors(files: dict[str, Path]) -> None:
    found = describe(files["float32"])
    assert (found["precision"], found["float_tensors"], found["tensors"]) == ("float32", 3, 3)


def test_ids_are_described_as_int32(files: dict[str, Path]) -> None:
    assert describe(files["ids"])["input_dtype"] == "int32"


def test_a_device_needs_neither_tensorflow_nor_keras(files: dict[str, Path]) -> None:
    code = f"""
import sys; from pathlib import Path; import numpy as np
from fedkd.compress import prune
from fedkd.edge import convert, runtime
runtime.predict(Path({str(files["int8"])!r}), np.zeros((1, 2), np.float32))
sys.exit(bool({{"tensorflow", "keras"}} & set(sys.modules)))
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
