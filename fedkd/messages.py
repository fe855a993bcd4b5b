"""Offers and answers as flat tables of scalars and bytes, which any transport can carry (Flower: ConfigRecord)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fedkd.protocol import Offer, Step

Fields = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """What a client replies to an offer.

    Args:
        partition: Which client it is.
        blob: Its encoded update; empty where it asks for the dense model instead.
        examples: How many examples it trained on.
        metrics: Losses and, in rounds of evaluation, the quality of its teacher.
    """

    partition: int
    blob: bytes = b""
    examples: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def needs_dense(self) -> bool:
        """The client is new, missed rounds or lost its state, and couldn't follow the steps."""
        return not self.blob


def offer_fields(offer: Offer) -> Fields:
    """Return the table for an offer."""
    return {
        "round": offer.round,
        "base": offer.base,
        "energy": offer.energy,
        "sparsity": offer.sparsity,
        "dense": offer.dense,
        "gone": list(offer.gone),
        "run": offer.run,
        "step_rounds": [step.round for step in offer.steps],
        "step_blobs": [step.blob for step in offer.steps],
        "step_sparsities": [step.sparsity for step in offer.steps],
    }


def read_offer(fields: Mapping[str, Any]) -> Offer:
    """Return the offer a table holds; raises KeyError or ValueError where it holds none."""
    columns = (fields["step_rounds"], fields["step_blobs"], fields["step_sparsities"])
    steps = tuple(Step(*row) for row in zip(*columns, strict=True))
    first = (fields["round"], fields["base"], fields["energy"], fields["sparsity"])
    return Offer(*first, steps, fields["dense"], tuple(fields["gone"]), fields["run"])


def answer_fields(answer: Answer) -> Fields:
    """Return the table for an answer."""
    names = sorted(answer.metrics)
    return {
        "partition": answer.partition,
        "blob": answer.blob,
        "examples": answer.examples,
        "metric_names": names,
        "metric_values": [float(answer.metrics[name]) for name in names],
    }


def read_answer(fields: Mapping[str, Any]) -> Answer:
    """Return the answer a table holds; raises KeyError or ValueError where it holds none."""
    metrics = dict(zip(fields["metric_names"], fields["metric_values"], strict=True))
    answer = Answer(fields["partition"], fields["blob"], fields["examples"], metrics)
    if [type(v) for v in (answer.partition, answer.blob, answer.examples)] != [int, bytes, int]:
        raise ValueError("partition and examples must be whole numbers, blob bytes")
    if not all(isinstance(v, float) and math.isfinite(v) for v in metrics.values()):
        raise ValueError("metrics must be finite numbers")
    return answer
