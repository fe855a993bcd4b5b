"""Laws of the noise that a file's integers add."""

import keras
import numpy as np
import pytest

from fedkd.base.errors import InputError
from fedkd.compress.cost import cost
from fedkd.compress.qat import quantize_aware
from fedkd.edge.convert import convert_here
from fedkd.edge.snr import layer_table
from tests.compress.test_qat import depthwise, residual, temporal, words


def files(model, rows, folder, *precisions):
    folder.mkdir(exist_ok=True)
    model.save(folder / "model.keras")
    np.save(folder / "calibration.npy", rows)
    return [done.path for done in convert_here(folder / "model.keras", folder, folder / "m", precisions)]


def noise(table):
    return np.array([row["snr_db"] for row in table if row["snr_db"] is not None])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A residual model, examples, and its files by precision."""
    keras.utils.set_random_seed(0)
    model, x = residual(), np.random.default_rng(0).normal(size=(16, 8, 8, 1)).astype(np.float32)
    precisions = ["float32", "int16x8", "int8"]
    paths = files(model, x, tmp_path_factory.mktemp("snr"), *precisions)
    return model, x, dict(zip(precisions, paths, strict=True))


def test_more_bits_are_less_noise_in_every_layer(made):
    """Floats differ in their last bits; 8 bits of rounding, 6 dB each, leave some 40 dB, and 16 of activations more."""
    model, x, paths = made
    floats, wide, narrow = (noise(layer_table(model, path, x)) for path in paths.values())
    assert floats.min() > 100
    assert (narrow < wide).all()
    assert narrow.min() > 15
    assert len(floats) == 8


def test_a_row_has_what_its_layer_costs(made):
    model, x, paths = made
    table = layer_table(model, paths["float32"], x[:2])
    assert sum(row["macs"] for row in table) == cost(model).macs
    assert sum(row["parameters"] for row in table) == cost(model).parameters
    first = {**table[0], "snr_db": None}
    assert first == {**first, "kind": "Conv2D", "shape": [8, 8, 8], "parameters": 72, "macs": 64 * 72}


@pytest.mark.parametrize("make", [pytest.param(depthwise, marks=pytest.mark.slow), words])
def test_an_aware_model_is_compared_without_its_rounding(make, tmp_path):
    """Against itself as trained its file would be all but exact."""
    keras.utils.set_random_seed(0)
    aware, rng = quantize_aware(make()).model, np.random.default_rng(0)
    ids = make is words
    x = rng.integers(0, 50, (32, 8)) if ids else rng.normal(size=(32, 8, 8, 1)).astype(np.float32)
    aware(x, training=True)
    (path,) = files(aware, x, tmp_path, "int8")
    table = layer_table(aware, path, x[:8])
    assert not any(row["kind"].startswith("Quant") for row in table)
    assert ((noise(table) > 10) & (noise(table) < 60)).all()


def test_a_signal_of_eleven_times_its_noise_is_21_decibels(made):
    """The last layer's kernel and bias, a tenth larger than in the file, give outputs a tenth larger: 1.1 / 0.1."""
    model, x, paths = made
    louder = keras.models.clone_model(model)
    *others, kernel, bias = model.get_weights()
    louder.set_weights([*others, 1.1 * kernel, 1.1 * bias])
    assert layer_table(louder, paths["float32"], x)[-1]["snr_db"] == pytest.approx(20 * np.log10(11), abs=0.01)


def test_a_table_without_a_file_has_no_noise(made):
    model, x, paths = made
    with_file = layer_table(model, paths["float32"], x[:2])
    assert layer_table(model, None, x[:2]) == [{**row, "snr_db": None} for row in with_file]


def test_a_file_that_is_missing_or_of_other_inputs_is_refused(made, tmp_path):
    model, x, paths = made
    with pytest.raises(InputError, match="no file there"):
        layer_table(model, tmp_path / "none.tflite", x)
    with pytest.raises(InputError, match=r"x must have shape \(n, 8, 8, 1\)"):
        layer_table(temporal(), paths["float32"], x[..., 0])
