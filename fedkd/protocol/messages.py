"""Offers and answers as flat tables of scalars and bytes, which any transport can carry (Flower: ConfigRecord)."""

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fedkd.objectives.metric import is_name
from fedkd.protocol.state import Offer, Step

Fields = dict[str, Any]

PERSONAL = "teacher_personal"  # quality of a client's teacher, by the deciding metric, on what the client held out
SHARED_PERSONAL = "shared_personal"  # the same of the shared model, as the client had it when its round began
SECONDS = "seconds"  # how long a client worked on its answer
PEAK_BYTES = "peak_bytes"  # the most memory that its process had, where that is one of its own
_TEACHER = "teacher."  # before the name of a metric: quality of a client's teacher on the test set
# What else a client may report of itself: mean losses, and what its process took to start.
_OTHERS = {"loss_teacher", "loss_student", "import_seconds", SHARED_PERSONAL, SECONDS, PEAK_BYTES}

_ANSWER_FIELDS = {"partition", "blob", "examples", "metric_names", "metric_values", "training_file", "class"}
# Of an answer: more figures than any client has, and a size that no sum over clients makes infinite.
_MOST_METRICS = 32
_LARGEST = 1e100
_FILE = re.compile("([0-9a-f]{64})?")


def teacher_key(metric: str) -> str:
    """What a client calls its teacher's quality by a metric of this name."""
    return _TEACHER + metric


def is_of_teacher(name: object) -> bool:
    """Tell whether a client's figure is of its teacher's quality, by whatever metric.

    >>> is_of_teacher("teacher.accuracy"), is_of_teacher("teacher_personal"), is_of_teacher("teacher.a b")
    (True, True, False)
    """
    if not isinstance(name, str):
        return False
    return name == PERSONAL or (name.startswith(_TEACHER) and is_name(name.removeprefix(_TEACHER)))


@dataclass(frozen=True)
class Answer:
    """What a client replies to an offer.

    Args:
        partition: Which client it is.
        blob: Its encoded update; empty where it asks for the dense model, or a training file, instead.
        examples: How many examples it trained on.
        metrics: Losses and, in rounds of evaluation, the quality of its teacher.
        training_file: None of a client that has TensorFlow; of another the SHA-256 of the file by which it could train,
            empty where it has none. It then asks for the one of the round.
        device_class: Of a node that says which class of devices it is of, when it is asked who it is; else empty.
    """

    partition: int
    blob: bytes = b""
    examples: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    training_file: str | None = None
    device_class: str = ""

    @property
    def needs_dense(self) -> bool:
        """The client is new, missed rounds, lost its state or its training file, and couldn't follow the steps."""
        return not self.blob


def offer_fields(offer: Offer) -> Fields:
    """Return the table for an offer."""
    return {
        "round": offer.round,
        "base": offer.base,
        "energy": offer.energy,
        "sparsity": offer.sparsity,
        "dense": offer.dense,
        "removed_channels": list(offer.removed_channels),
        "run": offer.run,
        "step_rounds": [step.round for step in offer.steps],
        "steps": b"".join(step.blob for step in offer.steps),
        "step_sizes": [len(step.blob) for step in offer.steps],
        "step_sparsities": [step.sparsity for step in offer.steps],
        "training_file": offer.training_file,
        "training": offer.training,
    }


def read_offer(fields: Mapping[str, Any]) -> Offer:
    """Return the offer a table holds; raises KeyError or ValueError where it holds none."""
    ends = [0, *itertools.accumulate(fields["step_sizes"])]
    blobs = [fields["steps"][start:end] for start, end in itertools.pairwise(ends)]
    columns = (fields["step_rounds"], blobs, fields["step_sparsities"])
    steps = tuple(Step(*row) for row in zip(*columns, strict=True))
    first = (fields["round"], fields["base"], fields["energy"], fields["sparsity"])
    training = (fields["training_file"], fields["training"])
    return Offer(*first, steps, fields["dense"], tuple(fields["removed_channels"]), fields["run"], *training)


def answer_fields(answer: Answer) -> Fields:
    """Return the table for an answer."""
    names = sorted(answer.metrics)
    return {
        "partition": answer.partition,
        "blob": answer.blob,
        "examples": answer.examples,
        "metric_names": names,
        "metric_values": [float(answer.metrics[name]) for name in names],
        **({} if answer.training_file is None else {"training_file": answer.training_file}),
        **({"class": answer.device_class} if answer.device_class else {}),
    }


def read_answer(fields: Mapping[str, Any]) -> Answer:
    """Return the answer a table holds; its number of examples may be anything, for the server to judge.

    Metrics of names that mean nothing to this server are left out: a newer client may have more.

    Raises:
        KeyError, TypeError, ValueError: The table holds no answer.
    """
    if unknown := set(fields) - _ANSWER_FIELDS:
        raise ValueError(f"{min(map(repr, unknown))[:40]} is no field of an answer")
    names = fields["metric_names"]
    if len(set(names)) < len(names):
        raise ValueError("metric_names holds one name twice")
    pairs = list(zip(names, fields["metric_values"], strict=True))
    metrics = {name: value for name, value in pairs if name in _OTHERS or is_of_teacher(name)}
    file = fields.get("training_file")
    first = (fields["partition"], fields["blob"], fields["examples"])
    answer = Answer(*first, metrics, file, fields.get("class", ""))
    if (type(answer.partition), type(answer.blob)) != (int, bytes):
        raise ValueError("partition must be a whole number, blob bytes")
    if file is not None and not (isinstance(file, str) and _FILE.fullmatch(file)):
        raise ValueError("training_file must be 64 hex digits, or empty")
    if type(answer.device_class) is not str:
        raise ValueError("class must be text")
    if len(pairs) > _MOST_METRICS:
        raise ValueError(f"{len(pairs)} metrics, must be {_MOST_METRICS} at most")
    if not all(type(v) is float and abs(v) <= _LARGEST for v in metrics.values()):
        raise ValueError(f"metrics must be finite numbers, {_LARGEST:g} at most")
    return answer
