"""One reply of a client: what it says, or why it can't be used."""

import math
from typing import NamedTuple

from flwr.app import Message

from clients.node.transport import from_records
from fedkd.base.tensors import squared_norm
from fedkd.exchange.blob import PayloadError
from fedkd.exchange.codec import Payload, decode
from fedkd.protocol.experiment import Experiment
from fedkd.protocol.federation import header_of, known_bases
from fedkd.protocol.messages import Answer, read_answer
from fedkd.protocol.state import ServerState

# Norm of an update from which on sums over clients and rounds might leave float32, whatever ``guard.norm`` says.
_LARGEST_NORM = 1e30
_LENGTH = 300  # characters of what is said of a client in a log


class Refusal(NamedTuple):
    """Why something can't be used: a code for logs and histories, and a sentence that says it."""

    reason: str
    why: str


def read(message: Message) -> Answer | Refusal:
    """Read a reply, but not its update."""
    if message.has_error():
        return Refusal("error", str(message.error.reason))
    try:
        return read_answer(from_records("answer", message))
    except (KeyError, TypeError, ValueError) as error:
        return Refusal("malformed", repr(error))


def update_of(answer: Answer, state: ServerState, experiment: Experiment) -> Payload | Refusal:
    """Decode an answer's update, or say what ``check_update`` finds wrong with it."""
    try:
        return check_update(answer, state, experiment)
    except PayloadError as error:
        return Refusal(error.reason, str(error))


def check_update(answer: Answer, state: ServerState, experiment: Experiment) -> Payload:
    """Check an answer's update and decode it.

    Args:
        answer: One that holds an update.
        state: The server's state in the round.
        experiment: The round's, see ``experiment_at``.

    Raises:
        PayloadError: Its ``reason`` is weight, norm, or one of those of ``fedkd.exchange.codec.decode``.
    """
    settings = experiment.config.guard
    if type(answer.examples) is not int or not 1 <= answer.examples <= settings.most_examples:
        rule = f"must be a whole number from 1 to {settings.most_examples}"
        raise PayloadError("weight", f"trained on {harmless(str(answer.examples))} examples, {rule}")
    bases = known_bases(experiment, state.round, state.steps[-1].blob)
    payload = decode(answer.blob, experiment.spec, bases, header_of(state.round, state.digest, experiment))
    bound, norm = settings.norm or _LARGEST_NORM, math.sqrt(squared_norm(payload.tensors))
    if not norm <= bound:
        raise PayloadError("norm", f"the update's L2 norm is {norm:g}, at most {bound:g} is taken")
    return payload


def harmless(words: str) -> str:
    """Make a line for a log of words that a client chose: not too long, and no control characters.

    >>> harmless("bad\\x1b[2J\\nround 1: all is well")
    'bad?[2J round 1: all is well'
    """
    line = " ".join(words[:_LENGTH].split())
    return "".join(c if c.isprintable() else "?" for c in line)
