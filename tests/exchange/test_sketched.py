"""Laws of count sketches, and FetchSGD as algorithm 1 of its paper says, in plain numpy."""

import numpy as np
import pytest

from fedkd.base.errors import InputError
from fedkd.base.tensors import TensorSpec
from fedkd.config.exchange import ExchangeConfig
from fedkd.config.settings import build
from fedkd.exchange.blob import Header
from fedkd.exchange.chain import chain_of
from fedkd.exchange.codec import decode
from fedkd.exchange.coding import Coding
from fedkd.exchange.compressors import NonZero
from fedkd.exchange.count_sketch import CountSketch
from fedkd.exchange.sketched import Sketching
from fedkd.exchange.transforms import Context

SPEC = (
    TensorSpec("kernel", (20, 10), 1),
    TensorSpec("mean", (10,), 0, kernel=False, statistic=True),
    TensorSpec("bias", (10,), 0, kernel=False),
)
PLACES = [*range(200), *range(210, 220)]  # of weights in all numbers of a model
HEADER = Header(1, "ab" * 8, "any")
CODING = Coding(NonZero())
SKETCHED = {"up": "sketch", "down": "sketch"}


def sketch(rows, columns, seed=0):
    return CountSketch(np.random.default_rng(seed).integers(2**63, size=rows, dtype=np.uint64), columns)


def vector(length, seed=0):
    return np.random.default_rng(seed).normal(size=length).astype(np.float32)


def test_a_sketch_is_a_matrix_of_one_sign_a_row_for_each_entry():
    """Across blocks, too: the last entries are of the second one."""
    how, length = sketch(3, 7), 2**15 + 40
    units = [0, 1, 2**15 - 1, 2**15, length - 1]
    tables = [how.table(np.eye(1, length, place)[0]) for place in units]
    for table in tables:
        assert np.count_nonzero(table, axis=1).tolist() == [1, 1, 1]
        np.testing.assert_allclose(np.abs(table[table != 0]), 3**-0.5, rtol=1e-6)
    numbers = np.zeros(length, np.float32)
    numbers[units] = vector(5)
    expected = np.tensordot(vector(5), np.stack(tables), axes=1)
    np.testing.assert_allclose(how.table(numbers), expected, atol=1e-6)


def test_sketches_are_linear_and_hashes_of_rows_and_seeds_differ():
    how, a, b = sketch(5, 40), vector(300, 1), vector(300, 2)
    np.testing.assert_allclose(how.table(a) + 3 * how.table(b), how.table(a + 3 * b), atol=1e-5)
    rows = how.table(a)
    assert len({row.tobytes() for row in (*rows, *sketch(5, 40, seed=1).table(a))}) == 10


def test_a_row_s_estimates_and_the_norm_are_unbiased():
    """Over 4000 hashes, within 5 standard errors: a row's estimate has the variance of all other entries / columns."""
    numbers, count, columns = vector(30), 4000, 8
    estimates, norms = [], []
    for seed in range(count):
        how = sketch(1, columns, seed)
        estimates.append(how.estimates(how.table(numbers), 30))
        norms.append(np.sum(how.table(numbers).astype(np.float64) ** 2))
    error = np.linalg.norm(numbers) / np.sqrt(columns * count)
    np.testing.assert_allclose(np.mean(estimates, 0), numbers, atol=5 * error)
    assert np.std(estimates, 0).min() > 0.5 * error * np.sqrt(count)  # and no estimate is the entry itself
    assert np.mean(norms) == pytest.approx(np.sum(numbers**2), rel=0.05)


def test_large_entries_are_found_among_many_small_ones():
    numbers = 0.01 * vector(20_000)
    large = [3, 500, 7777, 19_999]
    numbers[large] = [5, -4, 3, -6]
    how = sketch(5, 500)
    found = how.estimates(how.table(numbers), len(numbers))
    assert sorted(np.argsort(-np.abs(found))[:4]) == large
    np.testing.assert_allclose(found[large], numbers[large], atol=0.3)


def chains(seed=3, **settings):
    exchange = ExchangeConfig(**SKETCHED, **settings)
    return chain_of(exchange, seed), chain_of(exchange, seed, "down")


def updates(count, seed=0):
    rng = np.random.default_rng(seed)
    return [[rng.normal(size=s.shape).astype(np.float32) for s in SPEC] for _ in range(count)]


def context(kept=None):
    return Context(SPEC, kept, np.random.default_rng(0))


def flat(tensors):
    return np.concatenate([tensor.ravel() for tensor in tensors])[PLACES].astype(np.float64)


def matrix_of(chain):
    """What a client's chain does to each weight: the sketch as a matrix."""
    columns = []
    for place in PLACES:
        unit = np.eye(1, 220, place, dtype=np.float32)[0]
        tensors = [unit[:200].reshape(20, 10), unit[200:210], unit[210:]]
        columns.append(chain.send(tensors, {}, context(), HEADER, CODING)[0].update[0].ravel())
    return np.stack(columns, 1).astype(np.float64)


def median_estimates(matrix, table, rows):
    """Of each weight: in each row of the table the one number it went into, with its sign."""
    parts = matrix.reshape(rows, -1, matrix.shape[1])
    return np.median(np.einsum("rcn,rc->rn", parts, table.reshape(rows, -1)), 0) * rows


def test_rounds_of_fetchsgd_are_what_the_algorithm_says():
    up, down = chains(sketch_size=0.5, sketch_rows=3, density=0.05, momentum=0.9)
    matrix, states = matrix_of(up), down.initial(SPEC)
    velocity = error = np.zeros(len(matrix))
    for round_ in range(5):
        given = updates(2, round_)
        sent = [up.send(update, {}, context(), HEADER, CODING)[0] for update in given]
        tables = [decode(each.blob, up.sends(SPEC)).tensors for each in sent]
        for table, update in zip(tables, given, strict=True):
            np.testing.assert_allclose(table[0].ravel(), matrix @ flat(update), atol=1e-5)
            np.testing.assert_array_equal(table[1], update[1])  # statistics travel whole
        mean = [np.mean(each, 0, dtype=np.float32) for each in zip(*tables, strict=True)]
        broadcast, states = down.send(mean, states, context(), HEADER, CODING)

        velocity = 0.9 * velocity + matrix @ np.mean([flat(update) for update in given], 0)
        error = error + velocity
        found = median_estimates(matrix, error, 3)
        # ⌈.05 x 210⌉ are sent, the first of equal ones: two entries may have the same column as their median.
        found[np.argsort(-np.abs(found).round(3), kind="stable")[11:]] = 0
        error = error - matrix @ found
        got = decode(broadcast.blob, SPEC).tensors
        np.testing.assert_allclose(flat(got), found, atol=1e-4)
        np.testing.assert_array_equal(got[1], mean[1])
        np.testing.assert_allclose(states["sketch"][0].ravel(), velocity, atol=1e-4)
        np.testing.assert_allclose(states["sketch"][1].ravel(), error, atol=1e-4)


@pytest.mark.parametrize("coding", [CODING, Coding(NonZero(), bits=4, deflate=True)], ids=["floats", "4 bits"])
@pytest.mark.parametrize("transforms", ["", "clip=0.5"])
def test_what_was_broadcast_and_what_is_kept_are_the_sum_of_all_sketches(coding, transforms):
    """Whatever leaves something out, the estimates, the bits or a bound, it stays in the sketch of errors."""
    up, down = chains(sketch_size=0.4, density=0.1)
    _, down = chains(sketch_size=0.4, density=0.1, transforms=transforms)
    states, moved, total = down.initial(SPEC), [np.zeros(item.shape, np.float32) for item in SPEC], 0.0
    for update in updates(6):
        table = up.send(update, {}, context(), HEADER, CODING)[0].payload.tensors
        sent, states = down.send(table, states, context(), HEADER, coding)
        moved = [a + b for a, b in zip(moved, sent.payload.tensors, strict=True)]
        total = total + table[0]
    kept = states["sketch"][1] + up.send(moved, {}, context(), HEADER, CODING)[0].update[0]
    np.testing.assert_allclose(kept, total, atol=1e-4)


def test_pruned_weights_are_never_broadcast():
    up, down = chains(sketch_size=0.2, density=0.5)
    kept = [np.ones(item.shape, np.float32) for item in SPEC]
    kept[0][:15] = 0
    table = up.send(updates(1)[0], {}, context(), HEADER, CODING)[0].payload.tensors
    sent, _ = down.send(table, down.initial(SPEC), context(kept), HEADER, CODING)
    assert not sent.payload.tensors[0][:15].any()
    assert sent.payload.tensors[0][15:].any()


def test_a_sketch_has_the_share_of_the_model_s_numbers_that_was_asked_for():
    assert Sketching(0, rows=3, size=0.2).spec(SPEC)[0].shape == (3, 14)  # 42 of 210
    up, _ = chains(sketch_size=0.2, sketch_rows=3)
    blob = up.send(updates(1)[0], {}, context(), HEADER, CODING)[0].blob
    assert 4 * (42 + 10) < len(blob) < 4 * (42 + 10) + 400


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"exchange.up": "sketch"}, "exchange.down must be sketch where exchange.up is, and nowhere else"),
        ({"exchange.down": "sketch"}, "exchange.down must be sketch where exchange.up is, and nowhere else"),
        ({"exchange.momentum": 0.9}, "exchange.momentum must be 0 where updates aren't sketched"),
        ({"method": "fetchsgd", "exchange.momentum": 1.0}, r"exchange.momentum must be in \[0, 1\), got 1.0"),
        ({"method": "fetchsgd", "exchange.sketch_rows": 0}, "exchange.sketch_rows must be at least 1, got 0"),
        ({"method": "fetchsgd", "exchange.sketch_size": 0.0}, r"exchange.sketch_size must be in \(0, 1\]"),
        ({"method": "fetchsgd", "exchange.feedback": True}, "exchange.feedback must be false with sketches"),
        ({"method": "fetchsgd", "guard.rule": "median"}, "guard.rule must be mean or krum where updates are sketched"),
    ],
)
def test_sketches_that_make_no_sense_are_refused_in_one_line(settings, said):
    preset = {"exchange.up": "sketch", "exchange.down": "sketch"} if "method" in settings else {}
    with pytest.raises(InputError, match=said) as caught:
        build(preset | settings)
    assert "\n" not in str(caught.value)
