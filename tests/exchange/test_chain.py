"""Laws of what happens to an update before it is encoded."""

from dataclasses import replace

import numpy as np
import pytest

from fedkd.base.errors import InputError
from fedkd.base.tensors import TensorSpec
from fedkd.config.exchange import ExchangeConfig
from fedkd.exchange.basis import shared_bases
from fedkd.exchange.blob import Header
from fedkd.exchange.chain import Chain, chain_of
from fedkd.exchange.codec import decode, encode
from fedkd.exchange.coding import PLAIN, Coding
from fedkd.exchange.compressors import PowerSgd, Svd, TopK
from fedkd.exchange.feedback import ErrorFeedback
from fedkd.exchange.transforms import Context, Transform

SPEC = (TensorSpec("conv", (3, 3, 4, 16), 3), TensorSpec("bias", (16,), 0), TensorSpec("dense", (24, 10), 1))
HEADER = Header(1, "ab" * 8, "any")
CODINGS = {
    "svd": Coding(Svd(0.5)),
    "svd, 4 bits": Coding(Svd(0.5), bits=4, stochastic=True, deflate=True),
    "svd, 2 bits, nearest": Coding(Svd(0.3), bits=2),
    "topk": Coding(TopK(0.05)),
    "powersgd": Coding(PowerSgd(2)),
}


def updates(count, seed=0):
    rng = np.random.default_rng(seed)
    return [[rng.normal(size=s.shape).astype(np.float32) for s in SPEC] for _ in range(count)]


def context(kept=None, rng=None):
    return Context(SPEC, kept, rng or np.random.default_rng(0))


@pytest.mark.parametrize("coding", CODINGS.values(), ids=CODINGS)
def test_what_was_sent_and_the_residual_are_the_sum_of_all_updates(coding):
    chain = chain_of(ExchangeConfig(feedback=True))
    states, total, rng = chain.initial(SPEC), [np.zeros(s.shape) for s in SPEC], np.random.default_rng(5)
    for round_, update in enumerate(updates(6), 1):
        rank = coding.compressor.directions
        known = shared_bases(None, SPEC, round_, rank, np.random.default_rng(7)) if rank else None
        sent, states = chain.send(update, states, replace(context(rng=rng), bases=known), HEADER, coding)
        total = [s + t for s, t in zip(total, decode(sent.blob, SPEC, known).tensors, strict=True)]
    expected = [np.sum(each, 0, np.float64) for each in zip(*updates(6), strict=True)]
    for got, residual, wanted in zip(total, states["residual"], expected, strict=True):
        np.testing.assert_allclose(got + residual, wanted, rtol=0, atol=1e-5)


def test_without_feedback_nothing_is_kept_and_nothing_is_decoded():
    sent, states = chain_of(ExchangeConfig()).send(updates(1)[0], {}, context(), HEADER, CODINGS["svd"])
    assert states == {}
    assert sent.blob == encode(updates(1)[0], SPEC, HEADER, CODINGS["svd"])
    assert "payload" not in vars(sent)


def test_what_was_not_sent_is_dropped_where_weights_are_pruned():
    chain, update = chain_of(ExchangeConfig(feedback=True)), updates(1)[0]
    ones = [np.ones(s.shape, np.float32) for s in SPEC]
    kept = [np.ones(s.shape, np.float32) for s in SPEC]
    kept[2][:12] = 0
    sent, _ = chain.send(update, {"residual": ones}, context(kept), HEADER, PLAIN)
    for got, new, mask in zip(sent.update, update, kept, strict=True):
        np.testing.assert_array_equal(got, new + mask)
    sent, _ = chain.send(update, {"residual": ones}, context(), HEADER, PLAIN)
    for got, new in zip(sent.update, update, strict=True):
        np.testing.assert_array_equal(got, new + 1)


class Halves(Transform):
    """Halves an update and counts its rounds."""

    group = "transform.halves"

    def initial(self, spec):
        return [np.zeros((), np.float32)]

    def apply(self, update, state, context):
        return [array / 2 for array in update], [state[0] + 1]


def test_transforms_follow_one_another_and_each_keeps_its_own_state():
    """Feedback sees what was encoded: the half that goes is no loss of compression."""
    chain, update, dense = Chain((ErrorFeedback(), Halves())), updates(1)[0], PLAIN
    states = chain.initial(SPEC)
    assert set(states) == {"residual", "transform.halves"} == chain.groups
    for count in (1, 2):
        sent, states = chain.send(update, states, context(), HEADER, dense)
        assert states["transform.halves"] == [count]
        assert not any(array.any() for array in states["residual"])
        np.testing.assert_array_equal(sent.payload.tensors[0], update[0] / 2)


def test_transform_whose_state_is_missing_begins_anew():
    chain, update = chain_of(ExchangeConfig(feedback=True)), updates(1)[0]
    first, states = chain.send(update, {}, context(), HEADER, CODINGS["svd"])
    again, same = chain.send(update, chain.initial(SPEC), context(), HEADER, CODINGS["svd"])
    assert first.blob == again.blob
    np.testing.assert_array_equal(states["residual"][0], same["residual"][0])


class Halve(Transform):
    """A transform of the user's own: halves updates, and counts them."""

    def __init__(self, name="halve"):
        self.group = f"transform.{name}"

    def initial(self, spec):
        return [np.zeros(1, np.float32)]

    def apply(self, update, state, context):
        return [array / 2 for array in update], [state[0] + 1]


def halve():
    return Halve()


def doubled(factor):
    return Halve(f"by {factor}")


def nameless():
    return Transform()


def test_transforms_of_the_users_own_follow_error_feedback():
    chain = chain_of(ExchangeConfig(feedback=True, transforms="tests.exchange.test_chain:halve"))
    states, update = chain.initial(SPEC), updates(1)[0]
    for count in (1, 2):
        sent, states = chain.send(update, states, context(), HEADER, PLAIN)
        assert states["transform.halve"][0] == count
        # What was halved away is gone; the residual holds what coding alone lost.
        assert all(not array.any() for array in states["residual"])
    np.testing.assert_array_equal(sent.payload.tensors[0], update[0] / 2)


def test_a_transform_may_take_a_number():
    chain = chain_of(ExchangeConfig(transforms="tests.exchange.test_chain:doubled=2 tests.exchange.test_chain:halve"))
    assert [transform.group for transform in chain.transforms] == ["transform.by 2.0", "transform.halve"]


@pytest.mark.parametrize(
    "transforms, said",
    [
        ("clip", "must be of clip=NUMBER, .*, got 'clip'"),
        ("clip=0", "exchange.transforms: clip must be above 0 and finite, got 0.0$"),
        ("clip=nan", "above 0 and finite, got nan"),
        ("clap=1", "exchange.transforms must be of .*, got 'clap=1'"),
        ("tests.exchange.test_chain:gone", "got 'tests.exchange.test_chain:gone'"),
        ("tests.exchange.test_chain:halve=x", "got 'tests.exchange.test_chain:halve=x'"),
        ("tests.exchange.test_chain:nameless", "must return a fedkd.Transform whose group"),
        ("tests.exchange.test_chain:context", "must return a fedkd.Transform .* got Context"),
        (" ".join(["tests.exchange.test_chain:halve"] * 2), "of different groups, .* with two 'transform.halve'"),
    ],
)
def test_what_is_no_transform_is_refused_in_one_line(transforms, said):
    with pytest.raises(InputError, match=said) as caught:
        chain_of(ExchangeConfig(transforms=transforms))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("feedback", [False, True])
def test_clipped_updates_keep_their_direction_and_what_is_clipped_away_is_gone(feedback):
    chain = chain_of(ExchangeConfig(feedback=feedback, transforms="clip=2.5"))
    small, large = [0.01 * array for array in updates(1)[0]], [100 * array for array in updates(1)[0]]
    for update, bound in ((small, None), (large, 2.5)):
        states = chain.initial(SPEC)
        for _ in range(3):
            sent, states = chain.send(update, states, context(), HEADER, PLAIN)
        length = np.sqrt(sum(np.sum(np.square(array, dtype=np.float64)) for array in update))
        factor = 1 if bound is None else bound / length
        for got, whole in zip(sent.payload.tensors, update, strict=True):
            np.testing.assert_allclose(got, factor * whole, rtol=1e-6)
