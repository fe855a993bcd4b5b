"""Laws of the protocol, without Flower: server and clients are pure functions."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from fedkd.base.tensors import add, digest, subtract, weighted_mean
from fedkd.config.sections import TrainConfig
from fedkd.exchange.blob import PayloadError
from fedkd.exchange.codec import encode
from fedkd.protocol.chunking import PART, join, split
from fedkd.protocol.experiment import Experiment
from fedkd.protocol.federation import (
    begin_round,
    follow,
    forget_steps,
    header_of,
    make_offer,
    server_round,
)
from fedkd.protocol.messages import Answer, answer_fields, offer_fields, read_answer, read_offer
from fedkd.protocol.reference import Federation
from fedkd.protocol.resolve import resolve
from fedkd.protocol.state import ServerState, Step
from fedkd.protocol.training import check_trained


@pytest.fixture(scope="module")
def experiment():
    return resolve({"task": "tests.tiny:task", "clients": 3, "rounds": 4, "edge.finish_rounds": 2})


class Stepping(Federation):
    """Its dense model is never smaller than the steps."""

    def offer(self, known_round):
        larger = self.dense + bytes(10**6) if known_round is not None else self.dense
        return make_offer(self.server, known_round, self.experiment.energy(self.server.round), larger)


def assert_identical(a, b):
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x, y)


def test_server_and_clients_hold_the_same_bits_after_every_round(experiment):
    """All rounds, finishing ones too; client 1 misses a round and follows two steps, client 2 loses its state."""
    federation = Stepping(experiment)
    schedule = [[0, 1, 2], [0, 2], [0, 1, 2], [0, 1, 2], [0, 1, 2], [1, 2]]
    for number, participants in enumerate(schedule, 1):
        if number == 5:
            federation.clients[2] = Federation(experiment).clients[2]
        federation.round(participants)
        for i in participants:
            assert_identical(federation.clients[i].base, federation.server.base)
        if number == 3:
            assert [step.round for step in federation.offers[1].steps] == [2, 3]
        if number == 5:
            assert federation.offers[2].dense
            assert not federation.offers[0].dense


def test_first_round_sends_nothing_down_because_the_seed_gives_the_student(experiment):
    federation = Federation(experiment)
    federation.round([0, 1])
    assert all(offer.size == 0 for offer in federation.offers.values())


def test_whole_run_twice_ends_in_the_same_bits(experiment):
    ends = []
    for _ in range(2):
        federation = Federation(experiment)
        for participants in ([0, 1, 2], [1, 2], [0, 2]):
            federation.round(participants)
        ends.append(digest(federation.server.shared))
    assert ends[0] == ends[1]


def test_client_with_another_model_asks_for_the_dense_one(experiment):
    federation = Federation(experiment)
    federation.round([0, 1, 2])
    offer = replace(federation.offers[0], base="0" * 64)
    assert follow(Federation(experiment).clients[0], offer, experiment) is None


def test_client_too_far_behind_asks_for_the_dense_model(experiment):
    federation = Federation(experiment)
    for _ in range(3):
        federation.round([0, 1, 2])
    offer = federation.offers[0]
    assert [step.round for step in offer.steps] == [3]
    assert follow(Federation(experiment).clients[0], offer, experiment) is None


def test_dense_model_with_another_hash_is_refused(experiment):
    federation = Federation(experiment)
    federation.round([0])
    header = header_of(1, federation.server.digest, experiment)
    blob = encode(add(federation.server.base, federation.server.base), experiment.spec, header)
    offer = replace(federation.offers[0], dense=blob)
    with pytest.raises(PayloadError, match="another hash"):
        follow(federation.clients[1], offer, experiment)


def test_average_is_of_decoded_updates_weighed_by_examples():
    updates = [[np.full((2, 2), 1.0, np.float32)], [np.full((2, 2), 4.0, np.float32)]]
    np.testing.assert_array_equal(weighted_mean(updates, [2, 1])[0], np.full((2, 2), 2.0, np.float32))
    np.testing.assert_array_equal(weighted_mean(updates, [1, 1])[0], np.full((2, 2), 2.5, np.float32))


def test_server_applies_what_it_broadcasts_and_not_the_exact_mean(experiment):
    federation = Federation(experiment)
    federation.server = begin_round(federation.server, experiment)
    rng = np.random.default_rng(0)
    updates = [[rng.normal(size=s.shape).astype(np.float32) for s in experiment.spec] for _ in range(2)]
    after, broadcast = server_round(federation.server, updates, [1, 1], 0.6, experiment)
    assert_identical(after.shared, add(federation.server.base, broadcast.tensors))
    assert any(not np.array_equal(a, b) for a, b in zip(broadcast.tensors, weighted_mean(updates, [1, 1]), strict=True))


def test_client_sends_the_change_and_keeps_the_global_student(experiment):
    federation = Federation(experiment)
    before = federation.clients[0].base
    federation.round([0])
    assert_identical(federation.clients[0].base, before)
    assert any(u.any() for u in subtract(federation.server.shared, before))
    assert set(federation.clients[0].local) == {
        "teacher", "projection", "teacher.moments", "student.moments", "projection.moments"
    }  # fmt: skip


def test_pruned_weights_stay_pruned_through_the_finishing_rounds(experiment):
    federation = Federation(experiment)
    for _ in range(6):
        federation.round([0, 1, 2])
    kernel = federation.server.base[0]
    assert np.mean(kernel == 0) == pytest.approx(0.5, abs=1 / kernel.size)


def test_offers_and_answers_survive_the_transport(experiment):
    federation = Federation(experiment)
    federation.round([0, 1])
    federation.round([0, 1])
    offer = federation.offers[0]
    assert read_offer(offer_fields(offer)) == offer
    answer = Answer(3, b"blob", 17, {"teacher.brier_score": 0.5, "loss_student": 1.25})
    assert read_answer(answer_fields(answer)) == answer
    assert not answer.needs_dense
    assert Answer(3).needs_dense


@pytest.mark.parametrize("name", ["teacher", "teacher.", "teacher.a b", "teacher.std", f"teacher.{'x' * 33}", "x", 3])
def test_figures_of_names_that_mean_nothing_are_left_out_of_an_answer(name):
    fields = answer_fields(Answer(3, b"blob", 17, {"teacher.mae": 43.2}))
    fields |= {"metric_names": ["teacher.mae", name], "metric_values": [43.2, 1.0]}
    assert read_answer(fields).metrics == {"teacher.mae": 43.2}


@pytest.mark.parametrize("size", [0, 1, PART, PART + 1, 3 * PART, 3 * PART + 5])
def test_long_bytes_are_cut_into_tables_that_any_link_carries_in_time(size):
    fields = {"blob": bytes(range(256)) * (size // 256) + bytes(size % 256), "other": b"x" * (PART + 1), "n": 3}
    tables = split("answer", fields)
    assert len(tables) == 2 + max(0, -(-size // PART) - 1)
    assert max(len(value) for table in tables.values() for value in table.values() if type(value) is bytes) <= PART
    assert join("answer", dict(sorted(tables.items()))) == fields


def test_messages_to_many_share_the_parts_of_what_is_sent_to_all():
    parts, large = {}, bytes(range(256)) * 8192
    first, second = (split("offer", {"round": i, "dense": bytes(large), "steps": b"few"}, parts) for i in range(2))
    assert [join("offer", tables) for tables in (first, second)] == [
        {"round": i, "dense": large, "steps": b"few"} for i in range(2)
    ]
    assert len(first) == 4
    assert all(first[name]["data"] is second[name]["data"] for name in first if name != "offer")
    assert first["offer"]["dense"] is second["offer"]["dense"]


@pytest.mark.parametrize(
    "tables",
    [
        {"answer": {"blob": b""}, "blob.2": {"data": b""}},
        {"answer": {"blob": b""}, "other.1": {"data": b""}},
        {"answer": {"blob": b""}, "blob.1": {}},
        {"answer": {"blob": b""}, "blob.1": {"data": "text"}},
        {"answer": {"blob": "text"}, "blob.1": {"data": b""}},
        {"blob": {}},
    ],
)
def test_tables_that_are_none_of_a_message_are_refused(tables):
    with pytest.raises((KeyError, TypeError, ValueError)):
        join("answer", tables)


def test_steps_that_outweigh_the_model_are_forgotten_and_their_clients_get_the_model():
    steps = tuple(Step(round_, bytes(40), 0.0) for round_ in range(1, 6))
    state = forget_steps(ServerState(5, [], [], "d", steps), 100)
    assert [step.round for step in state.steps] == [4, 5]
    dense = bytes(90)
    assert [s.round for s in make_offer(state, 3, 0.95, dense).steps] == [4, 5]
    assert make_offer(state, 2, 0.95, dense).dense == dense
    assert forget_steps(ServerState(5, [], [], "d", steps), 10).steps == steps[-1:]


@pytest.mark.parametrize("each, test, epochs, interval", [(512, 256, 1, 2), (512, 2560, 1, 17), (512, 2560, 10, 2)])
def test_measuring_teachers_takes_a_tenth_of_the_work_at_most(experiment, each, test, epochs, interval):
    """A forward pass costs a third of a step: 256 / 3 of 512 trained is a sixth of a round, so every second round."""
    data = SimpleNamespace(test=range(test))
    train = replace(experiment.config.train, epochs=epochs, holdout=0.0, evaluate_every=0)
    rows = (np.arange(each), np.arange(each))
    held = Experiment(replace(experiment.config, train=train), data, np.arange(0), rows)
    assert held.evaluation_interval == interval


@pytest.mark.parametrize(
    "settings, said",
    [
        (
            {"train.student_lr": 1e30},
            r"the (teacher and the )?student .*lower train.teacher_lr \(0.001\) or train.student",
        ),
        (
            {"train.teacher_lr": 1e30, "method": "local"},
            r"the teacher .*\(loss of the teacher nan\): lower train.teach",
        ),
    ],
)
def test_training_that_ends_in_nan_is_refused_with_advice_and_changes_no_state(settings, said):
    """Also of a model that isn't shared, whose weights nobody else would ever look at."""
    task = {"task": "tests.tiny:task", "clients": 1, "rounds": 1, "train.optimizer": "sgd"}
    federation = Federation(resolve(task | settings))
    before = federation.clients[0]
    with pytest.raises(PayloadError, match=rf"not_finite: training made {said}") as caught:
        federation.round([0])
    assert caught.value.reason == "not_finite"
    assert len(str(caught.value)) < 300
    assert federation.clients[0] is before


def test_numbers_that_are_finite_are_never_refused():
    state = {"teacher": [np.full(2, 3e38, np.float32)], "teacher.moments": [np.full(2, np.inf)], "student": []}
    check_trained(state, {"teacher": np.inf, "student": 1.0}, TrainConfig())
    with pytest.raises(PayloadError, match="training made the projection NaN or infinite"):
        check_trained({**state, "projection": [np.array([np.nan])]}, {"teacher": 1.0}, TrainConfig())
