"""Laws of waiting for replies: all that come in time are had, soon; none is waited for longer."""

import time
from types import SimpleNamespace

import httpx
import pytest
from flwr.app import Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.grid import HttpGrid

from fedkd.base.errors import RunError
from server.nodes import Outages, PollingGrid


class Nodes:
    """Reply after so many seconds each, ``inf`` for never."""

    def __init__(self, *seconds):
        self.seconds, self.looks = seconds, 0

    def push_messages(self, messages):
        self.begun = time.monotonic()
        return messages

    def pull_messages(self, message_ids):
        self.looks += 1
        spent = time.monotonic() - self.begun
        there = [i for i, wait in enumerate(self.seconds) if wait <= spent and i in message_ids]
        return [SimpleNamespace(metadata=SimpleNamespace(reply_to_message_id=i)) for i in there]


def asked(nodes, timeout):
    begun = time.monotonic()
    replies = list(PollingGrid(nodes).send_and_receive(range(len(nodes.seconds)), timeout=timeout))
    return [reply.metadata.reply_to_message_id for reply in replies], time.monotonic() - begun


@pytest.mark.parametrize("seconds, timeout, replies", [((0, 0.6), 60, [0, 1]), ((0.6, 0), 60, [1, 0]), ((), 60, [])])
def test_replies_are_had_once_and_long_before_the_deadline(seconds, timeout, replies):
    found, spent = asked(Nodes(*seconds), timeout)
    assert found == replies
    assert spent < 30


@pytest.mark.parametrize("timeout", [0, 0.4])
def test_no_reply_is_waited_for_beyond_the_deadline(timeout):
    found, spent = asked(nodes := Nodes(0, float("inf")), timeout)
    assert found == [0]
    assert timeout <= spent < timeout + 2
    assert nodes.looks <= 4


def test_what_is_posted_is_sent_at_once_and_once():
    nodes = Nodes(0, 0, 0)
    sent, push = [], nodes.push_messages
    nodes.push_messages = lambda messages: [sent.append(m) or m for m in push(list(messages))]
    grid = PollingGrid(nodes)
    grid.post(1)
    assert sent == [1]
    replies = grid.send_and_receive([0, 1], timeout=60)
    assert sorted(reply.metadata.reply_to_message_id for reply in replies) == [0, 1]
    assert sent == [1, 0]
    assert [reply.metadata.reply_to_message_id for reply in grid.send_and_receive([1], timeout=60)] == [1]
    assert sent == [1, 0, 1]


@pytest.mark.parametrize("posted", [False, True])
def test_what_a_superlink_that_was_away_has_lost_is_sent_again_once_and_answered_once(posted):
    """A node had fetched a message when the SuperLink was killed: Flower counts it as delivered, and it never comes."""
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 1  # what Flower's messages are of
    messages = [Message(RecordDict(), dst_node_id=node, message_type="train", ttl=9.0) for node in (1, 2)]
    grid = Lossy()
    polling = PollingGrid(grid)
    if posted:
        polling.post(messages[0])
        grid.fail(1)  # while other replies are waited for
        grid.away = 0
    replies = list(polling.send_and_receive(messages, timeout=60))
    assert [reply.metadata.reply_to_message_id for reply in replies] == ["2-3", "1-0"]
    assert [name for name, _ in grid.pushed] == ["1-0", "2-1", "1-2", "2-3"]
    again = grid.pushed[3][1]
    assert (again.metadata.dst_node_id, again.metadata.message_type, again.metadata.ttl) == (2, "train", 9.0)
    assert again is not messages[1]


class Lossy:
    """A SuperLink that is away during the second look, and has lost the first message to node 2."""

    def __init__(self):
        self.pushed, self.looks, self.away = [], 0, 3  # calls that Flower repeats
        self._retry_invoker = SimpleNamespace(on_backoff=lambda state: None)

    def fail(self, calls):
        for _ in range(calls):
            self._retry_invoker.on_backoff(None)

    def push_messages(self, messages):
        assert all(message.metadata.ttl for message in messages)  # Flower, too, goes through them twice
        new = list(messages)
        names = [f"{message.metadata.dst_node_id}-{len(self.pushed) + i}" for i, message in enumerate(new)]
        self.pushed += zip(names, new, strict=True)
        return names

    def pull_messages(self, names):
        self.looks += 1
        if self.looks == 2:
            self.fail(self.away)
        first = [name for name in names if name == "1-0" and self.looks > 3]
        lost = [name for name in names if name.startswith("2-") and name != "2-1"]
        return [SimpleNamespace(metadata=SimpleNamespace(reply_to_message_id=name)) for name in first + lost]


def test_calls_that_flower_repeats_are_counted_and_others_are_not():
    grid = HttpGrid(token="any")
    outages, invoker = Outages(grid), grid._retry_invoker
    invoker.wait_function = lambda seconds: None
    answers = iter([httpx.ConnectError("nobody there"), httpx.ConnectError("nobody there"), "there", "there"])

    def call():
        if isinstance(answer := next(answers), Exception):
            raise answer
        return answer

    assert [invoker.invoke(call), outages.calls] == ["there", 2]
    assert [invoker.invoke(call), outages.calls] == ["there", 2]


def test_messages_that_flower_does_not_send_end_the_run_in_words():
    nodes = Nodes(0, 0)
    nodes.push_messages = lambda messages: []
    with pytest.raises(RunError, match="Flower sent none of 2 messages"):
        list(PollingGrid(nodes).send_and_receive([0, 1], timeout=60))
