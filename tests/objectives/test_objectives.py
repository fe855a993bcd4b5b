"""Each objective's metrics, losses and rules, against values computed by hand or by scikit-learn."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import softmax
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    f1_score,
    mean_absolute_error,
    mean_squared_error,
    r2_score,
)

from fedkd.base.errors import InputError
from fedkd.objectives.classification import Classification
from fedkd.objectives.losses import binary_cross_entropy, binary_kl, cross_entropy, kl, mse
from fedkd.objectives.metric import Metric, Scale, read_scale
from fedkd.objectives.multi_label import MultiLabel
from fedkd.objectives.objective import Objective, quality
from fedkd.objectives.regression import Regression

RNG = np.random.default_rng(0)
THREE, TWO, TOPICS = Classification(("a", "b", "c")), Classification(("no", "yes")), MultiLabel(("x", "y", "z", "w"))
NUMBERS = Regression(("low", "high"), scale=(2.0, 50.0), offset=(-1.0, 300.0))
SHARE = np.array([0.4, 0.3, 0.2, 0.1, 0.0], np.float32)


@pytest.mark.parametrize("objective", [THREE, TWO, TOPICS, NUMBERS])
def test_all_are_objectives_whose_first_metric_is_the_baselines(objective):
    assert isinstance(objective, Objective)
    assert len({metric.name for metric in objective.metrics}) == len(objective.metrics)
    assert all(isinstance(metric, Metric) and metric.name.isidentifier() for metric in objective.metrics)


def test_metrics_of_two_classes_are_those_of_scikit_learn():
    y, outputs = RNG.integers(0, 2, 80).astype(np.int32), RNG.normal(size=(80, 2)).astype(np.float32)
    found = quality(TWO, outputs, y)
    expected = {
        "accuracy": np.mean(outputs.argmax(1) == y),
        "f1": f1_score(y, outputs.argmax(1)),
        "brier": 2 * brier_score_loss(y, softmax(outputs, 1)[:, 1]),  # over both classes
    }
    assert found == pytest.approx(expected)
    low, high = TWO.metrics[0].interval(outputs, y)
    assert low < found["accuracy"] < high


def test_one_sigmoid_unit_is_two_logits_of_which_the_first_is_zero():
    y, unit = RNG.integers(0, 2, 5).astype(np.int32), RNG.normal(size=(5, 1)).astype(np.float32)
    pair = np.concatenate([np.zeros_like(unit), unit], 1)
    np.testing.assert_array_equal(TWO.answers(unit), TWO.answers(pair))
    np.testing.assert_allclose(
        TWO.loss(tf.constant(unit), y, SHARE), cross_entropy(tf.constant(pair), y, SHARE), rtol=1e-6
    )
    other = RNG.normal(size=(5, 2)).astype(np.float32)
    found = TWO.divergence(tf.constant(other), tf.constant(unit), SHARE, 2.0)
    np.testing.assert_allclose(found, kl(tf.constant(other), tf.constant(pair), SHARE, 2.0), rtol=1e-6)
    assert TWO.links == {2: "softmax", 1: "sigmoid"}
    assert THREE.links == {3: "softmax"}


def test_regression_is_measured_in_the_targets_units_and_trained_in_their_scale():
    y = (RNG.normal(size=(60, 2)) * [2, 50] + [-1, 300]).astype(np.float32)
    outputs = ((y - [-1, 300]) / [2, 50] + RNG.normal(0, 0.3, (60, 2))).astype(np.float32)
    found, answers = quality(NUMBERS, outputs, y), outputs * [2, 50] + [-1, 300]
    assert found["mae"] == pytest.approx(mean_absolute_error(y, answers), rel=1e-5)
    assert found["mse"] == pytest.approx(mean_squared_error(y, answers), rel=1e-5)
    assert found["r2"] == pytest.approx(r2_score(y, answers), rel=1e-5)
    loss = NUMBERS.loss(tf.constant(outputs[:5]), y[:5], SHARE)
    by_hand = (SHARE * np.mean((outputs[:5] - (y[:5] - [-1, 300]) / [2, 50]) ** 2, 1)).sum()
    assert float(loss) == pytest.approx(by_hand, rel=1e-4)
    assert float(NUMBERS.divergence(outputs[:5], outputs[:5] + 2, SHARE, 3.0)) == pytest.approx(4.0, rel=1e-5)
    for metric in NUMBERS.metrics[:2]:
        low, high = metric.interval(outputs, y)
        assert low < found[metric.name] < high
    assert [metric.better for metric in NUMBERS.metrics] == ["lower", "lower", "higher"]


def test_no_constant_answer_has_a_smaller_error_than_the_baseline():
    y = RNG.exponential(size=(50, 1)).astype(np.float32)
    tries = [np.mean(np.abs(y - constant)) for constant in np.linspace(0, 3, 301)]
    assert Regression(("t",)).baseline(y) <= min(tries) + 1e-6
    assert MultiLabel(("x", "y")).baseline(np.array([[1, 0], [0, 0]], np.float32)) == pytest.approx(0.4)


def test_scale_and_offset_are_those_of_the_training_targets():
    y = np.array([[1.0, 7.0], [3.0, 7.0]], np.float32)
    assert Regression.standardised(("a", "b"), y) == Regression(("a", "b"), (1.0, 1.0), (2.0, 7.0))


def test_multi_label_figures_are_those_of_scikit_learn():
    y = (RNG.random((70, 4)) < [0.1, 0.4, 0.6, 0.3]).astype(np.float32)
    outputs = (y - 0.5 + RNG.normal(0, 0.8, y.shape)).astype(np.float32)
    outputs = np.round(outputs, 1)  # some scores are equal
    found = quality(TOPICS, outputs, y)
    assert found["micro_f1"] == pytest.approx(f1_score(y, outputs > 0, average="micro"))
    assert found["macro_f1"] == pytest.approx(f1_score(y, outputs > 0, average="macro"))
    assert found["map"] == pytest.approx(average_precision_score(y, outputs, average="macro"))


def test_multi_label_losses_are_means_over_labels():
    y = np.array([[0, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 0, 1]], np.float32)
    a, b = (RNG.normal(size=(5, 4)).astype(np.float32) for _ in range(2))
    p, q = (1 / (1 + np.exp(-z.astype(np.float64) / 2)) for z in (a, b))
    divergence = 4 * (SHARE * (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).mean(1)).sum()
    assert float(TOPICS.divergence(tf.constant(a), tf.constant(b), SHARE, 2.0)) == pytest.approx(divergence, rel=1e-4)
    assert float(binary_kl(tf.constant(a), tf.constant(a), SHARE)) == pytest.approx(0.0, abs=1e-6)
    r = 1 / (1 + np.exp(-a.astype(np.float64)))
    entropy = -(SHARE * (y * np.log(r) + (1 - y) * np.log(1 - r)).mean(1)).sum()
    assert float(TOPICS.loss(tf.constant(a), y, SHARE)) == pytest.approx(entropy, rel=1e-5)


@pytest.mark.parametrize("loss", [lambda x: binary_kl(x, -x, SHARE), lambda x: binary_cross_entropy(x, 0 * x, SHARE)])
def test_gradients_of_sure_answers_are_finite(loss):
    x = tf.constant(np.full((5, 2), 300.0, np.float32))
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = loss(x)
    assert np.isfinite(tape.gradient(value, x)).all()


def test_padding_has_no_share_in_any_loss():
    a, y = RNG.normal(size=(5, 2)).astype(np.float32), RNG.normal(size=(5, 2)).astype(np.float32)
    b = a.copy()
    b[4] += 100  # its share is 0
    assert float(mse(a, y, SHARE)) == float(mse(b, y, SHARE))


@pytest.mark.parametrize(
    "objective, y, words",
    [
        (THREE, np.array([0.0, 1.0]), r"y must be whole numbers of shape \(n,\), got float64 of shape \(2,\)"),
        (THREE, np.array([[0], [1]]), r"y must be whole numbers of shape \(n,\), got int64 of shape \(2, 1\)"),
        (THREE, np.array([0, 3]), "y holds label 3, labels must be from 0 to 2"),
        (NUMBERS, np.zeros(4, np.float32), r"y must have shape \(n, 2\), a number for each target, got \(4,\)"),
        (NUMBERS, np.array([[1.0, np.nan]]), r"y holds NaN or Inf \(first in row 0\)"),
        (NUMBERS, np.array([["a", "b"]]), r"y must be numbers of shape \(n, 2\), got <U1"),
        (TOPICS, np.array([[0, 1, 2, 0]]), "y must hold 0 and 1 alone, got 2"),
        (
            TOPICS,
            np.array([0, 1]),
            r"y must be 0 or 1 of shape \(n, 4\), a column per label, got int64 of shape \(2,\)",
        ),
    ],
)
def test_targets_of_another_kind_are_refused_with_the_rule(objective, y, words):
    with pytest.raises(InputError, match=words):
        objective.check_target("y", y)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: Classification(("one",)), "classes must be at least 2, got 1"),
        (lambda: MultiLabel(()), "labels must be at least 1"),
        (lambda: Regression(()), "targets must be at least 1"),
        (lambda: Regression(("a",), scale=(1.0, 2.0)), "scale must have 1 numbers"),
        (lambda: Regression(("a",), scale=(0.0,)), "scale must be above 0"),
    ],
)
def test_objectives_that_break_a_rule_are_refused(make, words):
    with pytest.raises(InputError, match=words):
        make()


def test_examples_are_grouped_by_what_their_targets_are():
    assert THREE.strata(np.array([2, 0])).ids.tolist() == [2, 0]
    groups = Regression(("t",)).strata(np.arange(100, dtype=np.float32)[:, None])
    assert np.bincount(groups.ids).tolist() == [10] * 10
    assert len(groups.names) == 10
    y = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0]], np.float32)
    assert MultiLabel(("often", "rare", "never")).strata(y) == (
        pytest.approx([1, 0, 3]),
        ("often", "rare", "never", "none"),
    )


def test_answers_agree_where_they_decide_alike():
    a, b = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[2.0, 0.0], [3.0, 1.0]])
    assert TWO.agreement(a, b) == 0.5
    assert MultiLabel(("x", "y")).agreement(a - 0.5, b - 0.5) == 0.75
    near = np.linspace(-1, 1, 50)[:, None]
    assert Regression(("t",)).agreement(near + 0.01, near) == 1.0
    assert Regression(("t",)).agreement(near + 1.0, near) == 0.0


def test_a_scale_is_written_and_read():
    scale = Scale("mae", "mean absolute error", "mm", "lower")
    assert read_scale(scale.to_json()) == scale
    assert scale.text(1.2345) == "1.23 mm"
    assert scale.lost(3.0, 2.0) == 1.0
    with pytest.raises(ValueError, match="higher or lower"):
        read_scale(scale.to_json() | {"better": "bigger"})


def test_an_objective_says_how_its_outputs_are_read():
    assert NUMBERS.units == {"offset": (-1.0, 300.0), "scale": (2.0, 50.0)}
    assert Regression(("t",), scale=(2.0,)).units == {"offset": (0.0,), "scale": (2.0,)}
    assert [each.units for each in (Regression(("t",)), THREE, TOPICS)] == [None] * 3


def test_a_metric_without_a_way_to_find_it_is_none():
    with pytest.raises(TypeError, match="of"):
        Metric("brier", "Brier score")
