"""What a run has shown: figures for ``summary.json`` from its rounds."""

from typing import Any

from fedkd.base.tensors import Weights, digest
from fedkd.protocol.experiment import Experiment

Record = dict[str, Any]


def traffic(experiment: Experiment, history: list[Record]) -> dict[str, float | None]:
    """Bytes a client sent and received, beside those of FedAvg over the same rounds and clients.

    All are means over the clients of the federation, of encoded payloads; FedAvg would send the whole model up and
    down as float32 in each round a client takes part in (first the initial model, which here follows from the seed).
    Finishing rounds count on both sides. A reduction is None where nothing is sent.
    """
    clients = experiment.config.clients
    up, down = (sum(r[key] for r in history) / clients for key in ("up_bytes", "down_bytes"))
    exchanges = 2 * sum(len(r["participants"]) for r in history) / clients
    dense = {role: 4 * count * exchanges for role, count in experiment.parameters.items()}
    return {
        "up_bytes_per_client": up,
        "down_bytes_per_client": down,
        "dense_teacher_bytes_per_client": dense["teacher"],
        "dense_student_bytes_per_client": dense["student"],
        "reduction_vs_teacher": dense["teacher"] / (up + down) if up + down else None,
        "reduction_vs_student": dense["student"] / (up + down) if up + down else None,
    }


def summarise(experiment: Experiment, name: str, engine: str, history: list[Record], shared: Weights) -> Record:
    """Return the summary of a run, but for its device files.

    Args:
        experiment: What was run.
        name: Of the run.
        engine: Which engine ran the clients.
        history: A record a round.
        shared: The shared model at the end of training, before the finishing rounds.
    """
    config = experiment.config
    last = next(r for r in history if r["round"] == config.rounds)
    updates, seconds = sum(len(r["participants"]) for r in history), history[-1]["elapsed"]
    teachers = {key: last[key] for key in ("teacher_mean", "teacher_std", "teacher_personal")}
    summary: Record = {
        "name": name,
        "method": config.method,
        "task": config.task,
        "seed": config.seed,
        "engine": engine,
        "rounds": config.rounds,
        "finish_rounds": config.total_rounds - config.rounds,
        "clients": config.clients,
        "parameters": experiment.parameters,
        "accuracy": {
            "shared": last["shared_accuracy"],
            **teachers,
            "majority": experiment.task.baseline,
        },
        "traffic": traffic(experiment, history),
        "speed": {"seconds": seconds, "client_updates_per_second": updates / seconds},
        "shared_sha256": digest(shared) if shared else None,
    }
    f1 = {"f1_positive": "shared_f1", "teacher_f1": "teacher_f1"}
    return summary | {name: last[key] for name, key in f1.items() if key in last}
