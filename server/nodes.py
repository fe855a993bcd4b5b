"""Where clients are, and waiting for their replies: Flower looks for them every three seconds, as short rounds feel."""

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol, runtime_checkable

from flwr.app import Message
from flwr.serverapp import Grid

_SHORTEST, _LONGEST = 0.25, 3.0  # seconds between two looks
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
        begun, missing, new = time.monotonic(), set[str](), list[Message]()
        for message in messages:
            if posted := self._posted.pop(id(message), None):
                missing.update(posted[1])
            else:
                new.append(message)
        missing.update(self._grid.push_messages(new))
        while True:
            spent = time.monotonic() - begun
            found = list(self._grid.pull_messages(missing)) if missing else []
            missing -= {reply.metadata.reply_to_message_id for reply in found}
            yield from found
            if not missing or spent >= timeout:
                return
            time.sleep(min(max(_SHORTEST, _SHARE * spent), _LONGEST, timeout - spent))
