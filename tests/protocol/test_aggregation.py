"""Laws of the averages: by hand, and with liars among the clients."""

import numpy as np
import pytest

from fedkd.base.tensors import TensorSpec, digest, weighted_mean
from fedkd.config.sections import GuardConfig
from fedkd.exchange.blob import Header
from fedkd.exchange.codec import decode, encode
from fedkd.exchange.coding import Coding
from fedkd.exchange.compressors import Svd
from fedkd.protocol.aggregation import RULES, aggregate, cut_off

SPEC = (TensorSpec("conv", (3, 3, 8, 16), 3), TensorSpec("bias", (16,), 0), TensorSpec("dense", (64, 10), 1))
CLIENTS, LIARS = 10, 2
SETTINGS = {
    "mean": GuardConfig(),
    "trimmed_mean": GuardConfig("trimmed_mean", trim=0.2),
    "median": GuardConfig("median"),
    "krum": GuardConfig("krum", byzantine=2),
}


def of(*rows):
    return [[np.array(row, np.float32)] for row in rows]


@pytest.mark.parametrize(
    "settings, expected",
    [
        (GuardConfig(), [2.4, 24.0]),  # (1·0 + 1·1 + 1·2 + 1·3 + 1·6) / 5, and ten times that
        (GuardConfig("trimmed_mean", trim=0.2), [2.0, 20.0]),  # (1 + 2 + 3) / 3
        (GuardConfig("trimmed_mean", trim=0.1), [2.4, 24.0]),  # a tenth of 5 is nobody
        (GuardConfig("trimmed_mean", trim=0.4), [2.0, 20.0]),  # 2
        (GuardConfig("median"), [2.0, 20.0]),
        (GuardConfig("krum", byzantine=1), [1.0, 10.0]),  # 1's two nearest are 0 and 2, as near as 1 and 3 are to 2
    ],
)
def test_rules_by_hand(settings, expected):
    updates = of([0, 0], [1, 10], [2, 20], [3, 30], [6, 60])
    [array] = aggregate(updates, [1.0] * 5, settings)
    assert array.dtype == np.float32
    np.testing.assert_allclose(array, expected, rtol=1e-6)


def test_median_of_an_even_number_is_the_mean_of_the_middle_two():
    [array] = aggregate(of([0.0], [1.0], [4.0], [9.0]), [1.0] * 4, GuardConfig("median"))
    np.testing.assert_array_equal(array, np.float32([2.5]))


@pytest.mark.parametrize("rule", ["trimmed_mean", "median", "krum"])
def test_robust_rules_count_every_client_alike_whatever_it_claims(rule):
    updates = of([0, 1], [1, 1], [2, 1], [3, 1], [4, 1], [5, 1], [6, 1])
    once, claims = (aggregate(updates, w, SETTINGS[rule]) for w in ([1.0] * 7, [1.0] * 6 + [1e6]))
    assert digest(once) == digest(claims)


def test_a_robust_rule_returns_what_all_say_where_all_say_the_same():
    for settings in SETTINGS.values():
        np.testing.assert_array_equal(
            aggregate(of(*[[0.1, -3.5]] * 7), [1.0] * 7, settings)[0], np.float32([0.1, -3.5])
        )


def test_krum_with_fewer_updates_than_it_needs_is_refused():
    with pytest.raises(ValueError, match="needs 7 updates, got 6"):
        aggregate(of(*[[float(i)] for i in range(6)]), [1.0] * 6, SETTINGS["krum"])


def test_no_product_that_rounds_down_loses_a_client_to_cut_off():
    for hundredth in range(50):
        assert cut_off(100, hundredth / 100) == hundredth


def test_infinite_distance_is_no_reason_to_stop():
    far = of(*[[3e38, -3e38]] * 2, *[[0.1 * i, 1.0] for i in range(5)])
    [array] = aggregate(far, [1.0] * 7, SETTINGS["krum"])
    assert np.abs(array).max() <= 1


def honest(seed):
    """What ten clients that agree in part send: a common direction of low rank, and noise of each; as decoded."""
    rng = np.random.default_rng(seed)
    common = [rng.normal(size=(s.matrix[0], 2)) @ rng.normal(size=(2, s.matrix[1])) for s in SPEC]
    updates = []
    for _ in range(CLIENTS):
        own = [0.01 * (c + 0.5 * rng.normal(size=c.shape)) for c in common]
        tensors = [a.astype(np.float32).reshape(s.shape) for a, s in zip(own, SPEC, strict=True)]
        blob = encode(tensors, SPEC, Header(1, "ab" * 8, "fedkd"), Coding(Svd(0.95)))
        updates.append(decode(blob, SPEC).tensors)
    return updates


def flipped(update, rng):
    return [-10 * a for a in update]


def random(update, rng):
    return [rng.normal(0, 1, a.shape).astype(np.float32) for a in update]


def cosine(a, b):
    a, b = (np.concatenate([x.ravel().astype(float) for x in each]) for each in (a, b))
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def cosines(attack, seed):
    """Cosine of each rule's update to the mean of the honest eight, where two of ten attack."""
    updates, rng = honest(seed), np.random.default_rng(seed)
    target = weighted_mean(updates[LIARS:], [1.0] * (CLIENTS - LIARS))
    attacked = [attack(u, rng) for u in updates[:LIARS]] + updates[LIARS:]
    return {rule: cosine(aggregate(attacked, [1.0] * CLIENTS, s), target) for rule, s in SETTINGS.items()}


@pytest.mark.parametrize("attack", [flipped, random])
@pytest.mark.parametrize("seed", range(5))
def test_two_liars_of_ten_move_the_mean_and_no_robust_rule(attack, seed, reached):
    found = cosines(attack, seed)
    for rule, cosine in found.items():
        reached(f"2 liars of 10, cosine to the honest mean, {rule}", float(cosine))
    assert set(found) == set(RULES)
    assert found["mean"] < 0.5
    assert all(found[rule] >= 0.9 for rule in ("trimmed_mean", "median", "krum")), found
