"""Laws of the federation without Flower that tests, emulated devices and fine-tuning share."""

import numpy as np
import pytest

from fedkd.base.errors import RunError
from fedkd.base.tensors import digest
from fedkd.protocol.reference import Federation
from fedkd.protocol.resolve import resolve

SETTINGS = {"task": "tests.protocol.test_oracle:task", "clients": 3, "rounds": 3, "partition.kind": "dirichlet"}


def end(settings=None, **how):
    federation = Federation(resolve(SETTINGS | (settings or {})), **how)
    for participants in ([0, 1, 2], [0, 2], [0, 1, 2]):
        federation.round(participants)
    return federation


def test_threads_and_handing_over_the_base_change_no_bit():
    ends = [end(), end(threads=3), end(hand_over=True)]
    assert len({digest(federation.server.shared) for federation in ends}) == 1
    assert all(offer.size == 0 for offer in ends[2].offers.values())


def test_clients_have_random_numbers_of_their_own_which_a_caller_may_choose():
    drawn = []

    def seed_of(round_, client):
        drawn.append((round_, client))
        return np.random.default_rng((9, round_, client))

    assert digest(end(seed_of=seed_of).server.shared) != digest(end().server.shared)
    assert drawn == [(1, 0), (1, 1), (1, 2), (2, 0), (2, 2), (3, 0), (3, 1), (3, 2)]


def test_answers_weigh_as_the_configuration_says():
    assert end({"exchange.weighting": "uniform"}).weights == [1.0, 1.0, 1.0]
    assert len(set(end().weights)) > 1


def test_client_that_follows_nothing_is_no_silent_failure(monkeypatch):
    monkeypatch.setattr("fedkd.protocol.reference.follow", lambda *_: None)
    with pytest.raises(RunError, match="client 0 can't follow round 1"):
        Federation(resolve(SETTINGS)).round([0])
