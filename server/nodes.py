"""Where clients are, and waiting for their replies: Flower looks for them every three seconds, as short rounds feel."""

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol, runtime_checkable

from flwr.app import Message
from flwr.serverapp import Grid

from fedkd.base.errors import RunError

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


class Outages:
    """Counts the calls that Flower repeats since it doesn't reach the SuperLink: none while that is there.

    A SuperLink that is started anew takes longer than two looks are apart, so that a look or Flower's own sign of life
    meets it gone.

    Args:
        grid: Flower's; one whose nodes are in this process repeats nothing.
    """

    def __init__(self, grid: Grid) -> None:
        self.calls = 0
        if (invoker := getattr(grid, "_retry_invoker", None)) is not None:
            self._told, invoker.on_backoff = invoker.on_backoff, self._count

    def _count(self, state: object) -> None:
        self.calls += 1
        self._told(state)


class PollingGrid:
    """A grid that looks for replies often at first, and more seldom the longer they take.

    What is unanswered when the SuperLink was away is sent once more: Flower counts a message as delivered as soon as a
    node begins to fetch it, and a node whose SuperLink goes away then never gets it.

    Args:
        grid: Flower's, to nodes on other machines.
    """

    def __init__(self, grid: Grid) -> None:
        self._grid, self._outages = grid, Outages(grid)
        # By identity, while the message is held here: with its ids, and the calls that Flower had repeated before.
        self._posted: dict[int, tuple[Message, list[str], int]] = {}

    def get_node_ids(self) -> Iterable[int]:
        """Return the ids of all nodes that are there."""
        return self._grid.get_node_ids()

    def post(self, message: Message) -> None:
        """Send a message at once; ``send_and_receive``, given it later, returns its reply and doesn't send it again."""
        calls = self._outages.calls
        self._posted[id(message)] = message, self._push([message]), calls

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float) -> Iterator[Message]:
        """Send messages and yield the replies that come within ``timeout`` seconds, each as it does.

        Raises:
            RunError: Flower sent none of them, since they are larger than its SuperLink takes.
        """
        calls = min([self._outages.calls, *(before for _, _, before in self._posted.values())])
        begun, missing = time.monotonic(), self._sent(messages)
        while True:
            spent = time.monotonic() - begun
            found = list(self._grid.pull_messages(missing)) if missing else []
            for reply in found:
                if (answered := missing.get(reply.metadata.reply_to_message_id)) is not None:
                    missing = {name: message for name, message in missing.items() if message is not answered}
                    yield reply
            if not missing or spent >= timeout:
                return
            if calls < self._outages.calls:
                calls = self._outages.calls
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
        return found | dict(zip(self._push(new), new, strict=True))

    def _sent_again(self, missing: Mapping[str, Message]) -> dict[str, Message]:
        """Send messages once more; returns each by the id of its copy."""
        outstanding = list({id(message): message for message in missing.values()}.values())
        return dict(zip(self._push([_copy(message) for message in outstanding]), outstanding, strict=True))

    def _push(self, messages: list[Message]) -> list[str]:
        """Send messages, a list since Flower goes through them twice; returns their ids."""
        if len(names := list(self._grid.push_messages(messages))) == len(messages):
            return names
        raise RunError(
            f"Flower sent none of {len(messages)} messages, as larger than its SuperLink takes at once: send "
            "less (exchange.bits, exchange.energy_start), or let a proxy before the SuperLink pass larger requests"
        )


def _copy(message: Message) -> Message:
    """The same message under an id of its own, which Flower makes of what it says and when it was made."""
    of = message.metadata
    return Message(
        message.content, dst_node_id=of.dst_node_id, message_type=of.message_type, ttl=of.ttl, group_id=of.group_id
    )
