"""Laws of classes that count differently."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import tensorflow as tf

from fedkd.base.errors import InputError
from fedkd.config.sections import LossConfig, TrainConfig
from fedkd.data.dataset import Dataset
from fedkd.distill.class_weights import class_weights, example_weights
from fedkd.distill.keras_trainer import KerasTrainer
from fedkd.distill.losses import mutual_losses
from fedkd.models.inspect import Outputs, build_model
from fedkd.objectives.classification import Classification
from fedkd.objectives.multi_label import MultiLabel
from fedkd.objectives.regression import Regression
from fedkd.protocol.resolve import resolve
from tests import tiny

CLASSES = Classification(("a", "b=c", "d"))
TRAIN = TrainConfig(epochs=6, batch_size=8, teacher_lr=3e-3, student_lr=3e-3)


def test_named_weights_are_those_and_all_others_are_one():
    assert class_weights("b=c = 3, a=.5", CLASSES) == {0: 0.5, 1: 3.0, 2: 1.0}


def test_balanced_classes_weigh_the_same_in_all_and_the_mean_is_one():
    y = np.repeat([0, 2], [90, 10]).astype(np.int32)
    found = example_weights(class_weights("balanced", CLASSES), y)
    assert found.dtype == np.float32
    np.testing.assert_allclose([found[y == 0].sum(), found[y == 2].sum(), found.mean()], [50, 50, 1], rtol=1e-6)
    np.testing.assert_array_equal(example_weights(None, np.full(5, 1)), np.ones(5))


@pytest.mark.parametrize(
    "setting, objective, said",
    [
        ("balance", CLASSES, "must be balanced, or NAME=WEIGHT with commas between, got 'balance'"),
        ("a=1,", CLASSES, "must be balanced, or NAME=WEIGHT"),
        ("e=1", CLASSES, "no class is called 'e'; there are a, b=c, d"),
        ("a=0", CLASSES, "the weight of a must be a number above 0, got '0'"),
        ("a=nan", CLASSES, "the weight of a must be a number above 0, got 'nan'"),
        ("a=much", CLASSES, "the weight of a must be a number above 0, got 'much'"),
        ("balanced", Regression(("kWh",)), "must be empty for a task that isn't one of exclusive classes"),
        ("a=2", MultiLabel(("a", "b")), "must be empty for a task that isn't one of exclusive classes"),
    ],
)
def test_what_is_no_weight_is_refused_in_one_line(setting, objective, said):
    with pytest.raises(InputError, match=f"train.class_weights.*{said}") as caught:
        class_weights(setting, objective)
    assert "\n" not in str(caught.value)


def test_it_is_refused_before_anything_begins():
    with pytest.raises(InputError, match="no class is called 'rare'; there are vertical, horizontal, checks"):
        resolve({"task": "tests.tiny:task", "train.class_weights": "rare=3"})


def test_weights_are_in_the_task_losses_alone():
    """With the same outputs nothing is taught, so both totals are the weighed cross-entropy and no more."""
    logits = tf.constant([[1.0, 0.0, -1.0], [0.0, 2.0, 0.0]])
    y, share, weighed = tf.constant([0, 1]), tf.constant([0.5, 0.5]), tf.constant([0.5, 2.0])
    found = mutual_losses(Outputs(logits), Outputs(logits), [], y, share, LossConfig(hidden=False), CLASSES, weighed)
    each = -np.log(np.exp([1.0, 2.0]) / np.exp(logits.numpy()).sum(1))
    np.testing.assert_allclose([found.teacher, found.student], [0.5 * each[0] + 2.0 * each[1]] * 2, rtol=1e-6)


def imbalanced():
    """Stripes of which one kind in 30 is the third, with so much noise that it is easily overlooked."""
    data = tiny.examples(600, 0)
    rng = np.random.default_rng(1)
    rare, common = np.flatnonzero(data.y == 2)[:12], np.flatnonzero(data.y != 2)[:348]
    rows = rng.permutation(np.concatenate([rare, common]))
    return Dataset(data.x[rows] + rng.normal(0, 0.6, (360, 6, 6, 1)).astype(np.float32), data.y[rows])


@cache
def trained(setting, roles=("teacher", "student")):
    models = {role: build_model(lambda width=width: tiny.network(width), 1) for role, width in
              (("teacher", 12), ("student", 4)) if role in roles}  # fmt: skip
    trainer = KerasTrainer(models, replace(TRAIN, class_weights=setting), LossConfig(), CLASSES, seed=3)
    return trainer, trainer.fit(trainer.initial_state(), imbalanced(), np.random.default_rng(0))[0]


def recall(trainer, state, role):
    test = tiny.examples(600, 2)
    x = test.x + np.random.default_rng(3).normal(0, 0.6, test.x.shape).astype(np.float32)
    return float(np.mean(trainer.logits(role, state[role], x).argmax(1)[test.y == 2] == 2))


@pytest.mark.parametrize(
    "setting, roles", [pytest.param("balanced", ("teacher", "student"), marks=pytest.mark.slow), ("d=20", ("student",))]
)
def test_a_rare_class_is_found_more_often(setting, roles):
    plain, weighed = trained("", roles), trained(setting, roles)
    for role in roles:
        assert recall(*weighed, role) > recall(*plain, role) + 0.2


@pytest.mark.slow
def test_weights_of_one_change_no_bit():
    plain, ones = (trained(setting)[1] for setting in ("", "a=1"))
    assert all(np.array_equal(a, b) for group in plain for a, b in zip(plain[group], ones[group], strict=True))
