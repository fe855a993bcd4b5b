"""Laws of files with precisions layer by layer."""

import importlib.util

import keras
import numpy as np
import pytest

from fedkd.base.errors import InputError
from fedkd.edge import recipes
from fedkd.edge.convert import convert_here
from fedkd.edge.recipes import RECIPES, Rule, apply_recipe, names
from fedkd.edge.runtime import describe, predict
from fedkd.edge.snr import layer_table
from fedkd.edge.tflm import run_micro
from tests.compress.test_qat import cnn, trained

needed = pytest.mark.skipif(
    importlib.util.find_spec("ai_edge_quantizer") is None, reason="needs the extra quantizer: ai-edge-quantizer"
)


@pytest.fixture(scope="module")
def digits():
    from sklearn.datasets import load_digits

    data = load_digits()
    return (data.images / 16).astype(np.float32)[..., None], data.target


@pytest.fixture(scope="module")
def model(digits):
    keras.utils.set_random_seed(0)
    return trained(cnn(), *digits)


@pytest.fixture(scope="module")
def source(model, digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("recipes")
    model.save(folder / "model.keras")
    np.save(folder / "calibration.npy", digits[0][:64])
    return next(convert_here(folder / "model.keras", folder, folder / "m", ["float32"])).path


@needed
@pytest.mark.parametrize(("name", "floats"), [("int4", True), ("w4a8", False), ("w4a8_convolutions", False)])
def test_kernels_of_four_bits_take_half_a_byte_a_weight(name, floats, source, digits, tmp_path):
    """1,864 weights were 4 B each, now half of one or, of the 640 dense, one; scales and names take more."""
    apply_recipe(source, RECIPES[name], digits[0][:64], tmp_path / "made.tflite")
    made = describe(tmp_path / "made.tflite")
    assert made["flash_bytes"] < describe(source)["flash_bytes"] - 3 * 1864 + 600
    assert bool(made["float_tensors"]) == floats
    assert np.mean(predict(tmp_path / "made.tflite", digits[0]).argmax(1) == digits[1]) > 0.9


@needed
def test_a_later_rule_wins_in_the_layers_that_it_names(source, model, digits, tmp_path):
    """The last layer, which the file's outputs don't name, has 4 bits, and those before it are as clean as with 8."""
    x, tables = digits[0], {}
    for name, rules in {"all": [Rule(".*", 8, 8)], "mixed": [Rule(".*", 8, 8), Rule("dense", 4, 8)]}.items():
        apply_recipe(source, rules, x[:64], tmp_path / f"{name}.tflite")
        tables[name] = [row["snr_db"] for row in layer_table(model, tmp_path / f"{name}.tflite", x[:16])]
    assert tables["mixed"][:-1] == tables["all"][:-1]
    assert tables["mixed"][-1] < tables["all"][-1]


@needed
def test_convolutions_of_four_bits_run_in_tensorflow_lite_micro(source, digits, tmp_path):
    pytest.importorskip("tflite_micro", reason="has wheels for Linux on x86-64 only")
    x = digits[0][:200]
    for name in ("w4a8_convolutions", "w4a8"):
        apply_recipe(source, RECIPES[name], x[:64], tmp_path / f"{name}.tflite")
    path = tmp_path / "w4a8_convolutions.tflite"
    assert np.mean(run_micro(path, x).outputs.argmax(1) == predict(path, x).argmax(1)) >= 0.99
    with pytest.raises(InputError, match="fully_connected"):
        run_micro(tmp_path / "w4a8.tflite", x)


def test_operations_are_named_by_their_layers(source):
    assert "dense" in names(source)[-1]
    assert "conv2d" in names(source)[0]


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (Rule(".*", 2, None), "weights of 4 or 8 bits"),
        (Rule("gru", 4, None), "no operation of .*m_float32.tflite matches 'gru'; they are named "),
        (Rule("(", 4, None), r"must be a regular expression, got '\('"),
        (Rule(".*", 4, 8), "at least 1 row"),
    ],
)
def test_rules_that_mean_nothing_are_refused(rule, message, source, digits, tmp_path):
    with pytest.raises(InputError, match=message):
        apply_recipe(source, [rule], digits[0][:0], tmp_path / "made.tflite")
    assert not list(tmp_path.iterdir())


def test_what_is_no_file_and_a_missing_extra_are_one_line(source, digits, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="no file there"):
        names(tmp_path / "none.tflite")
    (tmp_path / "cut.tflite").write_bytes(source.read_bytes()[:200])
    with pytest.raises(InputError, match=r"cut\.tflite must be a TFLite file"):
        apply_recipe(tmp_path / "cut.tflite", RECIPES["int4"], digits[0], tmp_path / "made.tflite")
    monkeypatch.setattr(recipes.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'fedkd\[quantizer\]'"):
        apply_recipe(source, RECIPES["int4"], digits[0], tmp_path / "made.tflite")


@needed
def test_a_table_that_stays_in_floats_is_named_with_its_bytes(tmp_path):
    """ai-edge-quantizer passes over it where activations are floats; 4 bytes for each of 50 words of 6 numbers."""
    inputs = keras.Input((5,), dtype="int32")
    x = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(50, 6, name="words")(inputs))
    keras.Model(inputs, keras.layers.Dense(3)(x)).save(tmp_path / "model.keras")
    rows = np.arange(50, dtype=np.int32).reshape(10, 5)
    np.save(tmp_path / "calibration.npy", rows)
    words = next(convert_here(tmp_path / "model.keras", tmp_path, tmp_path / "m", ["float32"])).path
    (left,) = apply_recipe(words, RECIPES["int4"], rows, tmp_path / "made.tflite").items()
    assert "words" in left[0]
    assert left[1] == 4 * 50 * 6
    assert not apply_recipe(words, RECIPES["w4a8"], rows, tmp_path / "made.tflite")


@needed
def test_of_kernels_that_become_integers_none_is_left(source, digits, tmp_path):
    assert apply_recipe(source, RECIPES["int4"], digits[0][:64], tmp_path / "made.tflite") == {}
    assert apply_recipe(source, [Rule("dense", 4, None)], digits[0][:64], tmp_path / "made.tflite") == {}
