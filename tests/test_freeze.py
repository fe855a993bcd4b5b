"""Laws of frozen layers: they stay as they were built, and nobody holds, trains or sends them."""

import json
from dataclasses import replace

import keras
import numpy as np
import pytest
from rich.console import Console

from fedkd.base.errors import InputError
from fedkd.exchange.codec import decode
from fedkd.models.inspect import frozen, get_weights, logits_model, set_weights, unfrozen
from fedkd.protocol.federation import follow, new_client
from fedkd.protocol.reference import Federation
from fedkd.protocol.resolve import resolve
from sims.run import run
from tests.pretrained_folder import LAYERS, WIDTH, write
from tests.test_encoder import texts

SHAPE = (6, 6, 1)


def model(first=1.0):
    """A frozen dense layer and a frozen norm, then a dense layer, a norm, and a head."""
    inputs = keras.Input(SHAPE)
    x = keras.layers.Flatten()(inputs)
    x = keras.layers.Dense(
        6, kernel_initializer=keras.initializers.RandomNormal(0.0, first / 6, seed=1), trainable=False
    )(x)
    x = keras.layers.BatchNormalization(trainable=False)(x)
    x = keras.layers.BatchNormalization()(keras.layers.Dense(5, activation="relu")(x))
    return keras.Model(inputs, keras.layers.Dense(3)(x))


@pytest.fixture
def experiment():
    found = resolve({"task": "tests.tiny:task", "clients": 2, "rounds": 2, "loss.hidden": False})
    return replace(found, task=replace(found.task, teacher=model, student=model))


def test_a_frozen_layer_has_no_place_in_what_is_held_trained_or_shared():
    whole = model()
    assert [weight.name for weight in unfrozen(whole)] == [
        *("kernel", "bias"),
        *("gamma", "beta", "moving_mean", "moving_variance"),
        *("kernel", "bias"),
    ]
    assert [array.shape for array in frozen(whole)][1:] == [(6,)] * 5
    changed = [array + 1 for array in get_weights(whole)]
    copy = logits_model(whole, changed)
    for a, b in zip(frozen(copy), frozen(whole), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(get_weights(copy), changed, strict=True):
        np.testing.assert_array_equal(a, b)
    set_weights(whole, changed)
    np.testing.assert_array_equal(whole.predict(np.ones((2, *SHAPE)), verbose=0), copy(np.ones((2, *SHAPE))))


def test_a_federation_sends_and_keeps_only_what_moves(experiment):
    federation = Federation(experiment)
    for _ in range(3):
        federation.round([0, 1])
    state = federation.clients[0]
    moving = [weight.shape for weight in unfrozen(experiment.models["student"])]
    assert [array.shape for array in state.base] == [tuple(shape) for shape in moving]
    assert [array.shape for array in state.local["teacher"]] == [tuple(shape) for shape in moving]
    assert sum(array.size for array in state.local["teacher.moments"]) < 3 * sum(array.size for array in state.base)
    trained = [not np.array_equal(a, b) for a, b in zip(state.base, experiment.initial_shared(), strict=True)]
    assert any(trained)


def test_training_is_that_of_keras_with_the_same_layers_frozen(experiment):
    """One step of gradient descent of the student alone, by the trainer and by Keras itself."""
    config = experiment.config
    train = replace(
        config.train, models="student", optimizer="sgd", student_lr=0.1, batch_size=8, epochs=1, holdout=0.0
    )
    alone = replace(experiment, config=replace(config, train=train))
    data = replace(alone.task.train, x=alone.task.train.x[:8], y=alone.task.train.y[:8])
    trainer = alone.local().trainer
    after, _ = trainer.fit(trainer.initial_state(), data, np.random.default_rng(0))
    own = alone.build("student")
    own.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    before = frozen(own)
    own.fit(data.x, data.y, batch_size=8, epochs=1, shuffle=False, verbose=0)
    for ours, theirs in zip(after["student"], get_weights(own), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)
    for ours, theirs in zip(before, frozen(own), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.slow
def test_another_frozen_layer_is_another_model(experiment):
    """Though all that is sent is the same: a node with other tables can't go on with the server's steps."""
    federation = Federation(experiment)
    federation.round([0, 1])
    federation.begin()
    other = replace(experiment, task=replace(experiment.task, student=lambda: model(2.0)))
    offer = federation.offer(0)
    assert follow(new_client(experiment.local()), offer, experiment) is not None
    assert follow(new_client(other.local()), offer, other) is None


@pytest.mark.parametrize(
    "freeze, sizes", [pytest.param("embedding", LAYERS, marks=pytest.mark.slow), ("embedding+1", LAYERS - 1)]
)
def test_a_pretrained_models_tables_stay_at_home(freeze, sizes, tmp_path):
    settings = {
        "task": texts(tmp_path / "texts.npz"),
        "model.pretrained": str(write(tmp_path / "model")),
        "model.freeze": freeze,
        "clients": 2,
        "rounds": 2,
    }
    experiment = resolve(settings)
    for role, layers in (("teacher", sizes), ("student", sizes - LAYERS + 2)):
        moving = unfrozen(experiment.models[role])
        assert sum(weight.path.endswith("attention/query/kernel") for weight in moving) == layers
        assert not [weight for weight in moving if "embedding" in weight.path]
    federation = Federation(experiment)
    federation.round([0, 1])
    update = decode(federation.server.update, experiment.spec)
    assert [tensor.shape for tensor in update.tensors] == [array.shape for array in experiment.initial_shared()]


@pytest.mark.slow
def test_a_run_with_frozen_tables_ends_with_the_folders_own(tmp_path):
    folder = write(tmp_path / "model")
    settings = {
        "task": texts(tmp_path / "texts.npz"),
        "model.pretrained": str(folder),
        "model.freeze": "embedding",
        "clients": 2,
        "rounds": 1,
        "edge.precisions": "none",
    }
    run(settings, "local", tmp_path / "run", False, False, Console(quiet=True))
    moving = sum(array.size for array in resolve(settings).initial_shared())
    traffic = json.loads((tmp_path / "run" / "summary.json").read_text())["traffic"]
    assert traffic["dense_student_bytes_per_client"] == 2 * 4 * moving  # a table that nobody sends is no gain
    student = keras.saving.load_model(tmp_path / "run" / "student.keras")
    built = resolve(settings).build("student")
    words = [next(w for w in each.weights if w.shape[-1] == WIDTH) for each in (student, built)]
    np.testing.assert_array_equal(*words)


@pytest.mark.parametrize(
    "freeze, match",
    [
        ("head", r"model.freeze must be embedding, embedding\+N .* got 'head'"),
        ("embedding+0", "model.freeze must be embedding"),
    ],
)
def test_what_cannot_be_frozen_is_refused_in_one_line(freeze, match, tmp_path):
    given = {"model.pretrained": str(write(tmp_path / "model")), "model.freeze": freeze}
    with pytest.raises(InputError, match=match):
        resolve({"task": texts(tmp_path / "texts.npz"), **given})
    with pytest.raises(InputError, match=r"empty without model\.pretrained"):
        resolve({"task": "digits", "model.freeze": "embedding"})


def test_no_more_layers_are_frozen_than_a_model_has_unless_nobody_trains_it(tmp_path):
    """The folder has three layers, the student two of them."""
    given = {"task": texts(tmp_path / "texts.npz"), "model.pretrained": str(write(tmp_path / "model"))}
    given |= {"model.freeze": "embedding+3", "clients": 2}
    alone = resolve({**given, "method": "fedavg_teacher"})
    assert len(alone.models) == 1
    assert alone.initial_shared()
    with pytest.raises(InputError, match=r"model\.freeze must leave at most all layers .* has 2, got 'embedding\+3'"):
        _ = resolve(given).models
    with pytest.raises(InputError, match=r"one that is trained has 3, got 'embedding\+5'"):
        _ = resolve({**given, "method": "fedavg_teacher", "model.freeze": "embedding+5"}).models


@pytest.mark.slow
def test_a_training_file_holds_what_is_frozen(experiment):
    """LiteRT trains the rest as TensorFlow does."""
    state, data = experiment.local().trainer.initial_state(), experiment.client_data(0)[0]
    train = replace(experiment.config.train, engine="litert")
    other = replace(experiment, config=replace(experiment.config, train=train))
    ends = [each.local().trainer.fit(state, data, np.random.default_rng(0))[0] for each in (experiment, other)]
    for ours, theirs in zip(ends[0]["student"], ends[1]["student"], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
