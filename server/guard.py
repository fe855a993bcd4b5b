"""What the server lets into a round: each answer is checked before anything is averaged, and a refused one is named.

A node that had anything refused in a round has no say in it: the round is, bit for bit, the one without it.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from flwr.app import Message

from fedkd.exchange.codec import Payload
from fedkd.messages import Answer
from fedkd.sections import GuardConfig
from server.reply import Opened, Refusal, harmless, read

log = logging.getLogger("fedkd.server")


@dataclass(frozen=True)
class Received:
    """An update that passed all checks."""

    answer: Answer
    payload: Payload


class Guard:
    """Judges the answers of one round after the other.

    Args:
        settings: Bounds, and how long a round waits (for what it says of nodes that don't answer).
    """

    def __init__(self, settings: GuardConfig) -> None:
        self._settings = settings
        self.begin(0)

    def begin(self, round_: int) -> None:
        """Forget the round before."""
        self._round = round_
        self._refused: dict[tuple[int | str, str], dict[str, Any]] = {}

    @property
    def refused(self) -> list[dict[str, Any]]:
        """What was refused in the round: client (None where it isn't known), node, reason, and why in words."""
        return list(self._refused.values())

    def introduced(self, replies: Iterable[Message], known: Mapping[int, int], clients: int) -> dict[int, int]:
        """Take the nodes that say which client they are.

        Args:
            replies: To a server's greeting.
            known: Node of each partition so far; who came first stays, and of those who come together the lowest id.
            clients: Number of partitions.
        """
        nodes, taken = dict(known), set(known.values())
        for message in sorted(replies, key=lambda m: m.metadata.src_node_id):
            node = message.metadata.src_node_id
            answer = read(message)
            if isinstance(answer, Refusal):
                self._refuse(None, node, *answer)
            elif not 0 <= answer.partition < clients:
                self._refuse(None, node, "partition", f"says it is client {answer.partition} of {clients}")
            elif answer.partition in nodes:
                self._refuse(None, node, "partition", f"says it is client {answer.partition}, which another node is")
            elif node in taken:
                self._refuse(None, node, "partition", f"says it is client {answer.partition}, and was another before")
            else:
                nodes[answer.partition] = node
                taken.add(node)
                # What it may have failed in before doesn't count.
                self._refused = {key: entry for key, entry in self._refused.items() if key[0] != node}
        return nodes

    def answers(
        self, replies: Iterable[Message], asked: Mapping[int, int], opened: Callable[[Message], Opened | Refusal]
    ) -> list[Opened]:
        """Take what nodes reply.

        Args:
            replies: In any order; each is opened as it comes, while other clients may still train.
            asked: Node of each partition that was asked.
            opened: Opens a reply, see ``server.reply``.

        Returns:
            Replies of asked nodes that replied once, as themselves, in the order of their partitions.
        """
        found: dict[int, Opened | Refusal] = {}
        count, unsigned, nodes = Counter[int](), [], set(asked.values())
        for message in replies:
            if (node := message.metadata.src_node_id) in nodes:
                count[node] += 1
                found[node] = found[node] if node in found else opened(message)
            elif message.has_error():  # Flower's, on behalf of a node that it doesn't name
                unsigned.append(message.error.reason)
            else:
                self._refuse(None, node, "unasked", "answered, and wasn't asked")
        why = unsigned[0] if unsigned else f"no answer within {self._settings.deadline:g} s"
        for partition, node in asked.items():
            if node not in found:
                self._refuse(partition, node, "no_answer", str(why))
            elif count[node] > 1:
                self._refuse(partition, node, "duplicate", f"{count[node]} answers where one was asked for")
        single = [(partition, node) for partition, node in sorted(asked.items()) if count[node] == 1]
        return [reply for p, node in single if (reply := self._from(p, node, found[node])) is not None]

    def _from(self, partition: int, node: int, reply: Opened | Refusal) -> Opened | None:
        """Take the reply of a node that was asked as a partition, or note what is wrong."""
        if isinstance(reply, Refusal):
            self._refuse(partition, node, *reply)
            return None
        if (named := reply.answer.partition) != partition:
            self._refuse(partition, node, "partition", f"answers as client {named}, which another node is")
            return None
        return reply

    def updates(self, replies: Iterable[Opened], nodes: Mapping[int, int]) -> list[Received]:
        """Take the updates of a round that passed all checks.

        Args:
            replies: All of the round; those that asked for the dense model hold no update.
            nodes: Node of each partition.

        Returns:
            In the order of partitions.
        """
        received, silenced = [], {node for node, _ in self._refused}
        for answer, update in sorted(replies, key=lambda reply: reply.answer.partition):
            if update is None or (node := nodes[answer.partition]) in silenced:
                continue
            if isinstance(update, Refusal):
                self._refuse(answer.partition, node, *update)
            else:
                received.append(Received(answer, update))
        return received

    def absent(self, partition: int) -> None:
        """Note that a client of the round isn't there, so wasn't asked."""
        self._refuse(partition, None, "absent", "not connected when the round began")

    def stuck(self, replies: Iterable[Opened], nodes: Mapping[int, int]) -> None:
        """Refuse those that ask for the dense model after they got it."""
        for answer, _ in replies:
            if answer.needs_dense:
                node = nodes[answer.partition]
                self._refuse(answer.partition, node, "stuck", "asked for the dense model again after it got it")

    def _refuse(self, client: int | None, node: int | None, reason: str, why: str) -> None:
        who = f"client {client}" if node is None else node
        if (who, reason) not in self._refused:
            why = harmless(why)
            log.warning("round %d: refused client %s (node %s): %s: %s", self._round, client, node, reason, why)
            self._refused[who, reason] = {"client": client, "node": node, "reason": reason, "why": why}
