"""Laws of `fedkd evaluate` on data that a file wasn't made for."""

import keras
import numpy as np
import pytest
from keras import layers
from typer.testing import CliRunner

from fedkd.edge.convert import convert_here
from sims.cli import app
from tests import tiny


@pytest.mark.parametrize("scale, warned", [(1.0, False), (0.01, True)])
def test_test_examples_that_the_input_cannot_hold_are_warned_of(tmp_path, scale, warned):
    """The file's input holds the range of its calibration rows: those of the task, or a hundredth of it."""
    inputs = keras.Input((6, 6, 1))
    keras.Model(inputs, layers.Dense(3)(layers.Flatten()(inputs))).save(tmp_path / "m.keras")
    np.save(tmp_path / "calibration.npy", scale * tiny.task().train.x)
    (made,) = convert_here(tmp_path / "m.keras", tmp_path, tmp_path / "m", ["int8"])
    said = CliRunner().invoke(app, ["evaluate", str(made.path), "--task", "tests.tiny:task"])
    assert said.exit_code == 0
    assert "accuracy 0." in said.stdout
    assert ("warning: 60 of 60 test examples have more than 10% of their numbers beyond" in said.stderr) == warned
