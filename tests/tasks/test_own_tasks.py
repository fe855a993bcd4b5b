"""Tasks and optimisers of the user's own that can't be trained are refused in one line, before any round."""

from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import fedkd
from tests import tiny


def accumulating(rate):
    return keras.optimizers.Adam(rate, gradient_accumulation_steps=2)


def averaged(rate):
    return keras.optimizers.Adam(rate, use_ema=True, ema_momentum=0.9)


def scaled(rate):
    return keras.optimizers.SGD(rate, loss_scale_factor=4.0)


def several(rate):
    return keras.optimizers.MultiOptimizer(lambda variables: keras.optimizers.Adam(rate))


def plain(rate):
    return keras.optimizers.SGD(rate, momentum=0.9, nesterov=True, clipnorm=1.0, weight_decay=1e-4)


def network(inputs=1, kind="tensor", width=4):
    given = [keras.Input((6, 6, 1)) for _ in range(inputs)]
    x = layers.Flatten()(given[0] if inputs == 1 else layers.Concatenate()(given))
    hidden = layers.Dense(width, activation="relu")(x)
    logits = layers.Dense(3)(hidden)
    outputs = {"tensor": logits, "list": [logits, hidden], "other keys": {"scores": logits}}[kind]
    return keras.Model(given if inputs > 1 else given[0], outputs)


MADE = network()


def drawing():
    """Weights that no seed decides."""
    model = network()
    model.layers[-1].bias.assign(np.random.default_rng().normal(size=3))
    return model


def refused(tmp_path, task, said, **settings):
    out = tmp_path / "run"
    with pytest.raises(fedkd.InputError, match=said) as caught:
        fedkd.run(task, rounds=1, settings={"clients": 2, **settings}, out=out, progress=False)
    assert "\n" not in str(caught.value)
    assert not out.exists()


@pytest.mark.parametrize(
    "name, said",
    [
        ("accumulating", "Adam with its options can't be compiled"),
        ("averaged", "must be without use_ema, got True: averages of weights"),
        ("scaled", "must be without loss_scale_factor, got 4.0"),
        ("several", "must have one learning rate, got a MultiOptimizer"),
    ],
)
def test_an_optimiser_that_would_fail_or_do_nothing_in_clients_is_refused(name, said, tmp_path):
    refused(tmp_path, tiny.task(), said, **{"train.optimizer": f"tests.tasks.test_own_tasks:{name}"})


@pytest.mark.slow
def test_one_with_options_that_work_is_taken(tmp_path):
    settings = {"clients": 2, "train.optimizer": "tests.tasks.test_own_tasks:plain", "edge.precisions": "none"}
    run = fedkd.run(tiny.task(), rounds=1, settings=settings, out=tmp_path / "run", progress=False)
    assert run.summary.shared_sha256


@pytest.mark.parametrize(
    "builder, said",
    [
        (lambda: network(inputs=2), "must have 1 input, got 2"),
        (lambda: network(kind="list"), "must return logits, or a dict of 'logits' .*, got a list"),
        (lambda: network(kind="other keys"), "must have the key 'logits', got scores"),
        (lambda: layers.Dense(3), "must return a keras.Model, got Dense"),
        (lambda: MADE, "must be built anew at each call, got layers that were made before"),
        (drawing, "must have the same weights at each call with one seed"),
    ],
    ids=["two inputs", "a list", "other keys", "a layer", "made once", "drawn"],
)
def test_a_model_that_cannot_be_trained_is_refused(builder, said, tmp_path):
    refused(tmp_path, replace(tiny.task(), teacher=network, student=builder), said)


def test_data_that_are_no_arrays_are_refused(tmp_path):
    streamed = tf.data.Dataset.from_tensor_slices((np.zeros((4, 6, 6, 1), np.float32), np.zeros(4, np.int32)))
    refused(tmp_path, replace(tiny.task(), train=streamed), "train must be a fedkd.Dataset of arrays")
    column = replace(tiny.task().train, owners=np.zeros((120, 1), int))
    refused(tmp_path, replace(tiny.task(), train=column), r"client_train must have shape \(120,\), got \(120, 1\)")


def test_splits_of_an_own_task_are_of_one_range(tmp_path):
    task = tiny.task()
    refused(tmp_path, replace(task, test=replace(task.test, x=255 * task.test.x)), "x_test has values about 2.. times")


def failing():
    """Of the user's module: what it misses is no missing function of ours."""
    return keras.no_such_layer


def narrow():
    inputs = keras.Input((5, 6, 1))
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(inputs)))


def doubling():
    inputs = keras.Input((6, 6, 1))
    x = layers.Lambda(lambda x: 2 * x)(layers.Flatten()(inputs))
    return keras.Model(inputs, layers.Dense(3)(x))


@pytest.mark.parametrize(
    "student, said",
    [
        (failing, "a builder of the task's models failed: AttributeError: module .keras. has no attribute .no_such"),
        (narrow, r"the task's student takes inputs of shape \(5, 6, 1\), the task's examples have shape \(6, 6, 1\)"),
        (doubling, "the task's student can't be copied, so neither saved nor converted: ValueError: .* keras.ops"),
    ],
)  # fmt: skip
def test_a_student_that_cannot_be_built_fed_or_saved(tmp_path, student, said):
    refused(tmp_path, replace(tiny.task(), student=student), said)


def test_a_test_set_of_another_shape(tmp_path):
    task = tiny.task()
    test = replace(task.test, x=task.test.x[:, :5])
    said = r"x_test must hold examples of shape \(6, 6, 1\), as x_train does, got \(5, 6, 1\)"
    refused(tmp_path, replace(task, test=test), said)
