"""What is worth knowing of a round: a line of ``history.jsonl``."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fedkd.base.tensors import Weights
from fedkd.exchange.codec import Payload
from fedkd.protocol.experiment import Experiment
from fedkd.protocol.messages import Answer
from server.validation import Received

Record = dict[str, Any]
Quality = Mapping[int, Mapping[str, float]]


def figures_of(experiment: Experiment, round_: int, received: Sequence[Received], broadcast: Payload | None) -> Record:
    """Settings of a round, who took part, their mean losses, and the ranks of what was sent.

    Args:
        experiment: Of the round.
        round_: Its number.
        received: The updates that were averaged.
        broadcast: None where the round had too few answers.
    """
    config, answers = experiment.config, [r.answer for r in received]
    return {
        "round": round_,
        "rounds": config.total_rounds,
        "phase": "train" if round_ <= config.rounds else "finish",
        "sparsity": experiment.sparsity(round_),
        "energy": experiment.energy(round_),
        "participants": [a.partition for a in answers],
        "closed": broadcast is not None,
        "loss": {
            r: _mean([a.metrics[k] for a in answers if (k := f"loss_{r}") in a.metrics])
            for r in experiment.trainer.learners
        },
        "ranks": _ranks(experiment, received, broadcast) if broadcast else {},
    }


def bytes_of(experiment: Experiment, answers: Sequence[Answer], down: int) -> dict[str, int]:
    """Bytes of payload of a round; where no model is shared, blobs are headers without any."""
    up = sum(len(a.blob) for a in answers)
    return {"up_bytes": up, "down_bytes": down} if experiment.shares else {"up_bytes": 0, "down_bytes": 0}


def shared_figures(experiment: Experiment, shared: Weights, measured: Quality) -> dict[str, float | None]:
    """Quality of the shared model; where none is shared, the mean of the clients' own."""
    if experiment.shares:
        role, threads = experiment.config.exchange.shared, experiment.threads
        found: dict[str, float | None] = dict(experiment.quality(role, shared, threads))
    else:
        names = {"teacher": "accuracy", "teacher_f1": "f1"}
        found = {n: _mean([q[key] for q in measured.values() if key in q]) for key, n in names.items()}
    return {f"shared_{name}": value for name, value in found.items() if name == "accuracy" or value is not None}


def teacher_figures(quality: Quality) -> dict[str, float | None]:
    """Mean and spread over clients of the accuracy of their teachers, None where nothing was measured.

    Where there are two classes, their mean F1 too.
    """
    on_test = [q["teacher"] for q in quality.values() if "teacher" in q]
    personal = [q["teacher_personal"] for q in quality.values() if "teacher_personal" in q]
    f1 = [q["teacher_f1"] for q in quality.values() if "teacher_f1" in q]
    figures = {
        "teacher_mean": _mean(on_test),
        "teacher_std": float(np.std(on_test)) if on_test else None,
        "teacher_personal": _mean(personal),
    }
    return figures | ({"teacher_f1": _mean(f1)} if f1 else {})


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _ranks(experiment: Experiment, received: Sequence[Received], broadcast: Payload) -> dict[str, list[float | None]]:
    """For each kernel: rank of the broadcast, mean rank of the updates (None where all went dense), full rank."""
    ups = np.array([r.payload.ranks for r in received], float)
    table: dict[str, list[float | None]] = {}
    for i, item in enumerate(experiment.spec):
        full = min(item.matrix)
        if full > 1:
            dense = ups[:, i] < 0
            up = None if dense.all() else float(np.where(dense, full, ups[:, i]).mean())
            table[item.name] = [None if broadcast.ranks[i] < 0 else broadcast.ranks[i], up, full]
    return table
