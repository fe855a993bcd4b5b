"""What a run has shown: figures for ``summary.json`` from its rounds."""

from collections.abc import Sequence

from fedkd.base.tensors import Weights, digest
from fedkd.base.versions import versions
from fedkd.protocol.experiment import Experiment
from fedkd.results.class_figures import over_rounds
from fedkd.results.round import Round
from fedkd.results.summary import Quality, Summary
from fedkd.results.task_record import TaskRecord


def task_record(experiment: Experiment) -> TaskRecord:
    """What ``task.json`` says of a run's task."""
    task = experiment.task
    objective = task.objective
    return TaskRecord(
        experiment.config.task,
        objective.kind,
        experiment.metrics,
        objective.names,
        objective.baseline_label,
        None if task.inputs is None else {"mean": task.inputs.mean, "scale": task.inputs.scale},
        objective.units,
    )


def traffic(experiment: Experiment, history: Sequence[Round]) -> dict[str, float | None]:
    """Bytes a client sent and received, beside those of FedAvg over the same rounds and clients.

    All are means over the clients of the federation, of encoded payloads; FedAvg would send the whole model, without
    adapters and but for what is frozen in it, up and down as float32 in each round a client takes part in (first the
    initial model, which here follows from the seed). Finishing rounds count on both sides. A reduction is None where
    nothing is sent.
    """
    clients = experiment.config.clients
    up, down = sum(r.up_bytes for r in history) / clients, sum(r.down_bytes for r in history) / clients
    exchanges = 2 * sum(len(r.participants) for r in history) / clients
    dense = {role: 4 * count * exchanges for role, count in experiment.moving_parameters.items()}
    return {
        "up_bytes_per_client": up,
        "down_bytes_per_client": down,
        "dense_teacher_bytes_per_client": dense["teacher"],
        "dense_student_bytes_per_client": dense["student"],
        "reduction_vs_teacher": dense["teacher"] / (up + down) if up + down else None,
        "reduction_vs_student": dense["student"] / (up + down) if up + down else None,
    }


def summarise(experiment: Experiment, name: str, engine: str, history: Sequence[Round], shared: Weights) -> Summary:
    """Return the summary of a run, but for its device files.

    Args:
        experiment: What was run.
        name: The run's.
        engine: Which engine ran the clients.
        history: All rounds.
        shared: The shared model at the end of training, before the finishing rounds.
    """
    config = experiment.config
    deciding, *others = (metric.name for metric in experiment.metrics)
    last = next(r for r in history if r.number == config.rounds)
    finished = history[-1].shared if history[-1].number > config.rounds else {}
    updates, seconds = sum(len(r.participants) for r in history), history[-1].elapsed or 0.0
    return Summary(
        name=name,
        method=config.method,
        task=config.task,
        seed=config.seed,
        engine=engine,
        rounds=config.rounds,
        finish_rounds=config.total_rounds - config.rounds,
        clients=config.clients,
        shared=config.exchange.shared if config.ships else "none",
        parameters=experiment.parameters,
        metrics=experiment.metrics,
        quality=Quality(
            last.shared[deciding],
            last.teacher_mean,
            last.teacher_std,
            last.teacher_personal,
            experiment.task.baseline,
            finished.get(deciding),
        ),
        others={
            other: Quality(last.shared.get(other), last.teacher_others.get(other), finished=finished.get(other))
            for other in others
        },
        by_class=over_rounds(last.by_class, [r.by_class for r in history]),
        traffic=traffic(experiment, history),
        speed={"seconds": seconds, "client_updates_per_second": updates / seconds},
        shared_sha256=digest(shared) if shared else None,
        versions=versions(),
    )
