"""One reply of a client: what it says, or why it can't be used."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from flwr.app import Message

from clients.node.transport import from_records
from fedkd.exchange.blob import PayloadError
from fedkd.exchange.codec import Payload
from fedkd.objectives.metric import Scale
from fedkd.protocol.experiment import Experiment
from fedkd.protocol.federation import header_of, known_bases
from fedkd.protocol.messages import PEAK_BYTES, PERSONAL, SECONDS, SHARED_PERSONAL, Answer, read_answer, teacher_key
from fedkd.protocol.state import ServerState

# Norm of an update from which on sums over clients and rounds might leave float32, whatever ``guard.norm`` says.
_LARGEST_NORM = 1e30
_COLOURS = re.compile(r"\x1b\[[\d;]*m")  # Keras writes some into what it raises
_LENGTH = 300  # characters of what is said of a client in a log


class TooLargeError(PayloadError):
    """An update is larger than any is taken.

    Args:
        norm: Its L2 norm.
        bound: What is taken at most.
    """

    def __init__(self, norm: float, bound: float) -> None:
        super().__init__("norm", f"the update's L2 norm is {norm:g}, at most {bound:g} is taken")
        self.norm = norm


class Refusal(NamedTuple):
    """Why something can't be used: a code for logs and histories, a sentence that says it, an update's L2 norm."""

    reason: str
    why: str
    norm: float | None = None


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
        return Refusal(error.reason, str(error), error.norm if isinstance(error, TooLargeError) else None)


def check_update(answer: Answer, state: ServerState, experiment: Experiment) -> Payload:
    """Check an answer's update and decode it.

    Args:
        answer: One that holds an update.
        state: The server's state in the round.
        experiment: The round's, see ``Experiment.at``.

    Raises:
        PayloadError: Its ``reason`` is weight, metrics, norm, or one of those of ``fedkd.exchange.codec.decode``.
    """
    settings = experiment.config.guard
    if type(answer.examples) is not int or not 1 <= answer.examples <= settings.most_examples:
        rule = f"must be a whole number from 1 to {settings.most_examples}"
        raise PayloadError("weight", f"trained on {harmless(str(answer.examples))} examples, {rule}")
    _check_metrics(answer, experiment.metrics)
    bases = known_bases(experiment, state.round, state.steps[-1].blob)
    header = header_of(state.round, state.digest, experiment)
    payload = experiment.received(answer.blob, state.round, bases, header)
    bound = settings.norm or _LARGEST_NORM
    if not payload.norm <= bound:
        raise TooLargeError(payload.norm, bound)
    return experiment.counted(payload, bases)


def _check_metrics(answer: Answer, metrics: Sequence[Scale]) -> None:
    """Raise PayloadError where a client says something of itself that can't be, such as a teacher's accuracy of 50."""
    shares = {teacher_key(metric.name): f"its teacher's {metric.label}" for metric in metrics if metric.unit == "%"}
    if metrics[0].unit == "%":
        shares[PERSONAL] = f"its teacher's {metrics[0].label}"
        shares[SHARED_PERSONAL] = f"the shared model's {metrics[0].label}"
    for name, value in answer.metrics.items():
        if name in shares and not 0 <= value <= 1:
            raise PayloadError("metrics", f"says that {shares[name]} is {value:g}, must be from 0 to 1")
    if (seconds := answer.metrics.get(SECONDS, 0)) < 0:
        raise PayloadError("metrics", f"says that it worked for {seconds:g} s, must be at least 0")
    if (peak := answer.metrics.get(PEAK_BYTES, 0)) < 0:
        raise PayloadError("metrics", f"says that its process had {peak:g} bytes, must be at least 0")


def harmless(words: str) -> str:
    """Make a line for a log of words that a client chose: not too long, and no control characters.

    >>> harmless("bad\\x1b[2J\\nround 1: all is well")
    'bad?[2J round 1: all is well'
    >>> harmless("Exception in Mine.call(): \\x1b[1mno such shape\\x1b[0m")
    'Exception in Mine.call(): no such shape'
    """
    line = " ".join(_COLOURS.sub("", words)[:_LENGTH].split())
    return "".join(c if c.isprintable() else "?" for c in line)
