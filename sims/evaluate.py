"""A device file over a task's whole test set."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from rich.console import Console

from fedkd.base.affine import beyond
from fedkd.base.errors import InputError
from fedkd.config.config import Scalar
from fedkd.config.settings import build, read_toml
from fedkd.edge.measure import Measurement, measure
from fedkd.edge.runtimes import RUNTIMES
from fedkd.objectives.metric import ACCURACY
from fedkd.objectives.objective import Objective, quality
from fedkd.tasks.registry import load_task
from sims.terminal import warn

_MANY = 0.1  # share of an example's numbers, as on devices


def evaluate(file: Path, task: str, runtime: str, given: Mapping[str, Scalar], console: Console) -> str:
    """Run a device file over a task's whole test set.

    Args:
        file: A TFLite file; the configuration of a run beside it says what the task's data were.
        task: Its name.
        runtime: Name of one of ``fedkd.edge.runtimes.RUNTIMES``.
        given: Settings by dotted keys, which win over those of the run.
        console: Where to warn of test examples that the file's input can't hold.

    Returns:
        What it reached, as a line: its metrics and, where the runtime has an arena, the memory it needs.

    Raises:
        InputError: An argument breaks a rule, or the runtime can't run the file.
    """
    if runtime not in RUNTIMES:
        raise InputError(f"--runtime must be one of {', '.join(RUNTIMES)}, got {runtime!r}")
    beside = file.parent / "config.toml"
    config = build((_of_task(read_toml(beside), task) if beside.exists() else {}) | dict(given))
    found = load_task(task, config.model, config.data)
    test, objective = found.test, found.objective
    made = measure(file, test.x, [runtime])
    outputs, arena = made.outputs[runtime], made.arena
    if outputs.shape[1] not in objective.links:
        wanted = " or ".join(map(str, objective.links))
        raise InputError(f"{file}: gives {outputs.shape[1]} outputs, task {task!r} takes {wanted}")
    memory = f", arena {arena.total:,} B ({arena.head:,} B of activations)" if arena else ""
    if said := _cut_off(test.x, made):
        warn(console, said)
    return f"{file}: {_reached(objective, outputs, test.y, runtime)}{memory}"


def _cut_off(x: np.ndarray, made: Measurement) -> str:
    """Say how many examples a file's input cuts off in many of their numbers; empty where it holds them."""
    if made.held is None or not (count := int((beyond(x, *made.held) > _MANY).sum())):
        return ""
    low, high, _ = made.held
    return (
        f"{count} of {len(x)} test examples have more than {_MANY:.0%} of their numbers beyond {low:.3g} to {high:.3g},"
        " all that the file's input holds: answers to these mean nothing; was it made for data of another scale?"
    )


def _reached(objective: Objective, outputs: np.ndarray, target: np.ndarray, runtime: str) -> str:
    """Every metric; of classes the accuracy, with how many are right."""
    figures, total = quality(objective, outputs, target), len(target)
    if objective.kind != "classification":
        words = ", ".join(f"{metric.label} {metric.text(figures[metric.name])}" for metric in objective.metrics)
        return f"{words} in {runtime} ({total} test examples)"
    share = figures[ACCURACY.name]
    return f"accuracy {share:.4f} in {runtime} ({round(share * total)} of {total} test examples)"


def _of_task(run: Mapping[str, Scalar], task: str) -> dict[str, Scalar]:
    """What reading a task's test set takes from the settings of a run: sizes of its models, and its file of data."""
    settings = {key: value for key, value in run.items() if key.startswith("model.")}
    return settings | {"data": run["data"]} if run.get("task") == task and "data" in run else settings
