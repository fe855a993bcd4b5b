"""Laws of training by a file: it is what TensorFlow does, and what can't be in a file is refused when it is made."""

import subprocess
import sys
from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import layers

import fedkd
from fedkd.base.errors import InputError
from fedkd.config.sections import LossConfig, TrainConfig
from fedkd.data.dataset import Dataset
from fedkd.distill.keras_trainer import KerasTrainer
from fedkd.litert.opened import Opened
from fedkd.litert.trainer import LiteRTTrainer
from fedkd.litert.training_file import training_file
from fedkd.models import transformer
from fedkd.models.inspect import build_model
from fedkd.objectives.classification import Classification
from tests import tiny

CLASSES = Classification(("a", "b", "c"))
TRAIN = TrainConfig(epochs=1, batch_size=8, optimizer="sgd", teacher_lr=0.05, student_lr=0.05)
LOSSES = LossConfig(attention_transfer=1.0, distance=1.0, angle=1.0)


def rng(seed=0):
    return np.random.default_rng(seed)


def pair(teacher, student, train=TRAIN, loss=LOSSES, data=None, bounds=()):
    """The same training in TensorFlow and in LiteRT."""
    models = {"teacher": build_model(teacher, 1), "student": build_model(student, 2)}
    trainer, data = KerasTrainer(models, train, loss, CLASSES, seed=3), data or tiny.examples(8, 0)
    return trainer, LiteRTTrainer(Opened(training_file(trainer, data.x[:1], data.y[:1], bounds)), train.epochs)


def still(width):
    """A network of many kinds of layers without any that draws."""
    inputs = keras.Input((6, 6, 1))
    x = layers.Conv2D(width, 3, strides=2, padding="same", use_bias=False)(inputs)
    hidden = x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    x = layers.SeparableConv2D(width, 3, padding="same", activation="elu")(x)
    x = layers.LeakyReLU(0.2)(layers.Conv2DTranspose(width, 3, strides=2, padding="same")(x))
    x = layers.AveragePooling2D(2)(layers.MaxPooling2D(3, 1, padding="same")(x))
    return keras.Model(inputs, {"logits": layers.Dense(3)(layers.Flatten()(x)), "hidden": [hidden]})


def change(before, after, role):
    return np.concatenate([(a - b).ravel() for a, b in zip(after[role], before[role], strict=True)])


def cosine(a, b):
    return a.astype(float) @ b / np.linalg.norm(a.astype(float)) / np.linalg.norm(b.astype(float))


def alike(ours, theirs, data, least=1 - 1e-6, **bounds):
    before = theirs.initial_state()
    (a, losses), (b, others) = (trainer.fit(before, data, rng(), **bounds) for trainer in (ours, theirs))
    for role in ("teacher", "student"):
        assert cosine(change(before, a, role), change(before, b, role)) > least
        assert losses[role] == pytest.approx(others[role], rel=1e-5)
        np.testing.assert_allclose(
            ours.logits(role, a[role], data.x), theirs.logits(role, a[role], data.x), rtol=0, atol=1e-5
        )
    return a


def test_a_file_trains_as_tensorflow_does():
    theirs, ours = pair(lambda: still(6), lambda: still(4))
    assert ours.roles == theirs.roles
    arguments = ours._file.runner("train").get_input_details()
    assert min(len(found["shape"]) for found in arguments.values()) == 1  # see fedkd.litert.training_file
    alike(ours, theirs, tiny.examples(45, 0))


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adam", "adamw", "rmsprop", "tests.litert.test_trainer:momentum"])
def test_optimisers_are_part_of_the_file(optimizer):
    train = replace(TRAIN, optimizer=optimizer, teacher_lr=1e-3, student_lr=1e-3)
    theirs, ours = pair(lambda: still(4), lambda: still(4), train, LossConfig(hidden=False))
    alike(ours, theirs, tiny.examples(8, 0), 1 - 1e-4)


def momentum(rate):
    return keras.optimizers.SGD(rate, momentum=0.9, nesterov=True, weight_decay=1e-3)


@pytest.mark.slow
def test_words_are_learned_in_a_file():
    loss = LossConfig(value_relation=1.0, attention_relation=1.0)
    data = Dataset(rng().integers(0, 20, (24, 6)).astype(np.int32), rng(1).integers(0, 3, 24).astype(np.int32))
    theirs, ours = pair(
        lambda: transformer.teacher(6, 20, 3, 16), lambda: transformer.student(6, 20, 3, 8), loss=loss, data=data
    )
    alike(ours, theirs, data)


@pytest.mark.slow
def test_masks_and_anchors_hold_weights_back_and_gradients_are_corrected():
    train, bounds = replace(TRAIN, proximal=0.5), ("student.masks", "student.anchors", "student.corrections")
    theirs, ours = pair(lambda: still(4), lambda: still(4), train, bounds=bounds)
    weights = ours.trainable("student", ours.initial_state()["student"])
    masks = {"student": [rng(i).integers(0, 2, w.shape).astype(np.float32) for i, w in enumerate(weights)]}
    anchors = {"student": [w + 0.1 for w in weights]}
    corrections = {"student": [rng(i).normal(size=w.shape).astype(np.float32) for i, w in enumerate(weights)]}
    given = {"masks": masks, "anchors": anchors, "corrections": corrections}
    after = alike(ours, theirs, tiny.examples(24, 0), **given)
    without, _ = ours.fit(ours.initial_state(), tiny.examples(24, 0), rng(), masks=masks, anchors=anchors)
    assert np.linalg.norm(change(without, after, "student")) > 0.05
    assert ours.steps_of(25) == theirs.steps_of(25) == 4
    for weight, mask in zip(ours.trainable("student", after["student"]), masks["student"], strict=True):
        assert not weight[mask == 0].any()


def test_random_layers_draw_from_the_clients_generator():
    def noisy(width):
        inputs = keras.Input((6, 6, 1))
        x = layers.GaussianNoise(0.1)(layers.Dropout(0.5)(layers.Flatten()(inputs)))
        return keras.Model(inputs, layers.Dense(3)(layers.Dense(width, activation="tanh")(x)))

    _, ours = pair(lambda: noisy(6), lambda: noisy(4), loss=LossConfig(hidden=False))
    data = tiny.examples(40, 0)
    first, again, other = (ours.fit(ours.initial_state(), data, rng(seed))[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first["teacher"][0], again["teacher"][0])
    assert not np.array_equal(first["teacher"][0], other["teacher"][0])
    assert np.isfinite(ours.logits("teacher", first["teacher"], data.x)).all()


def recurrent():
    inputs = keras.Input((6, 6))
    return keras.Model(inputs, layers.Dense(3)(layers.GRU(4, name="memory")(inputs)))


def grouped():
    inputs = keras.Input((6, 6, 4))
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(layers.Conv2D(4, 3, groups=2)(inputs))))


@pytest.mark.parametrize(
    "network, shape, words", [(recurrent, (6, 6), "memory"), (grouped, (6, 6, 4), "BackpropFilter")]
)
def test_what_a_file_cannot_hold_is_refused_in_one_line(network, shape, words):
    data = Dataset(np.zeros((2, *shape), np.float32), np.zeros(2, np.int32))
    with pytest.raises(InputError, match=words) as refused:
        pair(network, network, loss=LossConfig(hidden=False), data=data)
    assert "\n" not in str(refused.value)
    assert "train.engine" in str(refused.value)


def run(out, **settings):
    settings = {"edge.finish_rounds": 1, "edge.precisions": "none", "train.epochs": 3, **settings}
    return fedkd.run("tests.tiny:task", rounds=5, settings=settings, out=out, progress=False).history


@pytest.mark.slow
def test_a_run_on_litert_is_a_run(tmp_path):
    ours, again = (run(tmp_path / str(n), **{"train.engine": "litert", "threads": n}) for n in (1, 2))
    assert [row.shared_sha256 for row in ours] == [row.shared_sha256 for row in again]
    assert ours[-1].sparsity == 0.5
    theirs = run(tmp_path / "tensorflow")
    assert ours[-1].shared["accuracy"] == pytest.approx(theirs[-1].shared["accuracy"], abs=0.1)
    assert ours[-1].loss["teacher"] < 0.8 * ours[0].loss["teacher"]


@pytest.mark.slow
def test_clients_learn_what_int8_needs_on_litert(tmp_path):
    settings = {"edge.sparsity": 0.0, "edge.qat": True, "edge.precisions": "int8"}
    ours, theirs = (
        run(tmp_path / engine, **{"train.engine": engine, **settings}) for engine in ("litert", "tensorflow")
    )
    assert (tmp_path / "litert/student_int8.tflite").exists()
    assert ours[-1].loss["student"] == pytest.approx(theirs[-1].loss["student"], rel=0.2)


def test_the_trainer_needs_no_tensorflow():
    code = "import fedkd.litert.trainer, sys; assert not {'tensorflow', 'keras'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
