"""The losses, against values computed by hand in numpy."""

import numpy as np
import pytest
import tensorflow as tf

from fedkd.base.errors import InputError
from fedkd.config.sections import LossConfig
from fedkd.distill.alignment import align
from fedkd.distill.knowledge import EPSILON
from fedkd.distill.losses import hidden_loss, mutual_losses, projection_shapes
from fedkd.models.inspect import Outputs
from fedkd.objectives.classification import Classification
from fedkd.objectives.losses import cross_entropy, kl

RNG = np.random.default_rng(0)
LABELS = np.array([0, 2, 1, 2])
CLASSES = Classification(("a", "b", "c"))
SHARE = np.full(4, 0.25, np.float32)


def random(*shape):
    return tf.constant(RNG.normal(size=shape), tf.float32)


T = Outputs(random(4, 3), [random(4, 5, 8)], [random(4, 2, 5, 5)])
S = Outputs(random(4, 3), [random(4, 5, 6)], [random(4, 2, 5, 5)])
W = [random(6, 8)]


def softmax(z):
    e = np.exp(np.asarray(z, np.float64))
    return e / e.sum(-1, keepdims=True)


def by_hand(config):
    """Eqs 1-7 in numpy, float64."""
    y_t, y_s = softmax(T.logits), softmax(S.logits)
    ce_t, ce_s = (-np.log(y[np.arange(4), LABELS]).mean() for y in (y_t, y_s))
    d = ce_t + ce_s + EPSILON if config.adaptive else 1.0
    tau = config.temperature
    p_t, p_s = softmax(T.logits / tau), softmax(S.logits / tau)
    kl_t = tau**2 * (p_s * np.log(p_s / p_t)).sum(-1).mean()
    kl_s = tau**2 * (p_t * np.log(p_t / p_s)).sum(-1).mean()
    h = np.mean((T.hidden[0] - S.hidden[0].numpy() @ W[0].numpy()) ** 2)
    h += np.mean((T.attention[0] - S.attention[0]) ** 2)
    return (
        ce_t + config.mutual * kl_t / d + config.hidden * h / d,
        ce_s + config.mutual * kl_s / d + config.hidden * h / d,
    )


@pytest.mark.parametrize(
    "config",
    [
        LossConfig(),
        LossConfig(mutual=False),
        LossConfig(adaptive=False),
        LossConfig(hidden=False),
        LossConfig(temperature=3.0),
        LossConfig(undetached=True),
    ],
)
def test_totals_are_the_papers_equations(config):
    totals = mutual_losses(T, S, W, LABELS, SHARE, config, CLASSES)
    np.testing.assert_allclose([t.numpy() for t in totals], by_hand(config), rtol=2e-5)


def gradients(config):
    with tf.GradientTape() as tape:
        logits = [tf.identity(T.logits), tf.identity(S.logits)]
        tape.watch(logits)
        totals = mutual_losses(
            Outputs(logits[0], (), ()), Outputs(logits[1], (), ()), [], LABELS, SHARE, config, CLASSES
        )
        total = totals.teacher + totals.student
    return [g.numpy() for g in tape.gradient(total, logits)]


def test_peer_and_confidence_are_constants_for_the_gradient():
    """d L_t / d z_t with y_s and D held still is (y_t - onehot + (y_t - y_s) / D) / n."""
    y_t, y_s = softmax(T.logits), softmax(S.logits)
    onehot = np.eye(3)[LABELS]
    d = sum(-np.log(y[np.arange(4), LABELS]).mean() for y in (y_t, y_s)) + EPSILON
    by_formula = [(y_t - onehot + (y_t - y_s) / d) / 4, (y_s - onehot + (y_s - y_t) / d) / 4]
    np.testing.assert_allclose(gradients(LossConfig()), by_formula, atol=1e-6)


def test_undetached_gradient_differs_as_the_published_code_does():
    """Each coefficient of a CE gradient then is 1 - (KL_t + KL_s) / D², and the peers pull at each other's targets."""
    assert np.abs(np.subtract(gradients(LossConfig(undetached=True)), gradients(LossConfig()))).max() > 1e-3


def test_hidden_loss_is_zero_for_a_perfect_projection():
    student = Outputs(S.logits, [T.hidden[0]], [T.attention[0]])
    assert hidden_loss(T, student, [tf.eye(8)], SHARE).numpy() == 0.0


def test_what_models_make_of_padding_counts_nothing():
    """Neither states of padding nor what it attends to, by the mask of either model."""
    real = np.ones((4, 5), np.float32)
    real[1, 3:] = real[2, 0] = 0
    apart = (T.hidden[0] - S.hidden[0].numpy() @ W[0].numpy()) * real[..., None]
    maps = (T.attention[0] - S.attention[0]) * real[:, None, :, None]
    expected = np.mean(apart**2) + np.mean(maps**2)
    mask = tf.constant(real)
    for teacher, student in (
        (T._replace(mask=mask), S),
        (T, S._replace(mask=mask)),
        (T._replace(mask=mask), S._replace(mask=mask)),
    ):
        np.testing.assert_allclose(hidden_loss(teacher, student, W, SHARE), expected, rtol=1e-5)
    other = T._replace(mask=tf.ones((4, 7)))  # of other positions: it says nothing of these
    np.testing.assert_allclose(hidden_loss(other, S, W, SHARE), hidden_loss(T, S, W, SHARE), rtol=1e-6)


def test_attention_maps_are_averaged_over_heads_where_head_counts_differ():
    student = Outputs(S.logits, (), [tf.reduce_mean(T.attention[0], 1, keepdims=True)])
    teacher = Outputs(T.logits, (), T.attention)
    np.testing.assert_allclose(hidden_loss(teacher, student, [], SHARE).numpy(), 0.0, atol=1e-12)


def test_attention_maps_of_other_lengths_are_left_out():
    student = Outputs(S.logits, (), [random(4, 2, 7, 7)])
    assert hidden_loss(Outputs(T.logits, (), T.attention), student, [], SHARE).numpy() == 0.0


def test_layers_align_from_the_last_backwards():
    assert align(4, 2) == [(1, 0), (3, 1)]
    assert align(2, 2) == [(0, 0), (1, 1)]
    assert align(3, 2) == [(0, 0), (2, 1)]
    assert align(1, 3) == [(0, 2)]
    assert align(0, 3) == []


def test_hidden_states_of_other_lengths_are_refused():
    student = Outputs(S.logits, [random(4, 3, 6)], ())
    with pytest.raises(InputError, match="hidden states must differ in features only"):
        projection_shapes(T, student)


def test_padding_has_no_share_in_a_loss():
    """Rows with share 0 may hold anything."""
    logits = tf.concat([T.logits, random(2, 3) * 100], 0)
    share = np.concatenate([SHARE, np.zeros(2, np.float32)])
    labels = np.concatenate([LABELS, [0, 1]])
    np.testing.assert_allclose(cross_entropy(logits, labels, share), cross_entropy(T.logits, LABELS, SHARE), rtol=1e-6)
    padded = tf.concat([S.logits, random(2, 3)], 0)
    np.testing.assert_allclose(kl(padded, logits, share), kl(S.logits, T.logits, SHARE), rtol=1e-6)
