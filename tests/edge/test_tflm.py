"""Laws of running a file in TensorFlow Lite Micro."""

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from fedkd.base.errors import InputError
from fedkd.edge import tflm as micro
from fedkd.edge.convert import convert_here
from fedkd.edge.runtime import predict
from fedkd.edge.tflm import run_micro

pytest.importorskip("tflite_micro", reason="has wheels for Linux on x86-64 only")
X = np.random.default_rng(0).normal(size=(20, 8, 8, 1)).astype(np.float32)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((8, 8, 1))
    x = layers.MaxPooling2D()(layers.Conv2D(8, 3, activation="relu")(x))
    model, out = keras.Model(inputs, layers.Dense(10)(layers.Flatten()(x))), tmp_path_factory.mktemp("files")
    model.save(out / "model.keras")
    np.save(out / "calibration.npy", X)
    done = convert_here(out / "model.keras", out, out / "m", ["float32", "dynamic", "int8", "int16x8"])
    return {each.precision: each.path for each in done if each.path}


@pytest.mark.parametrize("precision", ["float32", "int8", "int16x8"])
def test_a_microcontroller_answers_as_litert_does_within_a_step(files, precision):
    expected = predict(files[precision], X)
    step = {"float32": 1e-5, "int8": np.ptp(expected) / 100, "int16x8": np.ptp(expected) / 10_000}[precision]
    assert run_micro(files[precision], X).outputs == pytest.approx(expected, abs=float(step))


def test_the_arena_holds_the_activations_and_what_lasts(files):
    """The largest activations that live together are 8 x 8 inputs and 6 x 6 x 8 outputs: 352 bytes of int8."""
    whole, small = (run_micro(files[precision], X[:1]).arena for precision in ("float32", "int8"))
    assert small.total == small.head + small.tail
    assert small.head >= 352
    assert whole.head > 3 * small.head


def test_a_file_that_it_cannot_run_is_one_line_with_the_cause(tmp_path):
    inputs = keras.Input((4,))
    keras.Model(inputs, layers.Dense(3, activation="gelu")(inputs)).save(tmp_path / "model.keras")
    np.save(tmp_path / "calibration.npy", X[:, 0, :4, 0])
    (done,) = convert_here(tmp_path / "model.keras", tmp_path, tmp_path / "m", ["int8"])
    with pytest.raises(InputError, match=r"m_int8\.tflite can't run in TensorFlow Lite Micro: .*GELU") as caught:
        run_micro(done.path, X[:, 0, :4, 0])
    assert "\n" not in str(caught.value)


def test_a_truncated_file_and_another_shape_are_refused(files, tmp_path):
    (tmp_path / "cut.tflite").write_bytes(files["int8"].read_bytes()[:200])
    with pytest.raises(InputError, match=r"cut\.tflite must be a TFLite file"):
        run_micro(tmp_path / "cut.tflite", X)
    with pytest.raises(InputError, match=r"x must have shape \(n, 8, 8, 1\), got \(20, 8, 8\)"):
        run_micro(files["int8"], X[..., 0])


def test_without_the_extra_it_says_how_to_get_it(files, monkeypatch):
    monkeypatch.setattr(micro.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'fedkd\[tflm\]'"):
        run_micro(files["int8"], X)
