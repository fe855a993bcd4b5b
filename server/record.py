"""What is worth knowing of a round: a line of ``history.jsonl``."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fedkd.config.config import Config
from fedkd.exchange.codec import Payload
from fedkd.protocol.experiment import Experiment
from fedkd.protocol.messages import PEAK_BYTES, PERSONAL, SECONDS, SHARED_PERSONAL, is_of_teacher, teacher_key
from fedkd.results.round import Ranks, Round
from server.validation import Received

# What each client measured last of its own teacher, by the names of messages.
Quality = Mapping[int, Mapping[str, float]]


def round_of(experiment: Experiment, number: int, received: Sequence[Received], broadcast: Payload | None) -> Round:
    """Settings of a round, who took part, their mean losses, and the ranks of what was sent.

    Args:
        experiment: The round's, see ``Experiment.at``.
        number: Number of the round, from 1.
        received: The updates that were averaged.
        broadcast: None where the round had too few answers.
    """
    config, answers = experiment.config, [r.answer for r in received]
    sketches = config.exchange.sketches  # which have no ranks
    return Round(
        number=number,
        rounds=config.total_rounds,
        phase=_phase(config, number),
        sparsity=experiment.sparsity(number),
        energy=experiment.energy(number),
        participants=[a.partition for a in answers],
        closed=broadcast is not None,
        loss={role: _mean_of(f"loss_{role}", (a.metrics for a in answers)) for role in experiment.roles},
        norms=_norms(received) if experiment.shares else {},
        ranks=_ranks(experiment, received, broadcast) if broadcast and not sketches else {},
    )


def _phase(config: Config, number: int) -> str:
    if number <= config.teacher_rounds:
        return "teacher"
    return "train" if number <= config.rounds else "finish"


def of_models(metrics: Mapping[str, float]) -> dict[str, float]:
    """What a client measured of its models."""
    return {name: value for name, value in metrics.items() if is_of_teacher(name) or name == SHARED_PERSONAL}


def why_failed(number: int, usable: int, needed: int, refused: Sequence[Mapping[str, Any]]) -> str:
    """Say why a round has left the model as it is.

    Args:
        number: Of the round.
        usable: How many updates could be used.
        needed: How many a round needs.
        refused: What was, see ``UpdateValidator.refused``; the last where the average was.
    """
    found = f"{usable} usable updates where a round needs {needed}" if usable else "no usable update from any client"
    if usable >= needed:
        found, refused = "the average can't be used", refused[-1:]
    return f"round {number}: {found}" + (f": {refused[0]['why']}" if refused else "")


def with_bytes(ended: Round, experiment: Experiment, received: Sequence[Received], down: Mapping[int, int]) -> Round:
    """Add bytes of payload, those offered by partition; where no model is shared, blobs are headers without any."""
    up = sum(item.size for item in received)
    return replace(ended, up_bytes=up, down_bytes=sum(down.values())) if experiment.shares else ended


def with_clients(
    ended: Round, experiment: Experiment, received: Sequence[Received], down: Mapping[int, int], measured: bool
) -> Round:
    """Add figures of each participant.

    Args:
        ended: The round.
        experiment: The round's, see ``Experiment.at``.
        received: The updates that were averaged.
        down: Bytes of payload offered, by partition.
        measured: Whether clients measured their models in the round.
    """
    answers = [item.answer for item in received]
    found: dict[str, list[float | None]] = {"examples": [answer.examples for answer in answers]}
    if experiment.shares:
        found["up_bytes"] = [item.size for item in received]
        found["down_bytes"] = [down[answer.partition] for answer in answers]
        found["norm"] = [item.payload.norm for item in received]
    names = {SECONDS: SECONDS, PEAK_BYTES: PEAK_BYTES} | {f"loss_{role}": f"loss_{role}" for role in experiment.roles}
    if measured:
        names |= {f"teacher_{metric.name}": teacher_key(metric.name) for metric in experiment.metrics}
        names |= {PERSONAL: PERSONAL, SHARED_PERSONAL: SHARED_PERSONAL}
    for name, key in names.items():
        found[name] = [answer.metrics.get(key) for answer in answers]
    return replace(ended, clients={name: row for name, row in found.items() if set(row) != {None}})


def with_quality(ended: Round, experiment: Experiment, shared: Mapping[str, float], measured: Quality) -> Round:
    """Add the quality of the shared model and of the clients' teachers, by the task's metrics.

    Args:
        ended: The round.
        experiment: The round's, see ``Experiment.at``.
        shared: What was measured of the shared model; where the server has none, the mean of the clients' own counts.
        measured: What the clients measured; empty where this was no round for it.
    """
    deciding, *others = (metric.name for metric in experiment.metrics)
    teachers = {name: _mean_of(teacher_key(name), measured.values()) for name in (deciding, *others)}
    found: Mapping[str, float | None] = shared if experiment.config.ships else teachers
    each = _figures(teacher_key(deciding), measured.values())
    return replace(
        ended,
        shared={deciding: found[deciding]} | _known(found, others),
        teacher_mean=teachers[deciding],
        teacher_std=float(np.std(each)) if each else None,
        teacher_personal=_mean_of(PERSONAL, measured.values()),
        teacher_others=_known(teachers, others),
    )


def _known(found: Mapping[str, float | None], names: Iterable[str]) -> dict[str, float | None]:
    """The figures of these names that were measured."""
    return {name: found[name] for name in names if found.get(name) is not None}


def _figures(name: str, reported: Iterable[Mapping[str, float]]) -> list[float]:
    return [figures[name] for figures in reported if name in figures]


def _mean_of(name: str, reported: Iterable[Mapping[str, float]]) -> float | None:
    """Mean of a figure over those that reported it, None where nobody did."""
    values = _figures(name, reported)
    return float(np.mean(values)) if values else None


def _norms(received: Sequence[Received]) -> dict[str, float | None]:
    """The smallest, the middle and the largest L2 norm of updates, and which client has the largest."""
    if not received:
        return {}
    norms = [item.payload.norm for item in received]
    largest = received[int(np.argmax(norms))].answer.partition
    return {"min": min(norms), "median": float(np.median(norms)), "max": max(norms), "largest": largest}


def _ranks(experiment: Experiment, received: Sequence[Received], broadcast: Payload) -> dict[str, Ranks]:
    """For each kernel: rank of the broadcast, mean rank of the updates (None where all went dense), full rank."""
    ups = np.array([r.payload.ranks for r in received], float)
    table: dict[str, Ranks] = {}
    for i, item in enumerate(experiment.spec):
        full = min(item.matrix)
        if full > 1:
            dense = ups[:, i] < 0
            up = None if dense.all() else float(np.where(dense, full, ups[:, i]).mean())
            table[item.name] = [None if broadcast.ranks[i] < 0 else broadcast.ranks[i], up, full]
    return table
