"""Laws of a round: who takes part, who isn't there, how long it waits, and what too few answers do."""

import time

import numpy as np
import pytest
from flwr.app import Error, Message

import server.reply
from clients.node.transport import to_records
from fedkd.base.errors import InputError, NoAnswerError
from fedkd.base.tensors import digest
from fedkd.exchange.codec import decode
from fedkd.protocol.federation import begin_round, make_offer, new_server, server_round
from fedkd.protocol.messages import Answer, answer_fields
from fedkd.protocol.resolve import resolve
from server.nodes import PollingGrid
from tests.forged import LIAR, ForgedGrid, honest, light, run, with_liar


@pytest.fixture(scope="module")
def experiment():
    return light()


@pytest.mark.parametrize("gone", [(1,), (0, 3), (0, 1, 2)])
def test_round_that_loses_clients_is_the_average_of_those_that_are_left(gone, experiment):
    """By hand: decode what they sent, average, and broadcast, without any strategy."""

    def says(offer, partition):
        return [] if partition in gone else [honest(experiment, offer, partition)]

    records, _ = run(experiment, says)
    state = begin_round(new_server(experiment), experiment)
    offer = make_offer(state, 0, experiment.energy(1), b"")
    left = [honest(experiment, offer, partition) for partition in range(4) if partition not in gone]
    updates = [decode(fields["blob"], experiment.spec).tensors for fields in left]
    after, _ = server_round(state, updates, [fields["examples"] for fields in left], experiment.energy(1), experiment)
    assert records[0].shared_sha256 == digest(after.shared)
    assert [(entry["client"], entry["reason"]) for entry in records[0].refused] == [(g, "no_answer") for g in gone]


def test_client_that_needs_the_dense_model_gets_it_once_and_takes_part(experiment):
    def lie(offer, fields):
        return [fields] if offer.dense else [{**fields, "blob": b""}]

    records, _ = run(experiment, with_liar(experiment, lie))
    assert all(r.participants == [0, 1, 2, 3] and r.refused == [] for r in records)
    assert all(r.behind == [LIAR] for r in records)


def test_too_few_answers_leave_the_model_and_the_run_goes_on():
    """Rounds 2 and 3 of 5 have one answer where two are the least; who takes part again follows both empty steps."""
    experiment = light(guard__minimum=2, rounds=5)
    silent = {2: (0, 1, 2), 3: (1, 2, 3)}

    def says(offer, partition):
        return [] if partition in silent.get(offer.round, ()) else [honest(experiment, offer, partition)]

    records, _ = run(experiment, says)
    assert [r.closed for r in records] == [True, False, False, True, True]
    digests = [r.shared_sha256 for r in records]
    assert digests[0] == digests[1] == digests[2]
    assert len(set(digests)) == 3
    assert [r.participants for r in records[1:3]] == [[3], [0]]


def test_run_ends_after_so_many_rounds_without_enough_answers_in_a_row():
    experiment = light(guard__minimum=2, guard__failed_rounds=2, rounds=9)

    def says(offer, partition):
        return [honest(experiment, offer, partition)] if partition == 0 or offer.round < 3 else [OSError("disk full")]

    with pytest.raises(
        NoAnswerError, match=r"round 4: 1 usable updates where a round needs 2: .*disk full.* \(2 rounds"
    ):
        run(experiment, says)


def test_run_none_of_whose_rounds_had_an_answer_ends_in_an_error_however_short():
    with pytest.raises(
        NoAnswerError, match="round 1: no usable update from any client: no answer within 7 s"
    ) as caught:
        run(light(rounds=1, guard__deadline=7.0), lambda offer, partition: [])
    assert [r.closed for r in caught.value.records] == [False]


def test_a_hundred_rounds_with_a_third_of_the_clients_dropping_out_close(reached):
    """Each of 10 clients is away in 30 % of the rounds; a round needs 4: P(fewer) is 1.1 % by the binomial law."""
    experiment = light(clients=10, rounds=100, guard__minimum=4)
    away = np.random.default_rng(0).random((101, 10)) < 0.3

    def says(offer, partition):
        if not away[offer.round, partition]:
            return [honest(experiment, offer, partition)]
        return [] if partition % 2 else [OSError("node unavailable")]

    records, _ = run(experiment, says)
    assert len(records) == 100
    closed = sum(r.closed for r in records)
    reached("of 100 rounds with 30 % of the clients away closed", closed)
    assert closed >= 95
    assert 0.25 < np.mean([len(r.refused) / 10 for r in records]) < 0.35


def test_second_offer_of_a_round_gets_what_is_left_of_its_deadline():
    """A client needs the dense model after 0.2 s of a deadline of 5 s."""
    experiment = light(rounds=1, guard__deadline=5.0)

    def says(offer, partition):
        if partition == 0 and not offer.dense:
            time.sleep(0.2)
            return [{**honest(experiment, offer, partition), "blob": b""}]
        return [honest(experiment, offer, partition)]

    _, strategy = run(experiment, says, Strangers({11: [0], 12: [1], 13: [2], 14: [3]}, says))
    assert 0 < strategy._grid.timeouts[1] <= 4.8


def test_checking_what_others_sent_takes_no_time_from_a_client_that_is_behind(monkeypatch):
    """Three updates are checked for 0.3 s each, in a round of 5 s."""
    experiment = light(rounds=1, guard__deadline=5.0)
    check = server.reply.check_update

    def slow(*args):
        time.sleep(0.3)
        return check(*args)

    def says(offer, partition):
        fields = honest(experiment, offer, partition)
        return [{**fields, "blob": b""}] if partition == 0 and not offer.dense else [fields]

    monkeypatch.setattr(server.reply, "check_update", slow)
    records, strategy = run(experiment, says, Strangers({11: [0], 12: [1], 13: [2], 14: [3]}, says))
    assert strategy._grid.timeouts[1] > 4.7
    assert records[0].participants == [0, 1, 2, 3]


def test_who_is_behind_is_sent_the_model_while_a_dead_node_is_waited_for():
    """Node 14 never answers, in a round of 2 s; client 0 has its dense model long before."""
    experiment, heard = light(rounds=1, guard__deadline=2.0), {}

    def says(offer, partition):
        heard.setdefault((partition, bool(offer.dense)), time.monotonic())
        fields = honest(experiment, offer, partition)
        if partition == 3:
            return []
        return [{**fields, "blob": b""}] if partition == 0 and not offer.dense else [fields]

    nodes = Strangers({11: [0], 12: [1], 13: [2], 14: [3]}, says)
    began = time.monotonic()
    records, _ = run(experiment, says, PollingGrid(Mailbox(nodes)))
    assert records[0].participants == [0, 1, 2]
    assert [(e["client"], e["reason"]) for e in records[0].refused] == [(3, "no_answer")]
    assert heard[0, True] - began < 1.5
    assert time.monotonic() - began < 4


class Mailbox:
    """Flower's grid to nodes that answer as soon as they are asked; a message that expires takes its reply along."""

    def __init__(self, nodes):
        self.nodes, self.replies, self.ends = nodes, {}, {}

    def get_node_ids(self):
        return self.nodes.get_node_ids()

    def push_messages(self, messages):
        ids = []
        for message in messages:
            ids.append(f"m{len(self.replies)}")
            message.metadata.__dict__["_message_id"] = ids[-1]
            self.replies[ids[-1]] = list(self.nodes.send_and_receive([message]))
            self.ends[ids[-1]] = message, time.time() + message.metadata.ttl
        return ids

    def pull_messages(self, message_ids):
        return [reply for i in sorted(message_ids) for reply in self._replies(i)]

    def _replies(self, name):
        message, ends = self.ends[name]
        if time.time() < ends:
            return self.replies[name]
        gone = Message(Error(2, "Message Unavailable"), reply_to=message)
        gone.metadata.__dict__["_src_node_id"] = 0
        return [gone]


class Strangers(ForgedGrid):
    """Nodes that say themselves which clients they are: what ``claims`` has for each, if anything."""

    def __init__(self, claims, says):
        super().__init__(0, says)
        del self.partitions  # which a simulation knows
        self.claims, self.greeted = claims, 0

    def get_node_ids(self):
        return list(self.claims)

    def send_and_receive(self, messages, *, timeout=None):
        if not all(message.metadata.message_type == "query" for message in messages):
            return super().send_and_receive(messages, timeout=timeout)
        self.greeted += 1
        return [reply for message in messages for reply in self._claims(message)]

    def _claims(self, message):
        for claim in self.claims[message.metadata.dst_node_id]:
            if claim is None and self.greeted == 1:  # fails once
                yield Message(Error(2, "no data yet"), reply_to=message)
            else:
                fields = answer_fields(Answer(3 if claim is None else claim))
                yield Message(to_records("answer", fields), reply_to=message)


def test_each_client_is_one_node_and_each_node_one_client(experiment):
    """14 fails at first; 15 comes after 11, which is client 0; 16 is none of the four; 13 would like to be two."""
    claims = {11: [0], 12: [1], 13: [2, 3], 14: [None], 15: [0], 16: [4]}
    says = with_liar(experiment, lambda offer, fields: [fields])
    records, strategy = run(experiment, says, Strangers(claims, says))
    assert strategy._nodes == {0: 11, 1: 12, 2: 13, 3: 14}
    assert {(e["node"], e["reason"]) for e in records[0].refused} == {(n, "partition") for n in (13, 15, 16)}


def test_too_few_clients_end_the_run_after_the_patience_and_say_how_many_came():
    experiment = light(guard__patience=0.3, guard__minimum=3)
    says = with_liar(experiment, lambda offer, fields: [fields])
    started = time.monotonic()
    with pytest.raises(NoAnswerError, match=r"^2 of 4 clients came within 0.3 s; says it is client 9 of 4$"):
        run(experiment, says, Strangers({11: [0], 12: [1], 13: [9]}, says))
    assert time.monotonic() - started < 3


def test_bounds_that_no_round_can_meet_are_refused_at_the_start():
    with pytest.raises(InputError, match=r"guard.minimum must be at most 4, the clients a round asks, got 5"):
        resolve({"clients": 8, "fraction": 0.5, "guard.minimum": 5})
    for settings, needed in (
        ({"guard.rule": "krum", "guard.byzantine": 2}, 7),
        ({"guard.rule": "median"}, 3),
        ({"guard.rule": "trimmed_mean", "guard.trim": 0.15}, 7),  # of 7 it cuts one at each end, of 6 none
    ):
        with pytest.raises(InputError, match=rf"at most {needed - 1}, .*this one needs {needed} answers"):
            resolve({"clients": needed - 1, **settings})
        assert resolve({"clients": needed, **settings}).config.guard.answers == needed


def test_who_isnt_there_is_noted_and_the_rounds_go_on_without():
    """14 is client 3 but never connects; 13 leaves after the first round and comes back in the third as node 23."""
    experiment = light(guard__patience=0.2)

    def says(offer, node):
        return [honest(experiment, offer, min(node, 2))]  # 23 is node 12 of this grid

    class Leaving(Strangers):
        def get_node_ids(self):
            return {0: [11, 12, 13], 1: [11, 12], 2: [11, 12, 23]}[self.round]

        def send_and_receive(self, messages, *, timeout=None):
            self.round += any(m.metadata.message_type == "train" for m in messages)
            return super().send_and_receive(messages, timeout=timeout)

    grid = Leaving({11: [0], 12: [1], 13: [2], 23: [2]}, says)
    grid.round = 0
    records, _ = run(experiment, says, grid)
    assert [r.participants for r in records] == [[0, 1, 2], [0, 1], [0, 1, 2]]
    absent = [[e["client"] for e in r.refused if e["reason"] == "absent"] for r in records]
    assert absent == [[3], [2, 3], [3]]


def test_a_client_that_gave_no_dense_answer_in_time_is_offered_the_dense_model_at_once():
    experiment, seen = light(), []

    def says(offer, partition):
        if partition == 0:
            seen.append((offer.round, bool(offer.dense)))
            if offer.round == 2:
                return [] if offer.dense else [{**honest(experiment, offer, partition), "blob": b""}]
        return [honest(experiment, offer, partition)]

    run(experiment, says)
    assert seen == [(1, False), (2, False), (2, True), (3, True)]


def test_krum_with_fewer_answers_than_it_needs_leaves_the_model_as_it_is():
    experiment = light(clients=5, guard__rule="krum", guard__byzantine=1)

    def says(offer, partition):
        return [] if offer.round == 2 and partition == 4 else [honest(experiment, offer, partition)]

    records, _ = run(experiment, says)
    assert [r.closed for r in records] == [True, False, True]
