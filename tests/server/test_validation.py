"""Laws of the guard: what is refused is named, and leaves the round as it would be without its client."""

import time
import tracemalloc

import pytest

from fedkd.exchange.blob import PayloadError
from fedkd.exchange.codec import encode, largest
from fedkd.protocol.federation import begin_round, header_of, make_offer, new_server
from fedkd.protocol.messages import Answer, read_answer
from server.reply import check_update
from tests.bad_updates import BAD
from tests.forged import FIRST_NODE, LIAR, Large, drawn, light, run, with_liar


@pytest.fixture(scope="module")
def experiment():
    return light(guard__norm=20.0)


@pytest.fixture(scope="module")
def without(experiment):
    """Digests of the shared model after every round in which the client says nothing."""
    records, _ = run(experiment, with_liar(experiment, lambda offer, fields: []))
    assert len({r.shared_sha256 for r in records}) == 3
    return records


# What a whole client may do, besides a bad update.
LIES = {
    "duplicate": (lambda offer, fields: [fields, fields], "duplicate"),
    "two different answers": (lambda offer, fields: [fields, {**fields, "examples": 1}], "duplicate"),
    "another's partition": (lambda offer, fields: [{**fields, "partition": 1}], "partition"),
    "nobody's partition": (lambda offer, fields: [{**fields, "partition": 99}], "partition"),
    "own and another's": (lambda offer, fields: [fields, {**fields, "partition": 1}], "duplicate"),
    "raises": (lambda offer, fields: [OSError("disk full")], "error"),
    "silent": (lambda offer, fields: [], "no_answer"),
    "always behind": (lambda offer, fields: [{**fields, "blob": b""}], "stuck"),
    "behind, then silent": (lambda offer, fields: [] if offer.dense else [{**fields, "blob": b""}], "no_answer"),
    "no blob": (lambda offer, fields: [{k: v for k, v in fields.items() if k != "blob"}], "malformed"),
    "blob is text": (lambda offer, fields: [{**fields, "blob": "blob"}], "malformed"),
    "partition is a fraction": (lambda offer, fields: [{**fields, "partition": 2.0}], "malformed"),
    "metric is nan": (lambda offer, fields: [{**fields, "metric_values": [float("nan")]}], "malformed"),
    "metric is huge": (lambda offer, fields: [{**fields, "metric_values": [1e308]}], "malformed"),
    "metrics without names": (lambda offer, fields: [{**fields, "metric_names": []}], "malformed"),
    "metrics are no list": (lambda offer, fields: [{**fields, "metric_names": 3}], "malformed"),
    "many metrics": (
        lambda offer, fields: [
            {**fields, "metric_names": list(map(str, range(999))), "metric_values": [0.0] * 999}
        ],
        "malformed",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", [*LIES, *BAD])
def test_round_is_the_one_without_the_refused_client_bit_for_bit(name, experiment, without, caplog):
    if name in LIES:
        lie, reason = LIES[name]
    else:
        forge, reason = BAD[name]

        def lie(offer, fields):
            return [{**fields, **forge(experiment, offer, fields)}]

    records, _ = run(experiment, with_liar(experiment, lie))
    assert [r.shared_sha256 for r in records] == [r.shared_sha256 for r in without]
    for record in records:
        assert record.participants == [0, 1, 3]
        assert record.closed
        [entry] = record.refused
        assert (entry["client"], entry["node"], entry["reason"]) == (LIAR, FIRST_NODE + LIAR, reason)
        assert entry["why"]
        assert len(entry["why"]) <= 300
    assert caplog.text.count(f"refused client {LIAR} (node {FIRST_NODE + LIAR}): {reason}") == 3


def test_node_that_was_not_asked_changes_nothing(experiment):
    records, _ = run(experiment, with_liar(experiment, lambda offer, fields: [fields, 99]))
    honestly, _ = run(experiment, with_liar(experiment, lambda offer, fields: [fields]))
    assert [r.shared_sha256 for r in records] == [r.shared_sha256 for r in honestly]
    assert records[0].refused[0] == {
        "client": None,
        "node": 99,
        "reason": "unasked",
        "why": "answered, and wasn't asked",
    }


def test_answer_of_the_round_before_is_a_replay(experiment, without):
    """A client that sends again, byte for byte, what was good a round ago."""
    before = {}

    def lie(offer, fields):
        before[offer.round] = fields
        return [before[offer.round - 1]] if offer.round > 1 else []

    records, _ = run(experiment, with_liar(experiment, lie))
    assert [r.shared_sha256 for r in records] == [r.shared_sha256 for r in without]
    assert [r.refused[0]["reason"] for r in records] == ["no_answer", "replay", "replay"]


@pytest.mark.parametrize("name", BAD)
def test_bad_update_of_a_large_model_is_refused_in_a_tenth_of_a_second_and_in_little_room(name, reached):
    """A million numbers, of which the largest update takes 4.1 MB; seconds are the processor's, whoever shares it."""
    experiment = light(Large, guard__norm=20.0)
    state = begin_round(new_server(experiment), experiment)
    offer = make_offer(state, 0, 0.95, b"")
    forge, reason = BAD[name]
    fields = honest_large(experiment, offer)
    answer = read_answer(fields | forge(experiment, offer, fields))
    seconds = []
    for _ in range(3):
        started = time.thread_time()
        with pytest.raises(PayloadError) as caught:
            check_update(answer, state, experiment)
        seconds.append(time.thread_time() - started)
    tracemalloc.start()
    with pytest.raises(PayloadError):
        check_update(answer, state, experiment)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.reason == reason
    reached("bad update refused, s of CPU", min(seconds))
    reached("room that refusing takes, in sizes of the largest update", peak / largest(experiment.spec))
    assert min(seconds) < 0.1
    assert peak <= 2 * largest(experiment.spec) + 2**17  # and what zlib needs


def honest_large(experiment, offer):
    blob = encode(drawn(experiment, 0), experiment.spec, header_of(offer.round, offer.base, experiment))
    return {"partition": 0, "blob": blob, "examples": 10, "metric_names": [], "metric_values": []}


def test_answer_of_any_weight_is_read_for_the_guard_to_judge():
    assert Answer(1, b"x", 3) == read_answer(
        {"partition": 1, "blob": b"x", "examples": 3, "metric_names": [], "metric_values": []}
    )
