"""What the server lets into a round: each answer is checked before anything is averaged, and a refused one is named.

A node that had anything refused in a round has no say in it: the round is, bit for bit, the one without it.
"""

import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from flwr.app import Message

from fedkd.exchange.blob import PayloadError
from fedkd.exchange.codec import Payload, decode
from fedkd.experiment import Experiment
from fedkd.federation import header_of, known_bases
from fedkd.messages import Answer, read_answer
from fedkd.parts import joined
from fedkd.protocol import ServerState
from fedkd.sections import GuardConfig
from fedkd.tensors import squared_norm

log = logging.getLogger("fedkd.server")

# Norm of an update from which on sums over clients and rounds might leave float32, whatever ``guard.norm`` says.
_LARGEST_NORM = 1e30


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
            answer = self._read(None, node, message)
            if answer is None:
                continue
            if not 0 <= answer.partition < clients:
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

    def answers(self, replies: Iterable[Message], asked: Mapping[int, int]) -> list[Answer]:
        """Read what nodes reply.

        Args:
            replies: In any order.
            asked: Node of each partition that was asked.

        Returns:
            Answers of asked nodes that replied once, as themselves, in the order of their partitions.
        """
        found: dict[int, list[Message]] = {}
        unsigned, nodes = [], set(asked.values())
        for message in replies:
            if (node := message.metadata.src_node_id) in nodes:
                found.setdefault(node, []).append(message)
            elif message.has_error():  # Flower's, on behalf of a node that it doesn't name
                unsigned.append(message.error.reason)
            else:
                self._refuse(None, node, "unasked", "answered, and wasn't asked")
        why = unsigned[0] if unsigned else f"no answer within {self._settings.deadline:g} s"
        for partition, node in asked.items():
            if node not in found:
                self._refuse(partition, node, "no_answer", str(why))
            elif len(found[node]) > 1:
                self._refuse(partition, node, "duplicate", f"{len(found[node])} answers where one was asked for")
        single = [(p, node, found[node][0]) for p, node in sorted(asked.items()) if len(found.get(node, ())) == 1]
        return [answer for p, node, message in single if (answer := self._read(p, node, message)) is not None]

    def updates(
        self, answers: Iterable[Answer], nodes: Mapping[int, int], state: ServerState, experiment: Experiment
    ) -> list[Received]:
        """Check and decode the updates of a round.

        Args:
            answers: All of the round; those that asked for the dense model hold no update.
            nodes: Node of each partition.
            state: Of the round.
            experiment: Of the round.

        Returns:
            In the order of partitions.
        """
        received, silenced = [], {node for node, _ in self._refused}
        for answer in sorted((a for a in answers if not a.needs_dense), key=lambda a: a.partition):
            if (node := nodes[answer.partition]) in silenced:
                continue
            try:
                received.append(Received(answer, check_update(answer, state, experiment)))
            except PayloadError as error:
                self._refuse(answer.partition, node, error.reason, str(error))
        return received

    def absent(self, partition: int) -> None:
        """Note that a client of the round isn't there, so wasn't asked."""
        self._refuse(partition, None, "absent", "not connected when the round began")

    def stuck(self, answers: Iterable[Answer], nodes: Mapping[int, int]) -> None:
        """Refuse those that ask for the dense model after they got it."""
        for answer in answers:
            if answer.needs_dense:
                node = nodes[answer.partition]
                self._refuse(answer.partition, node, "stuck", "asked for the dense model again after it got it")

    def _read(self, partition: int | None, node: int, message: Message) -> Answer | None:
        """Read a reply of a node that was asked as a partition, None before it is known; or note what is wrong."""
        if message.has_error():
            self._refuse(partition, node, "error", str(message.error.reason))
            return None
        try:
            answer = read_answer(joined("answer", message.content.config_records))
        except (KeyError, TypeError, ValueError) as error:
            self._refuse(partition, node, "malformed", repr(error))
            return None
        if partition is not None and answer.partition != partition:
            self._refuse(partition, node, "partition", f"answers as client {answer.partition}, which another node is")
            return None
        return answer

    def _refuse(self, client: int | None, node: int | None, reason: str, why: str) -> None:
        who = f"client {client}" if node is None else node
        if (who, reason) not in self._refused:
            why = _harmless(why)
            log.warning("round %d: refused client %s (node %s): %s: %s", self._round, client, node, reason, why)
            self._refused[who, reason] = {"client": client, "node": node, "reason": reason, "why": why}


def check_update(answer: Answer, state: ServerState, experiment: Experiment) -> Payload:
    """Check an answer's update and decode it.

    Args:
        answer: With an update.
        state: Of the round.
        experiment: Of the round.

    Raises:
        PayloadError: Its ``reason`` is weight, norm, or one of those of ``fedkd.exchange.codec.decode``.
    """
    settings = experiment.config.guard
    if type(answer.examples) is not int or not 1 <= answer.examples <= settings.most_examples:
        rule = f"must be a whole number from 1 to {settings.most_examples}"
        raise PayloadError("weight", f"trained on {_harmless(str(answer.examples))} examples, {rule}")
    bases = known_bases(experiment, state.round, state.steps[-1].blob)
    payload = decode(answer.blob, experiment.spec, bases, header_of(state.round, state.digest, experiment))
    bound, norm = settings.norm or _LARGEST_NORM, math.sqrt(squared_norm(payload.tensors))
    if not norm <= bound:
        raise PayloadError("norm", f"the update's L2 norm is {norm:g}, at most {bound:g} is taken")
    return payload


def _harmless(words: str) -> str:
    """Make a line for a log of words that a client chose: not too long, and no control characters.

    >>> _harmless("bad\\x1b[2J\\nround 1: all is well")
    'bad?[2J round 1: all is well'
    """
    line = " ".join(words[:_LENGTH].split())
    return "".join(c if c.isprintable() else "?" for c in line)


_LENGTH = 300
