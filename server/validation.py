"""What the server lets into a round: each answer is checked before anything is averaged, and a refused one is named.

A node that had anything refused in a round has no say in it: the round is, bit for bit, the one without it.
"""

import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from flwr.app import Message

from fedkd.config.sections import GuardConfig
from fedkd.exchange.codec import Payload
from fedkd.protocol.messages import Answer
from server.reply import Refusal, harmless, read

log = logging.getLogger("fedkd.server")


@dataclass(frozen=True)
class Received:
    """An answer that can be read, and its update.

    Args:
        answer: What the client says; once its update is decoded, without the bytes of it.
        update: Decoded, or why it can't be used; None where it wasn't checked yet, or there is none.
        size: Bytes of the encoded update; 0 where the client asks for the dense model instead.
    """

    answer: Answer
    update: Payload | Refusal | None
    size: int

    @property
    def payload(self) -> Payload:
        """The update, of those that ``UpdateValidator.updates`` returns."""
        assert isinstance(self.update, Payload)
        return self.update


Check = Callable[[Answer], Payload | Refusal]


class UpdateValidator:
    """Checks the answers of one round after another.

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
        """What was refused in the round: client (None where it isn't known), node, reason, why in words, its norm."""
        return list(self._refused.values())

    def introduced(
        self, replies: Iterable[Message], known: Mapping[int, int], clients: int, classes: Sequence[str] = ()
    ) -> tuple[dict[int, int], dict[int, str]]:
        """Take the nodes that say which client they are.

        Args:
            replies: What nodes replied to the server's query.
            known: Node of each partition so far; who came first stays, and of those who come together the lowest id.
            clients: Number of partitions.
            classes: Names of the classes of devices there are.

        Returns:
            Node of each partition, and by partition the class of devices that a new one says it is of, or nothing.
        """
        nodes, taken, said = dict(known), set(known.values()), dict[int, str]()
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
            elif (name := answer.device_class) and name not in classes:
                known_ones = ", ".join(classes) or "none in this run"
                self._refuse(answer.partition, node, "class", f"says it is of class {name!r}; known: {known_ones}")
            else:
                nodes[answer.partition], said[answer.partition] = node, name
                taken.add(node)
                # What it may have failed in before doesn't count.
                self._refused = {key: entry for key, entry in self._refused.items() if key[0] != node}
        return nodes, said

    def answers(
        self, replies: Iterable[Message], asked: Mapping[int, int], check: Check | None = None
    ) -> list[Received]:
        """Read what nodes reply.

        Args:
            replies: The nodes' replies, in any order.
            asked: Node of each partition that was asked.
            check: Checks each update as it comes, where other clients still train; else that is left to ``updates``.

        Returns:
            Answers of asked nodes that replied once, as themselves, in the order of their partitions.
        """
        found: dict[int, Received | Refusal] = {}
        count, unsigned, partitions = Counter[int](), [], {node: partition for partition, node in asked.items()}
        for message in replies:
            if (node := message.metadata.src_node_id) in partitions:
                count[node] += 1
                if node not in found:
                    found[node] = _received(message, partitions[node], check)
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
        taken = []
        for partition, node in sorted(asked.items()):
            if count[node] != 1:
                continue
            if isinstance(reply := found[node], Refusal):
                self._refuse(partition, node, *reply)
            else:
                taken.append(reply)
        return taken

    def updates(self, answers: Iterable[Received], nodes: Mapping[int, int], check: Check) -> list[Received]:
        """Take the updates of a round that pass all checks.

        Args:
            answers: All answers of the round; those that asked for the dense model hold no update.
            nodes: Node of each partition.
            check: Checks an update that wasn't checked before.

        Returns:
            The updates in the order of partitions.
        """
        passed, silenced = [], {node for node, _ in self._refused}
        for received in sorted(answers, key=lambda received: received.answer.partition):
            answer, node = received.answer, nodes[received.answer.partition]
            if not received.size or node in silenced:
                continue
            checked = received if received.update else _checked(answer, check)
            if isinstance(checked.update, Refusal):
                self._refuse(answer.partition, node, *checked.update)
            else:
                passed.append(checked)
        return self._alike(passed, nodes)

    def _alike(self, received: list[Received], nodes: Mapping[int, int]) -> list[Received]:
        """Refuse updates that are out of all proportion to the others: one would decide what all became."""
        norms, spread = sorted(item.payload.norm for item in received), self._settings.spread
        bound = spread * norms[(len(norms) - 1) // 2] if norms else 0.0
        if not bound:
            return received
        for item in received:
            if item.payload.norm > bound:
                why = (
                    f"the update's L2 norm is {item.payload.norm:g}, more than guard.spread = {spread:g} times the"
                    f" median of the round's, {bound / spread:g}"
                )
                partition = item.answer.partition
                self._refuse(partition, nodes[partition], "norm", why, item.payload.norm)
        return [item for item in received if item.payload.norm <= bound]

    def unusable(self, received: Sequence[Received], nodes: Mapping[int, int], why: str) -> None:
        """Note that the model isn't finite with the average of a round, and whose update is the largest of it."""
        largest = max(received, key=lambda item: item.payload.norm)
        partition, norm = largest.answer.partition, largest.payload.norm
        text = f"with the round's average {why}; the largest update, of L2 norm {norm:g}, is this client's"
        self._refuse(partition, nodes[partition], "not_finite", text, norm)

    def absent(self, partition: int) -> None:
        """Note that a client of the round isn't there, so wasn't asked."""
        self._refuse(partition, None, "absent", "not connected when the round began")

    def unserved(self, partition: int, node: int, why: str) -> None:
        """Note that a client trains by a file that can't be made."""
        self._refuse(partition, node, "training_file", why)

    def stuck(self, answers: Iterable[Received], nodes: Mapping[int, int]) -> None:
        """Refuse those that ask for the dense model after they got it."""
        for received in answers:
            if not received.size:
                partition = received.answer.partition
                self._refuse(partition, nodes[partition], "stuck", "asked again for the model after it got it")

    def _refuse(self, client: int | None, node: int | None, reason: str, why: str, norm: float | None = None) -> None:
        who = f"client {client}" if node is None else node
        if (who, reason) not in self._refused:
            why = harmless(why)
            log.warning("round %d: refused client %s (node %s): %s: %s", self._round, client, node, reason, why)
            known = {} if norm is None or not math.isfinite(norm) else {"norm": norm}
            self._refused[who, reason] = {"client": client, "node": node, "reason": reason, "why": why, **known}


def _received(message: Message, partition: int, check: Check | None) -> Received | Refusal:
    """Read the reply of a node that was asked as a partition, and check its update where there is one to check."""
    answer = read(message)
    if isinstance(answer, Refusal):
        return answer
    if answer.partition != partition:
        return Refusal("partition", f"answers as client {answer.partition}, which another node is")
    if check is None or answer.needs_dense:
        return Received(answer, None, len(answer.blob))
    return _checked(answer, check)


def _checked(answer: Answer, check: Check) -> Received:
    """Check an answer's update, whose bytes aren't needed any more then."""
    return Received(replace(answer, blob=b""), check(answer), len(answer.blob))
