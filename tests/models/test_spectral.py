"""Laws of the networks for spectra."""

import keras
import numpy as np
import pytest

from fedkd.compress.channels import channels
from fedkd.compress.cost import cost
from fedkd.compress.qat import quantize_aware
from fedkd.compress.structured import prune_channels
from fedkd.edge.convert import convert_here
from fedkd.edge.runtime import describe
from fedkd.edge.tflm import run_micro
from fedkd.models import spectral
from fedkd.models.inspect import logits_model, parameters

SHAPE = (49, 40, 1)


@pytest.fixture(scope="module")
def student():
    keras.utils.set_random_seed(0)
    return logits_model(spectral.student(SHAPE, 10))


@pytest.mark.parametrize("role", ["teacher", "student"])
def test_both_models_are_strided_at_the_same_places(role):
    """Each stride halves an axis and rounds up: 49 steps become 25, then 13; 40 bands 20, then 10."""
    output = getattr(spectral, role)(SHAPE, 7, width=4).output
    assert output["logits"].shape == (None, 7)
    assert [tuple(state.shape[1:]) for state in output["hidden"]] == [(25, 20, 4), (13, 10, 8), (13, 10, 8)]


def test_parameters_are_those_of_its_kernels_and_biases(student):
    """Of 16, 32 and 32 filters of 5x5x1, 3x3x16 and 3x3x32, and 10 outputs of the 6x5x32 places that are pooled."""
    sizes = ((5 * 5 * 1 + 1) * 16, (3 * 3 * 16 + 1) * 32, (3 * 3 * 32 + 1) * 32, (6 * 5 * 32 + 1) * 10)
    assert parameters(student) == sum(sizes)


def test_channels_of_all_hidden_layers_can_be_removed(student):
    assert len(channels(student).removable) == 16 + 32 + 32
    assert cost(prune_channels(student, 0.5)).macs <= cost(student).macs / 2


@pytest.mark.slow
def test_a_keyword_model_fits_32_kb_of_flash_and_16_kb_of_arena(student, tmp_path):
    """The first two activations live together: 25x20x16 and 13x10x32 bytes."""
    pytest.importorskip("tflite_micro", reason="has wheels for Linux on x86-64 only")
    x = np.random.default_rng(0).random((8, *SHAPE)).astype(np.float32)
    aware, skipped = quantize_aware(student)
    assert not skipped
    aware.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    aware.train_on_batch(x, np.arange(8))
    aware.save(tmp_path / "model.keras")
    np.save(tmp_path / "calibration.npy", x)
    (done,) = convert_here(tmp_path / "model.keras", tmp_path, tmp_path / "m", ["int8"])
    file, run = describe(done.path), run_micro(done.path, x)
    assert file["float_tensors"] == 0
    assert file["flash_bytes"] < 32_000
    assert 25 * 20 * 16 + 13 * 10 * 32 <= run.arena.head <= run.arena.total < 16_384
