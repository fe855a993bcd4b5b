"""Laws of rankings: by hand, by scikit-learn, and by the definition of MIND's evaluation."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import log_softmax, softmax
from sklearn.metrics import ndcg_score, roc_auc_score

from fedkd.base.errors import InputError, NotFiniteError
from fedkd.objectives.losses import clicks_cross_entropy
from fedkd.objectives.objective import Objective, quality
from fedkd.objectives.ranked import RankedLists
from fedkd.objectives.ranking import Ranking
from fedkd.objectives.record import of_record, to_record

FIVE = Ranking.of(5)


def impressions(rng, count=40, levels=1000):
    """Scores and clicks of impressions of 3 to 30 candidates; few levels make ties."""
    found = []
    for _ in range(count):
        size = int(rng.integers(3, 31))
        clicks = np.zeros(size, int)
        clicks[rng.permutation(size)[: rng.integers(1, min(size - 1, 14) + 1)]] = 1
        found.append((rng.integers(0, levels, size) / levels, clicks))
    return found


def rows(found, width=5):
    """The same as outputs and targets of rows, in which impressions are cut and mixed up."""
    outputs, y = [], []
    for number, (scores, clicks) in enumerate(found):
        for start in range(0, len(scores), width):
            part, marks = scores[start : start + width], clicks[start : start + width]
            missing = width - len(part)
            outputs.append([*part, *[99.0] * missing])
            y.append([number, *marks, *[-1] * missing])
    order = np.random.default_rng(5).permutation(len(y))
    return np.array(outputs, np.float32)[order], np.array(y, np.int32)[order]


def by_definition(scores, clicks, worth):
    """Sum of what the clicked candidates' places are worth, over the sum in the best order; no ties."""
    places = np.empty(len(scores), int)
    places[np.argsort(-scores)] = np.arange(len(scores))
    best = worth(np.arange(clicks.sum())).sum()
    return worth(places[clicks == 1]).sum() / best


def test_a_list_by_hand():
    """In the order of scores: a click, none, a click, none. Of 4 pairs 3 are right."""
    lists = RankedLists(np.zeros(4, int), np.array([0.1, 0.9, 0.3, 0.5]), np.array([0, 1, 1, 0]))
    assert lists.auc().tolist() == [0.75]
    assert lists.mrr().tolist() == pytest.approx([(1 + 1 / 3) / 2])
    assert lists.ndcg(5).tolist() == pytest.approx([(1 + 1 / 2) / (1 + 1 / np.log2(3))])
    assert lists.ndcg(2).tolist() == pytest.approx([1 / (1 + 1 / np.log2(3))])


@pytest.mark.parametrize("levels", [10**6, 4])
def test_ndcg_and_auc_are_scikit_learns_with_ties_and_without(levels):
    found = impressions(np.random.default_rng(0), levels=levels)
    figures = quality(FIVE, *rows(found))
    assert list(figures) == ["auc", "mrr", "ndcg5", "ndcg10"]
    for k in (5, 10):
        expected = [ndcg_score(clicks[None], scores.astype(np.float32)[None], k=k) for scores, clicks in found]
        assert figures[f"ndcg{k}"] == pytest.approx(np.mean(expected))
    expected = [roc_auc_score(clicks, scores.astype(np.float32)) for scores, clicks in found]
    assert figures["auc"] == pytest.approx(np.mean(expected))
    low, high = FIVE.metrics[0].interval(*rows(found))
    assert low < figures["auc"] < high


def test_mrr_is_the_mean_over_clicks_of_one_by_place():
    found = impressions(np.random.default_rng(1), levels=10**6)
    sums = [by_definition(s, c, lambda places: 1 / (places + 1.0)) for s, c in found]
    best = [np.sum(1 / np.arange(1.0, c.sum() + 1)) / c.sum() for _, c in found]
    assert quality(FIVE, *rows(found))["mrr"] == pytest.approx(np.mean(np.multiply(sums, best)))


def test_equal_scores_share_their_places():
    """One click among three alike: the mean over its three places."""
    lists = RankedLists(np.zeros(3, int), np.zeros(3), np.array([0, 0, 1]))
    assert (lists.auc()[0], lists.mrr()[0]) == pytest.approx((0.5, (1 + 1 / 2 + 1 / 3) / 3))
    assert FIVE.baseline(rows(impressions(np.random.default_rng(2)))[1]) == pytest.approx(0.5)


def test_loss_is_the_cross_entropy_of_the_candidates_that_are_there():
    scores = np.random.default_rng(3).normal(size=(3, 4)).astype(np.float32)
    clicks = np.array([[0, 1, 0, 0], [1, -1, 0, 1], [0, 0, -1, -1]], np.int32)
    share = np.array([0.5, 0.3, 0.2], np.float32)
    second = log_softmax(scores[1, [0, 2, 3]])
    expected = -0.5 * log_softmax(scores[0])[1] - 0.3 * (second[0] + second[2]) / 2
    assert float(clicks_cross_entropy(tf.constant(scores), clicks, share)) == pytest.approx(expected, rel=1e-6)
    target = np.concatenate([np.arange(3, dtype=np.int32)[:, None], clicks], 1)
    assert float(Ranking.of(4).loss(tf.constant(scores), target, share)) == pytest.approx(expected, rel=1e-6)
    other = scores[::-1].copy()
    p, q = softmax(scores, 1), log_softmax(other, 1)
    expected = (share * (p * (np.log(p) - q)).sum(1)).sum()
    found = Ranking.of(4).divergence(tf.constant(scores), tf.constant(other), share, 1.0)
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_it_is_an_objective_that_a_table_can_stand_for():
    assert isinstance(FIVE, Objective)
    assert of_record(to_record(FIVE)) == FIVE
    assert FIVE.links == {5: "softmax"}
    outputs = np.array([[0, 2, 1, 0, 0], [1, 0, 0, 0, 0]], np.float32)
    assert FIVE.answers(outputs).tolist() == [1, 0]
    assert FIVE.agreement(outputs, outputs[::-1]) == 0.0
    with pytest.raises(NotFiniteError):
        quality(FIVE, np.full((1, 5), np.nan, np.float32), np.array([[0, 1, 0, 0, 0, 0]]))


@pytest.mark.parametrize(
    "y, words",
    [
        (np.zeros((2, 5), np.int32), "y must be whole numbers of shape (n, 6), impression and clicks, got int32 of"),
        (np.zeros((2, 6)), "y must be whole numbers of shape (n, 6), impression and clicks, got float64"),
        (np.array([[0, 1, 0, 2, 0, 0]]), "y must say 1, 0 or -1 (none there) of each candidate, got 2"),
        (np.array([[0, 1, 0, 0, 0, 0], [7, 0, 0, 0, 0, 0]]), "y: impression 7 has no click; leave such ones out"),
        (np.array([[3, 1, 1, 1, -1, -1]]), "y: impression 3 has no candidate that wasn't clicked"),
    ],
)
def test_other_targets_are_refused_in_one_line(y, words):
    with pytest.raises(InputError) as caught:
        FIVE.check_target("y", y)
    assert words in str(caught.value)
