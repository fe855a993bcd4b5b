"""The further kinds of knowledge, against values computed by hand or in numpy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from fedkd.base.errors import InputError
from fedkd.config.sections import LossConfig, TrainConfig
from fedkd.data.dataset import Dataset
from fedkd.distill.checks import check_knowledge
from fedkd.distill.keras_trainer import KerasTrainer
from fedkd.distill.knowledge import KINDS, angle, attention_relation, attention_transfer, distance, value_relation
from fedkd.distill.losses import confidence, mutual_losses
from fedkd.models import cnn, temporal, transformer
from fedkd.models.inspect import Outputs, build_model, split_outputs
from fedkd.objectives.classification import Classification
from fedkd.objectives.losses import cross_entropy

N, STEPS = 6, 5
SHARE = np.full(N, 1 / N, np.float32)
LABELS = np.arange(N) % 3
CLASSES = Classification(("a", "b", "c"))
ALL = {"attention_transfer": 1000.0, "distance": 25.0, "angle": 50.0, "attention_relation": 1.0, "value_relation": 1.0}
kinds = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return (e / e.sum(-1, keepdims=True)).astype(np.float32)


def outputs(seed, width, heads=2, steps=STEPS, mask=None):
    """A random model's outputs: two layers, the first one of images."""
    rng = np.random.default_rng(seed)
    hidden = [rng.normal(size=shape).astype(np.float32) for shape in ((N, 2, 3, width), (N, steps, width))]
    maps = softmax(rng.normal(size=(N, heads, steps, steps)))
    values = rng.normal(size=(N, heads, steps, width)).astype(np.float32)
    parts = [[tf.constant(tensor) for tensor in part] for part in (hidden, [maps], [values])]
    return Outputs(tf.constant(rng.normal(size=(N, 3)), tf.float32), *parts, mask)


T, S = outputs(0, 8), outputs(1, 6)


def states(*layers):
    """Outputs of nothing but hidden states."""
    tensors = [tf.constant(layer, tf.float32) for layer in layers]
    return Outputs(tf.zeros((tensors[-1].shape[0], 3)), tensors)


def equal_share(n):
    return np.full(n, 1 / n, np.float32)


def test_attention_transfer_compares_where_states_are_large():
    """Squares (9, 0) and (0, 4) have the normed maps (1, 0) and (0, 1): the mean square of their difference is 1."""
    there, elsewhere = states([[[3.0], [0.0]]]), states([[[0.0, 0.0], [0.0, 2.0]]])
    assert attention_transfer(there, elsewhere, equal_share(1)).numpy() == 1.0


def test_attention_transfer_sums_over_matched_layers_and_leaves_out_those_without_positions():
    maps = []
    for outputs_ in (T, S):
        squares = [np.square(h.numpy()).sum(-1).reshape(N, -1) for h in outputs_.hidden]
        maps.append([s / np.linalg.norm(s, axis=1, keepdims=True) for s in squares])
    expected = sum(np.mean((a - b) ** 2) for a, b in zip(*maps, strict=True))
    dense = [outputs_._replace(hidden=[*outputs_.hidden, tf.ones((N, 4))]) for outputs_ in (T, S)]
    np.testing.assert_allclose(attention_transfer(*dense, SHARE), expected, rtol=1e-5)


def test_distance_is_the_huber_loss_of_distances_over_their_mean():
    """At 0, 1, 3 the distances 1, 3, 2 have mean 2; at 0, 1, 2 those of 1, 2, 1 have mean 4/3: ¼, 0 and ¼ apart."""
    value = distance(states([[0.0], [1.0], [3.0]]), states([[0.0, 5.0], [1.0, 5.0], [2.0, 5.0]]), equal_share(3))
    np.testing.assert_allclose(value, 2 / 3 * 0.5 * 0.25**2, rtol=1e-6)


def test_angle_is_the_huber_loss_of_cosines():
    """Cosines of a right-angled triangle are 0, √½ and √½, of an equilateral one ½ each."""
    right = states([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    equilateral = states([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(0.75)]])
    expected = 0.5 * (0.5**2 + 2 * (np.sqrt(0.5) - 0.5) ** 2) / 3
    np.testing.assert_allclose(angle(right, equilateral, equal_share(3)), expected, rtol=1e-5)


def test_angle_is_linear_where_cosines_are_far_apart():
    """Of three points on a line the one between has cosine -1, the others 1; two of three are 2 apart: 2 - ½."""
    value = angle(states([[0.0], [-1.0], [1.0]]), states([[-1.0], [0.0], [1.0]]), equal_share(3))
    np.testing.assert_allclose(value, (1.5 + 1.5 + 0) / 3, rtol=1e-6)


def kl(a, b):
    return (a * np.log(a / b)).sum(-1)


def relations(outputs_):
    values = outputs_.values[-1].numpy()
    return softmax(values @ values.swapaxes(2, 3) / np.sqrt(values.shape[-1]))


def test_attention_relation_is_the_mean_kl_of_rows_from_the_target():
    expected = kl(T.attention[0].numpy(), S.attention[0].numpy()).mean()
    np.testing.assert_allclose(attention_relation(T, S, SHARE), expected, rtol=1e-5)


def test_value_relation_is_the_mean_kl_of_scaled_products():
    np.testing.assert_allclose(value_relation(T, S, SHARE), kl(relations(T), relations(S)).mean(), rtol=1e-5)


def test_relations_are_averaged_over_heads_where_head_counts_differ():
    four = outputs(2, 3, heads=4)
    maps = [o.attention[0].numpy().mean(1) for o in (T, four)]
    np.testing.assert_allclose(attention_relation(T, four, SHARE), kl(*maps).mean(), rtol=1e-5)
    maps = [relations(o).mean(1) for o in (T, four)]
    np.testing.assert_allclose(value_relation(T, four, SHARE), kl(*maps).mean(), rtol=1e-5)


@kinds
def test_equal_models_teach_each_other_nothing_and_others_something(kind):
    assert abs(kind(T, T, SHARE).numpy()) < 1e-9
    assert kind(T, S, SHARE).numpy() > 1e-4


def rotation(width):
    return np.linalg.qr(np.random.default_rng(3).normal(size=(width, width)))[0].astype(np.float32)


@pytest.mark.parametrize("kind", [distance, angle])
@pytest.mark.parametrize(
    "change", [lambda h: 7.0 * h, lambda h: h @ rotation(6), lambda h: h + 3.0], ids=["scale", "rotate", "shift"]
)
def test_relations_of_examples_ignore_scale_rotation_and_origin_of_either_model(kind, change):
    changed = S._replace(hidden=[change(h) for h in S.hidden])
    np.testing.assert_allclose(kind(T, changed, SHARE), kind(T, S, SHARE), rtol=1e-4)
    np.testing.assert_allclose(kind(changed, T, SHARE), kind(S, T, SHARE), rtol=1e-4)


def test_attention_transfer_ignores_scale_but_not_place():
    scaled = T._replace(hidden=[1e-3 * h for h in T.hidden])
    np.testing.assert_allclose(attention_transfer(scaled, S, SHARE), attention_transfer(T, S, SHARE), rtol=1e-4)
    moved = T._replace(hidden=[tf.roll(h, 1, 1) for h in T.hidden])
    assert attention_transfer(moved, T, SHARE).numpy() > 1e-3


@kinds
def test_examples_without_share_may_hold_anything(kind):
    def padded(outputs_, seed):
        noise = np.random.default_rng(seed)
        return outputs_.map(lambda t: tf.concat([t, noise.random((2, *t.shape[1:])).astype(np.float32)], 0))

    share = np.concatenate([SHARE, np.zeros(2, np.float32)])
    np.testing.assert_allclose(kind(padded(T, 4), padded(S, 5), share), kind(T, S, SHARE), rtol=1e-5)


def cut(outputs_):
    """The first three positions alone, with attention shared out among them."""
    maps = [a[:, :, :3, :3] / tf.reduce_sum(a[:, :, :3, :3], -1, keepdims=True) for a in outputs_.attention]
    hidden = [outputs_.hidden[0], outputs_.hidden[1][:, :3]]
    return Outputs(outputs_.logits, hidden, maps, [v[:, :, :3] for v in outputs_.values])


MASK = tf.constant(np.tile([1.0, 1.0, 1.0, 0.0, 0.0], (N, 1)), tf.float32)


@kinds
def test_padded_positions_may_hold_anything(kind):
    masked = [outputs_._replace(mask=MASK) for outputs_ in (T, S)]
    np.testing.assert_allclose(kind(*masked, SHARE), kind(cut(T), cut(S), SHARE), rtol=1e-4)


@pytest.mark.parametrize("kind", [attention_transfer, attention_relation, value_relation])
def test_one_models_mask_is_enough_where_positions_are_compared(kind):
    expected = kind(cut(T), cut(S), SHARE)
    np.testing.assert_allclose(kind(T._replace(mask=MASK), S, SHARE), expected, rtol=1e-4)
    np.testing.assert_allclose(kind(T, S._replace(mask=MASK), SHARE), expected, rtol=1e-4)


@kinds
@pytest.mark.parametrize("mask", [1.0, 0.0], ids=["all real", "all padding"])
@pytest.mark.parametrize(
    "alike",
    [lambda t: tf.concat([t[:1], t[:-1]], 0), lambda t: tf.repeat(t[:1], N, 0), tf.zeros_like],
    ids=["two examples alike", "all alike", "all zero"],
)
def test_gradients_are_finite_where_examples_are_equal(kind, alike, mask):
    target, model = (outputs_.map(alike)._replace(mask=tf.fill((N, STEPS), mask)) for outputs_ in (T, S))
    with tf.GradientTape() as tape:
        tape.watch([target, model])
        value = kind(target, model, SHARE)
    slopes = tf.nest.flatten(tape.gradient(value, [target, model], unconnected_gradients="zero"))
    assert np.isfinite(value.numpy())
    assert all(np.isfinite(slope.numpy()).all() for slope in slopes)


@pytest.mark.parametrize("n", [1, 2])
def test_too_few_examples_have_no_relations(n):
    share = np.where(np.arange(N) < n, 1 / n, 0).astype(np.float32)
    assert angle(T, S, share).numpy() == 0.0
    assert distance(T, S, share).numpy() == 0.0  # two examples have one distance, which is its own mean


KNOWN = [(outputs_.hidden, outputs_.attention, outputs_.values) for outputs_ in (T, S)]


@pytest.mark.parametrize("key", KINDS)
@pytest.mark.parametrize("undetached", [False, True])
def test_each_model_learns_from_the_other_as_a_constant_unless_undetached(key, undetached):
    config = LossConfig(mutual=False, hidden=False, undetached=undetached, **{key: 1.0})
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(KNOWN)
        totals = mutual_losses(T, S, [], LABELS, SHARE, config, CLASSES)
    for own, total in enumerate(totals):
        reached = [any(g is not None for g in tf.nest.flatten(tape.gradient(total, part))) for part in KNOWN]
        assert reached[own]
        assert reached[1 - own] == undetached


@pytest.mark.parametrize("key", KINDS)
def test_a_kind_adds_its_weight_over_the_confidence_to_both_totals(key):
    plain = mutual_losses(T, S, [], LABELS, SHARE, LossConfig(hidden=False), CLASSES)
    config = LossConfig(hidden=False, **{key: 7.0})
    totals = mutual_losses(T, S, [], LABELS, SHARE, config, CLASSES)
    d = confidence(*(cross_entropy(o.logits, LABELS, SHARE) for o in (T, S)), config)
    np.testing.assert_allclose(totals.teacher - plain.teacher, 7 * KINDS[key](S, T, SHARE) / d, rtol=1e-4)
    np.testing.assert_allclose(totals.student - plain.student, 7 * KINDS[key](T, S, SHARE) / d, rtol=1e-4)


IMAGES = [split_outputs(build((8, 8, 1), 3).output) for build in (cnn.teacher, cnn.student)]
WINDOWS = [split_outputs(build((32, 4), 3).output) for build in (temporal.teacher, temporal.student)]
WORDS = [split_outputs(build(7, 20, 3, 8).output) for build in (transformer.teacher, transformer.student)]
LONGER = split_outputs(transformer.student(9, 20, 3, 8).output)
DENSE = Outputs(keras.KerasTensor((None, 3)), [keras.KerasTensor((None, 4))])


@pytest.mark.parametrize(
    "key, models, lack",
    [
        ("attention_relation", IMAGES, "the teacher returns no attention maps (key 'attention' of its output)"),
        ("value_relation", WINDOWS, "the teacher returns no value vectors (key 'values' of its output)"),
        ("value_relation", [WORDS[0], WORDS[1]._replace(values=())], "the student returns no value vectors"),
        ("attention_relation", [WORDS[0], LONGER], "the last attention maps must have the same steps, got 7 and 9"),
        ("value_relation", [WORDS[0], LONGER], "the last value vectors must have the same steps, got 7 and 9"),
        ("attention_transfer", [WORDS[0], LONGER], "must differ in features only, got (7, 8) and (9, 8)"),
        ("attention_transfer", [IMAGES[0], DENSE], "must differ in features only, got (2, 2, 96) and (4,)"),
        ("attention_transfer", [DENSE, DENSE], "their hidden states have no positions"),
        ("attention_transfer", [IMAGES[0], Outputs(DENSE.logits)], "the student returns no hidden states"),
        ("distance", [Outputs(DENSE.logits), DENSE], "the teacher returns no hidden states"),
        ("angle", [DENSE, Outputs(DENSE.logits)], "the student returns no hidden states"),
    ],
)
def test_knowledge_that_the_models_lack_is_refused_by_its_key(key, models, lack):
    with pytest.raises(InputError) as caught:
        check_knowledge(*models, LossConfig(**{key: 2.0}))
    assert str(caught.value).startswith(f"loss.{key} must be 0 for these models, got 2: ")
    assert lack in str(caught.value)
    check_knowledge(*models, LossConfig())


def test_models_give_each_other_all_that_they_have():
    spatial = {key: ALL[key] for key in ("attention_transfer", "distance", "angle")}
    check_knowledge(*IMAGES, LossConfig(**spatial))
    check_knowledge(*WINDOWS, LossConfig(**spatial))
    check_knowledge(*WORDS, LossConfig(**ALL))
    check_knowledge(DENSE, DENSE, LossConfig(distance=25.0, angle=50.0))


def test_training_refuses_knowledge_that_its_models_lack():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(3)(inputs))
    with pytest.raises(InputError, match=r"loss\.distance must be 0 for these models"):
        KerasTrainer({"teacher": model, "student": model}, TrainConfig(), LossConfig(distance=25.0), CLASSES, 0)


@pytest.mark.slow
def test_training_with_all_kinds_is_finite_and_repeats_to_the_bit():
    """On texts of all lengths, empty ones among them, the last batch of three examples padded to eight."""
    models = {
        "teacher": build_model(lambda: transformer.teacher(7, 20, 3, 8), 1),
        "student": build_model(lambda: transformer.student(7, 20, 3, 4), 2),
    }
    trainer = KerasTrainer(models, TrainConfig(epochs=2, batch_size=8), LossConfig(**ALL), CLASSES, 0)
    rng = np.random.default_rng(0)
    x = np.where(np.arange(7) < rng.integers(0, 8, (19, 1)), rng.integers(1, 20, (19, 7)), 0).astype(np.int32)
    assert (x == 0).all(1).any()
    data = Dataset(x, rng.integers(0, 3, 19).astype(np.int32))
    (state, losses), (again, _) = (trainer.fit(trainer.initial_state(), data, np.random.default_rng(1)) for _ in "ab")
    assert np.isfinite(list(losses.values())).all()
    assert all(np.isfinite(array).all() for group in state.values() for array in group)
    assert all(np.array_equal(a, b) for group in state for a, b in zip(state[group], again[group], strict=True))
