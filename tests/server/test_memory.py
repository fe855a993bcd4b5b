"""Laws of what a server holds of its rounds, which with a large model is its memory."""

import weakref
from functools import partial

import server.strategy
from fedkd.protocol.federation import server_round
from tests.forged import honest, light, run


def test_updates_of_a_round_are_gone_as_the_next_begins(monkeypatch):
    """A server with a large model has room for one round's, and holds of each what is decoded alone."""
    experiment, held, blobs = light(), [], []

    def average(state, updates, weights, energy, experiment, noise):
        assert not any(reference() is not None for reference in held)
        held[:] = [weakref.ref(array) for update in updates for array in update]
        return server_round(state, updates, weights, energy, experiment, noise)

    def ended(number, received, broadcast):
        blobs.extend(item.answer.blob for item in received)
        return round_of(number, received, broadcast)

    round_of = partial(server.strategy.round_of, experiment)
    monkeypatch.setattr(server.strategy, "average", average)
    monkeypatch.setattr(server.strategy, "round_of", lambda _, *args: ended(*args))
    records, _ = run(experiment, lambda offer, partition: [honest(experiment, offer, partition)])
    assert len(records) == 3
    assert held
    assert blobs == [b""] * 12
    assert all(min(record.clients["up_bytes"]) > 100 for record in records)
    assert [sum(record.clients["up_bytes"]) for record in records] == [record.up_bytes for record in records]
