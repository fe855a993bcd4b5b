"""Laws of pretraining: what is asked, and that asking teaches something."""

import keras
import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fedkd.base.errors import InputError
from fedkd.config.sections import TrainConfig
from fedkd.distill.pretext import Imitation, MaskedPatches, MaskedWords, Rotation, pretext_of
from fedkd.distill.pretrain import distil, measure, pretrain
from fedkd.models import cnn, temporal, transformer
from fedkd.models.inspect import build_model, get_weights, head_and_input, split_outputs
from tests import tiny

TRAIN = TrainConfig(batch_size=32, teacher_lr=3e-3)
TOPICS, WORDS, STEPS = 4, 20, 8


def rng(seed=0):
    return np.random.default_rng(seed)


def text_model(seed=0):
    return build_model(lambda: transformer.student(STEPS, 2 + TOPICS * WORDS, TOPICS, 16), seed)


def texts(count, seed):
    """Each text has words of one topic, its class; no two topics share a word."""
    draw = rng(seed)
    y = draw.integers(TOPICS, size=count)
    return (2 + y[:, None] * WORDS + draw.integers(WORDS, size=(count, STEPS))).astype(np.int32), y


def test_turned_images_turn_back():
    x = rng().random((40, 6, 6, 1)).astype(np.float32)
    turned, turns, _ = Rotation(tiny.network(4), x, 0).ask(x, rng())
    assert set(turns) == {0, 1, 2, 3}
    for image, original, turn in zip(turned, x, turns, strict=True):
        assert np.array_equal(np.rot90(image, -turn), original)


def test_images_that_are_not_square_make_half_turns():
    x = rng().random((20, 6, 4, 1)).astype(np.float32)
    turned, turns, _ = Rotation(cnn.teacher((6, 4, 1), 3, 2, 4), x, 0).ask(x, rng())
    assert set(turns) == {0, 1}
    assert np.array_equal(turned[turns == 1], x[turns == 1][:, ::-1, ::-1])


def test_known_words_alone_are_hidden_behind_the_unknown_one():
    """15 % of 8 000 words: 1 200, give or take five standard deviations of 32."""
    x = np.tile(np.array([0, 1, *range(2, 10)], np.int32), (1000, 1))[:, : STEPS + 2]
    model = transformer.student(STEPS + 2, 10, 2, 4)
    inputs, answer, counts = MaskedWords(model, x, 0).ask(x, rng())
    assert np.array_equal(inputs, np.where(counts > 0, 1, x))
    assert np.array_equal(answer, x)
    assert not counts[:, :2].any()
    assert abs(counts.sum() - 1200) < 160


def test_half_of_a_window_is_masked_in_whole_stretches():
    """32 steps are eight stretches of four; each channel's mean stands where four of them were."""
    x = rng().normal(3, 2, (30, 32, 2)).astype(np.float32)
    inputs, _, counts = MaskedPatches(temporal.teacher((32, 2), 3, 4), x, 0).ask(x, rng())
    stretches = counts.reshape(30, 8, 4)
    assert np.array_equal(stretches.min(2), stretches.max(2))
    assert np.array_equal(counts.sum(1), np.full(30, 16))
    assert np.array_equal(inputs[counts == 0], x[counts == 0])
    assert np.allclose(inputs[counts == 1], x.mean((0, 1)), atol=1e-5)


def test_answering_with_the_mean_has_a_loss_of_one():
    """A head of zeros answers with the mean; masking is by chance, so the variance of what is masked is nearly 1."""
    x = rng().normal((3, -40), (2, 0.1), (400, 32, 2)).astype(np.float32)
    pretext = MaskedPatches(temporal.teacher((32, 2), 3, 4), x, 0)
    pretext.head.build(pretext.body.output.shape)
    pretext.head.set_weights([np.zeros(w.shape) for w in pretext.head.weights])
    assert measure(pretext, x, rng()) == pytest.approx(1, abs=0.02)


@pytest.mark.slow
def test_pretrained_features_tell_classes_apart_by_fewer_labels():
    """16 texts show few of the 80 words, but texts without labels show which words belong together."""
    few, test, model = texts(16, 1), texts(400, 2), text_model()
    features = keras.Model(model.inputs[0], head_and_input(model)[1])

    def probe():
        fitted = make_pipeline(StandardScaler(), LogisticRegression()).fit(np.array(features(few[0])), few[1])
        return fitted.score(np.array(features(test[0])), test[1])

    random = probe()
    outcome = pretrain(model, texts(640, 0)[0], TRAIN, 4, rng())
    assert outcome.after < 0.8 * outcome.before
    assert random < 0.7
    assert probe() > 0.95


def test_each_question_is_learnt_the_same_twice():
    windows = np.sin(np.arange(32) * rng().uniform(0.2, 1, (200, 1)))[..., None].astype(np.float32)
    for x, build in (
        (windows, lambda: temporal.teacher((32, 1), 3, 8)),
        (load_digits().images[:300, ..., None].astype(np.float32) / 16, lambda: cnn.student((8, 8, 1), 3, 8)),
    ):
        models = [build_model(build, 1) for _ in range(2)]
        first, second = (pretrain(model, x, TRAIN, 4, rng(7)) for model in models)
        assert first == second
        assert first.after < 0.9 * first.before
        for a, b in zip(*map(get_weights, models), strict=True):
            assert np.array_equal(a, b)


def test_the_head_is_not_trained():
    model = build_model(lambda: tiny.network(4), 1)
    before = get_weights(model)
    pretrain(model, tiny.examples(40, 0).x, TRAIN, 1, rng())
    after = get_weights(model)
    assert all(np.array_equal(a, b) for a, b in zip(before[-2:], after[-2:], strict=True))
    assert not np.array_equal(before[0], after[0])


@pytest.mark.slow
def test_a_student_is_distilled_into_the_teachers_hidden_states_the_same_twice():
    teacher, x = build_model(lambda: transformer.teacher(STEPS, 2 + TOPICS * WORDS, TOPICS, 24), 3), texts(300, 0)[0]
    held = get_weights(teacher)
    students = [text_model(1) for _ in range(2)]
    train = TrainConfig(batch_size=32, student_lr=3e-3)
    first, second = (distil(student, teacher, x, train, 6, rng(7)) for student in students)
    assert first == second
    assert first.examples == 300
    assert first.after < 0.5 * first.before
    weights = [get_weights(student) for student in students]
    assert all(np.array_equal(a, b) for a, b in zip(*weights, strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(held, get_weights(teacher), strict=True))
    head = get_weights(text_model(1))[-2:]
    assert all(np.array_equal(a, b) for a, b in zip(head, weights[0][-2:], strict=True))


def test_a_model_imitates_itself_from_the_start_and_its_loss_is_that_of_the_hidden_states_by_hand():
    x, model, other = texts(20, 0)[0], text_model(1), text_model(2)
    share = np.ones(len(x), np.float32)
    own, theirs = (split_outputs(each(x)) for each in (model, other))
    by_hand = sum(np.square(np.asarray(a) - b).mean() for a, b in zip(own.hidden, theirs.hidden, strict=True))
    by_hand += sum(np.square(np.asarray(a) - b).mean() for a, b in zip(own.attention, theirs.attention, strict=True))
    assert float(Imitation(model, model).loss(model(x), x, share)) == 0
    assert float(Imitation(model, other).loss(model(x), x, share)) == pytest.approx(by_hand, rel=1e-5)


def test_models_without_hidden_states_teach_no_student():
    bare = build_model(lambda: keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]), 0)
    with pytest.raises(InputError, match="can't be distilled without hidden states"):
        Imitation(text_model(), bare)


@pytest.mark.parametrize(
    "x, words",
    [
        (np.zeros((3, 13), np.float32), r"pretraining takes images .* got float32 of shape \(3, 13\)"),
        (np.zeros((3, 9), np.int32), r"needs a last hidden state \(n, 9, features\)"),
    ],
)
def test_examples_that_no_question_suits_are_refused(x, words):
    with pytest.raises(InputError, match=words):
        pretext_of(tiny.network(4), x, 0)
