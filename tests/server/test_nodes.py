"""Laws of waiting for replies: all that come in time are had, soon; none is waited for longer."""

import time
from types import SimpleNamespace

import pytest

from server.nodes import PollingGrid


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
