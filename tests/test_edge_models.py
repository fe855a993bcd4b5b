"""Laws of the models that `fedkd edge` is given: what can't be taken is one line that says what to do."""

import sys
from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import layers

from fedkd.base.errors import InputError
from fedkd.models import transformer
from sims.edge.dead import dead_layers
from sims.edge.fine_tune import fine_tuned
from sims.edge.load import import_layers, load_model
from sims.edge.source import open_source
from tests import tiny
from tests.test_edge_command import TASK, call

MODULE = """
import keras

@keras.saving.register_keras_serializable("edge_models")
class Twice(keras.layers.Layer):
    def call(self, x):
        return 2.0 * x
"""


def network(inputs, *parts):
    x = inputs
    for part in parts:
        x = part(x)
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))


def plain():
    return network(keras.Input((6, 6, 1)), layers.Conv2D(4, 3, activation="relu"))


def test_an_h5_file_of_a_whole_model_is_that_model(tmp_path):
    model = plain()
    model.save(tmp_path / "m.h5")
    x = tiny.task().test.x
    np.testing.assert_array_equal(load_model(tmp_path / "m.h5")(x), model(x))


def test_weights_alone_are_told_from_a_model(tmp_path):
    plain().save_weights(tmp_path / "m.weights.h5")
    with pytest.raises(InputError, match="holds weights and no model; load them into the model, and save that as"):
        load_model(tmp_path / "m.weights.h5")


def test_an_h5_file_of_another_name_is_to_be_renamed(tmp_path):
    plain().save(tmp_path / "m.h5")
    (tmp_path / "m.h5").rename(tmp_path / "m.keras")
    with pytest.raises(InputError, match=r"m\.keras: an HDF5 file, whose name must end in \.h5 or \.hdf5"):
        load_model(tmp_path / "m.keras")


@pytest.fixture
def own_layer(tmp_path, monkeypatch):
    """A model with a layer of the user's own, in a process that hasn't seen the layer."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "edge_models.py").write_text(MODULE)
    import_layers(["edge_models"])
    model = network(keras.Input((6, 6, 1)), sys.modules["edge_models"].Twice())
    model.save(tmp_path / "m.keras")
    del sys.modules["edge_models"]
    del keras.saving.get_custom_objects()["edge_models>Twice"]
    yield tmp_path / "m.keras"
    sys.modules.pop("edge_models", None)


def test_own_layers_take_the_module_that_registers_them(own_layer):
    with pytest.raises(InputError, match="its layer 'Twice' isn't known here; give --module NAME") as refused:
        load_model(own_layer)
    assert "\n" not in str(refused.value)
    import_layers(["edge_models"])
    assert load_model(own_layer).layers[1].name == "twice"


def test_a_module_that_is_not_there_is_one_line(own_layer):
    said = call(own_layer, "--task", TASK, "--budget", "flash=8KB", "--module", "not_there")
    assert said.exit_code == 2
    (line,) = said.stderr.strip().splitlines()
    assert line == "error: --module not_there: can't be imported (ModuleNotFoundError: No module named 'not_there')"


@pytest.mark.parametrize("name", ["m.keras", "m.h5"])
def test_lambda_layers_run_where_they_are_trusted_only(tmp_path, monkeypatch, name):
    monkeypatch.setattr(keras.config, "enable_unsafe_deserialization", lambda: None)  # for other tests
    model = network(keras.Input((6, 6, 1)), layers.Lambda(lambda x: 2.0 * x))
    model.save(tmp_path / name)
    with pytest.raises(InputError, match="a Lambda layer of it is Python code that would run here; give --trust"):
        load_model(tmp_path / name)
    x = tiny.task().test.x
    np.testing.assert_array_equal(load_model(tmp_path / name, trust=True)(x), model(x))


@pytest.mark.parametrize("policy", ["mixed_float16", "float16", "bfloat16"])
def test_models_of_other_floats_are_searched_in_float32(tmp_path, policy):
    model = network(keras.Input((6, 6, 1)), layers.Conv2D(4, 3, dtype=policy))
    model.save(tmp_path / "m.keras")
    found = load_model(tmp_path / "m.keras")
    assert {layer.compute_dtype for layer in found.layers} == {"float32"}
    assert {weight.dtype for weight in found.weights} == {"float32"}


def opened(model, tmp_path, task):
    model.save(tmp_path / "m.keras")
    return open_source(tmp_path / "m.keras", task, "", None, 0)


def of_bytes():
    """Examples as a camera gives them, in floats."""
    task = tiny.task()
    splits = {name: getattr(task, name) for name in ("train", "test")}
    whole = {
        name: replace(split, x=np.clip(np.round(64 * split.x + 64), 0, 255).astype(np.float32))
        for name, split in splits.items()
    }
    return replace(task, **whole)


def test_a_model_of_images_as_uint8_takes_the_same_numbers_as_floats(tmp_path):
    model = network(keras.Input((6, 6, 1), dtype="uint8"), layers.Rescaling(1 / 255), layers.Conv2D(4, 3))
    source = opened(model, tmp_path, "tests.test_edge_models:of_bytes")
    x = source.task.test.x
    assert source.model.inputs[0].dtype == "float32"
    np.testing.assert_array_equal(source.model(x), model(x.astype(np.uint8)))


def test_examples_that_a_model_of_integers_would_cut_are_refused(tmp_path):
    model = network(keras.Input((6, 6, 1), dtype="uint8"), layers.Rescaling(1 / 255))
    with pytest.raises(
        InputError, match="takes uint8, whole numbers from 0 to 255; those of task 'tiny' are float32 from"
    ):
        opened(model, tmp_path, TASK)


@pytest.mark.parametrize(
    "model",
    [
        lambda x: keras.Model([x, y := keras.Input((6, 6, 1))], layers.Flatten()(layers.Add()([x, y]))),
        lambda x: keras.Model(x, [layers.Flatten()(x), layers.GlobalAveragePooling2D()(x)]),
        lambda x: keras.Model(x, {"logits": layers.Flatten()(x), "hidden": x}),
    ],
)
def test_several_ends_are_refused_with_what_to_do(tmp_path, model):
    with pytest.raises(InputError, match=r"must have 1 input and 1 output, got .*; save a model of one of each, as in"):
        opened(model(keras.Input((6, 6, 1))), tmp_path, TASK)


def test_a_model_whose_outputs_are_nan_is_one_line_with_advice(tmp_path):
    model = plain()
    model.set_weights([np.full_like(weight, np.nan) for weight in model.get_weights()])
    model.save(tmp_path / "m.keras")
    said = call(tmp_path / "m.keras", "--task", TASK, "--budget", "flash=8KB", "--out", tmp_path / "edge")
    assert said.exit_code == 2
    (line,) = said.stderr.strip().splitlines()
    assert "m.keras: the outputs for 60 of 60 examples are NaN or infinite; train it with a smaller learning" in line
    assert [path.name for path in tmp_path.iterdir()] == ["m.keras"]


def test_training_whose_loss_becomes_nan_says_so():
    task = tiny.task()
    huge = replace(task, train=replace(task.train, x=np.full_like(task.train.x, 3e38)))
    model = plain()
    model.layers[1].set_weights([np.ones((3, 3, 1, 4)), np.zeros(4)])  # a sum that is infinite, not drawn ones
    with pytest.raises(
        InputError, match="its loss became NaN or infinite in training; give examples of a smaller range"
    ):
        fine_tuned(huge, seed=0)(model)


def test_layers_of_several_tensors_are_looked_at_too():
    """Of a transformer: attention gives what it mixed, its maps and its values."""
    ids = np.random.default_rng(0).integers(2, 20, (4, 6)).astype(np.int32)
    assert dead_layers(transformer.student(6, 20, 3, 8), ids) == []


def test_dead_layers_are_named():
    inputs = keras.Input((6, 6, 1))
    x = layers.Conv2D(4, 3, name="alive")(inputs)
    x = layers.ReLU(name="cut")(layers.Conv2D(4, 3, name="below")(x))
    model = keras.Model(inputs, layers.Dense(3, name="end")(layers.Flatten()(x)))
    assert dead_layers(model, tiny.task().test.x) == []
    model.get_layer("below").set_weights([np.zeros((3, 3, 4, 4)), -np.ones(4)])
    model.get_layer("end").bias.assign(np.ones(3))
    assert dead_layers(model, tiny.task().test.x) == ["cut"]


def test_a_dead_layer_is_said_before_the_search(tmp_path, monkeypatch):
    model = plain()
    model.layers[1].set_weights([np.zeros((3, 3, 1, 4)), -np.ones(4)])
    model.layers[1].name = "gone"
    model.save(tmp_path / "m.keras")

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("sims.edge.candidate.convert", interrupt)
    said = call(tmp_path / "m.keras", "--task", TASK, "--budget", "flash=8KB", "--out", tmp_path / "edge").output
    assert "warning: dead layer 'gone' gives nothing but 0; take it out, or train the model again" in said
