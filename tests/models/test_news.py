"""Laws of models that rank news, by numpy and by what they must not depend on."""

import keras
import numpy as np
import pytest
from scipy.special import softmax

from fedkd.base.errors import InputError
from fedkd.compress.cost import cost
from fedkd.config.sections import LossConfig
from fedkd.distill.checks import check_knowledge
from fedkd.models.inspect import build_model, head, logits_model, split_outputs
from fedkd.models.logits import with_logits
from fedkd.models.news import ClickScores, student, teacher

HISTORY, CANDIDATES, STEPS, WORDS = 3, 4, 5, 30


@pytest.fixture(scope="module")
def model():
    return build_model(lambda: student(HISTORY, CANDIDATES, STEPS, WORDS, width=8), 0)


def rows(n=6, seed=0):
    x = np.random.default_rng(seed).integers(2, WORDS, (n, HISTORY + CANDIDATES, STEPS)).astype(np.int32)
    x[:, :, 4] = 0
    x[1, 1:HISTORY] = 0  # has clicked one title
    x[2, :HISTORY] = 0  # and this one none
    return x


def scores(model, x):
    return np.asarray(model(x.reshape(len(x), -1), training=False)["logits"])


def test_scores_are_products_with_what_attention_picks_of_the_clicks():
    layer, rng = ClickScores(), np.random.default_rng(1)
    clicked, candidates = (rng.normal(size=(2, n, 6)).astype(np.float32) for n in (HISTORY, CANDIDATES))
    real = np.array([[1, 1, 0], [0, 0, 0]], np.float32)
    found = np.asarray(layer(clicked, candidates, real))
    kernel, bias, query = (np.asarray(w) for w in layer.weights)
    energies = np.tanh(clicked[0, :2] @ kernel + bias) @ query
    user = softmax(energies) @ clicked[0, :2]
    np.testing.assert_allclose(found[0], candidates[0] @ user / np.sqrt(6), atol=1e-5)
    np.testing.assert_array_equal(found[1], 0)


def test_a_candidates_score_hangs_on_itself_and_on_the_clicks_alone(model):
    x = rows()
    found = scores(model, x)
    other = x.copy()
    other[:, HISTORY + 1 :] = rows(seed=3)[:, HISTORY + 1 :]
    np.testing.assert_allclose(scores(model, other)[:, 0], found[:, 0], atol=1e-5)
    turned = x[:, [0, 1, 2, 6, 5, 4, 3]]
    np.testing.assert_allclose(scores(model, turned), found[:, ::-1], atol=1e-5)
    assert np.abs(scores(model, x[[0, 0]])[0] - found[0]).max() < 1e-5
    assert np.abs(found[2]).max() == 0  # nothing clicked, nothing known
    moved = x.copy()
    moved[0, 0] = x[3, 0]
    assert np.abs(scores(model, moved)[0] - found[0]).max() > 1e-4


def test_padding_of_the_history_counts_for_nothing(model):
    x = rows()
    wide = build_model(lambda: student(HISTORY + 2, CANDIDATES, STEPS, WORDS, width=8), 0)
    wide.set_weights(model.get_weights())
    longer = np.concatenate([x[:, :HISTORY], np.zeros((6, 2, STEPS), np.int32), x[:, HISTORY:]], 1)
    np.testing.assert_allclose(scores(wide, longer), scores(model, x), atol=1e-5)


def test_what_models_compare_is_of_all_titles_words(model):
    outputs = split_outputs(model.output)
    words = (HISTORY + CANDIDATES) * STEPS
    assert [tuple(state.shape) for state in outputs.hidden] == [(None, words, 8)] * 2
    assert [tuple(maps.shape) for maps in outputs.attention] == [(None, 2, words, STEPS)] * 2
    assert tuple(outputs.mask.shape) == (None, words)
    x = rows()
    found = model(x.reshape(6, -1))
    np.testing.assert_array_equal(np.asarray(found["mask"]), x.reshape(6, -1) != 0)
    there = np.repeat(x.any(2), STEPS, axis=1)[:, None]  # words of absent titles attend to nothing
    np.testing.assert_allclose(np.asarray(found["attention"][0]).sum(-1), np.repeat(there, 2, 1), atol=1e-5)
    assert isinstance(head(model), ClickScores)
    assert with_logits(model, {CANDIDATES: "softmax"}) is model


def test_multiplications_are_those_of_all_titles(model):
    """Two layers of 8 x 16 and 16 x 8 a word, and one of 8 x 8 a title; attention isn't counted, and said so."""
    found, titles = cost(model), HISTORY + CANDIDATES
    assert found.macs == titles * STEPS * 2 * 2 * 8 * 16 + titles * 8 * 8
    assert {"layer0_attention", "clicks_attention", "scores"} <= set(found.uncounted)


def test_relations_within_one_text_are_refused_for_many(model):
    other = split_outputs(teacher(HISTORY, CANDIDATES, STEPS, WORDS, width=8).output)
    with pytest.raises(InputError, match=r"loss.attention_relation must be 0 .*of several texts"):
        check_knowledge(other, split_outputs(model.output), LossConfig(attention_relation=1.0))
    with pytest.raises(InputError, match=r"loss.value_relation must be 0 .*returns no value vectors"):
        check_knowledge(other, split_outputs(model.output), LossConfig(value_relation=1.0))


def test_a_saved_copy_gives_the_same_scores(model, tmp_path):
    logits_model(model).save(tmp_path / "news.keras")
    again = keras.saving.load_model(tmp_path / "news.keras")
    x = rows().reshape(6, -1)
    np.testing.assert_allclose(np.asarray(again(x)), np.asarray(model(x)["logits"]), atol=1e-6)
