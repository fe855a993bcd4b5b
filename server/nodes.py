"""Where clients are, and waiting for their replies: Flower looks for them every three seconds, as short rounds feel."""

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol, runtime_checkable

from flwr.app import Message
from flwr.serverapp import Grid

_SHORTEST, _LONGEST = 0.25, 3.0  # seconds between two looks
_AWAY = 3.0  # seconds that a look takes while Flower tries to reach a SuperLink that is gone; else milliseconds
_SHARE = 0.05  # of the time waited so far: what looking seldom adds to it at most, within these bounds


class Nodes(Protocol):
    """Where clients are: a grid of Flower's, or what stands for one."""

    def get_node_ids(self) -> Iterable[int]:
        """Ids of all nodes that are there."""

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float) -> Iterable[Message]:
        """Send messages; returns the replies that come within ``timeout`` seconds."""


@runtime_checkable
class Simulation(Protocol):
    """A grid whose clients are in this process."""

    partitions: Mapping[int, int]  # node of each client

    def close(self) -> None:
        """Wait for the clients that run; those that don't yet never will."""


class PollingGrid:
    """A grid that looks for replies often at first, and more seldom the longer they take.

    Args:
        grid: Flower's, to nodes on other machines.
    """

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._posted: dict[int, tuple[Message, list[str]]] = {}  # by identity, while the message is held here

    def get_node_ids(self) -> Iterable[int]:
        """Return the ids of all nodes that are there."""
        return self._grid.get_node_ids()

    def post(self, message: Message) -> None:
        """Send a message at once; ``send_and_receive``, given it later, returns its reply and doesn't send it again."""
        self._posted[id(message)] = message, list(self._grid.push_messages([message]))

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float) -> Iterator[Message]:
        """Send messages and yield the replies that come within ``timeout`` seconds, each as it does."""
        begun, missing = time.monotonic(), self._sent(messages)
        while True:
            spent = time.monotonic() - begun
            found = list(self._grid.pull_messages(missing)) if missing else []
            away = time.monotonic() - begun - spent >= _AWAY
            for reply in found:
                if (answered := missing.get(reply.metadata.reply_to_message_id)) is not None:
                    missing = {name: message for name, message in missing.items() if message is not answered}
                    yield reply
            if not missing or spent >= timeout:
                return
            if away:
                missing |= self._sent_again(missing)
            time.sleep(min(max(_SHORTEST, _SHARE * spent), _LONGEST, timeout - spent))

    def _sent(self, messages: Iterable[Message]) -> dict[str, Message]:
        """Send messages but those that are on their way; returns each by its id."""
        found, new = dict[str, Message](), list[Message]()
        for message in messages:
            if posted := self._posted.pop(id(message), None):
                found |= dict.fromkeys(posted[1], message)
            else:
                new.append(message)
        return found | dict(zip(self._grid.push_messages(new), new, strict=True))

    def _sent_again(self, missing: Mapping[str, Message]) -> dict[str, Message]:
        """Send messages once more, after the SuperLink was away: what a node was about to fetch then it never gets."""
        outstanding = list({id(message): message for message in missing.values()}.values())
        copies = [_copy(message) for message in outstanding]  # a list, for Flower goes through them twice
        return dict(zip(self._grid.push_messages(copies), outstanding, strict=True))


def _copy(message: Message) -> Message:
    """The same message under an id of its own, which Flower makes of what it says and when it was made."""
    of = message.metadata
    return Message(
        message.content, dst_node_id=of.dst_node_id, message_type=of.message_type, ttl=of.ttl, group_id=of.group_id
    )
