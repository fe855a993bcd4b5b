"""What a run has shown: figures for ``summary.json`` from its rounds and its models."""

from pathlib import Path
from typing import Any

import numpy as np

from fedkd.edge.convert import convert
from fedkd.edge.prune import prune, sparsity_of
from fedkd.edge.runtime import describe, predict
from fedkd.experiment import Experiment
from fedkd.federation import kernels
from fedkd.models.inspect import layer_modules, logits_model
from fedkd.tensors import Weights, digest

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


def to_device(experiment: Experiment, final: Weights, folder: Path) -> list[Record]:
    """Prune, convert and measure the final shared model in LiteRT over the whole test set.

    Args:
        experiment: Its test set, and the server's rows for the ranges of int8.
        final: Weights of the shared model after the last round.
        folder: Where ``student_*.tflite`` go.

    Returns:
        A row a precision; one whose conversion failed has ``error`` instead of figures.
    """
    config, test = experiment.config, experiment.task.test
    shared = experiment.trainer.learners[config.exchange.shared].model
    which = kernels(experiment.spec)
    pruned = prune(final, config.edge.sparsity, which)
    logits_model(shared, pruned).save(folder / "student_pruned.keras")
    expected = experiment.trainer.logits(config.exchange.shared, pruned, test.x).argmax(-1)
    calibration = experiment.task.train.take(experiment.calibration).x
    rows: list[Record] = []
    precisions, modules = config.edge.wanted, layer_modules(shared)
    for item in convert(folder / "student_pruned.keras", calibration, folder, precisions, modules=modules):
        if item.path is None:
            rows.append({"path": None, "precision": item.precision, "error": item.error})
            continue
        found = predict(item.path, test.x).argmax(-1)
        size = describe(item.path)
        rows.append(
            {
                "path": item.path.name,
                "precision": item.precision,
                "sparsity": sparsity_of(pruned, which),
                "bytes": size["bytes"],
                "gzip_bytes": size["gzip_bytes"],
                "accuracy": float(np.mean(found == test.y)),
                "agreement": float(np.mean(found == expected)),
            }
        )
    return rows


def summarise(
    experiment: Experiment, name: str, engine: str, history: list[Record], shared: Weights, seconds: float
) -> Record:
    """Return the summary of a run, but for its device files.

    Args:
        experiment: What was run.
        name: Of the run.
        engine: Which engine ran the clients.
        history: A record a round.
        shared: The shared model at the end of training, before the finishing rounds.
        seconds: All rounds together.
    """
    config = experiment.config
    last = next(r for r in history if r["round"] == config.rounds)
    updates = sum(len(r["participants"]) for r in history)
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
            "majority": experiment.task.majority,
        },
        "traffic": traffic(experiment, history),
        "speed": {"seconds": seconds, "client_updates_per_second": updates / seconds},
        "shared_sha256": digest(shared) if shared else None,
    }
    f1 = {"f1_positive": "shared_f1", "teacher_f1": "teacher_f1"}
    return summary | {name: last[key] for name, key in f1.items() if key in last}
