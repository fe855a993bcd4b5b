"""A device file over a task's whole test set."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fedkd.base.errors import InputError
from fedkd.config.config import Scalar
from fedkd.config.settings import build, read_toml
from fedkd.objectives.objective import quality
from fedkd.tasks.registry import load_task

RUNTIMES = ("litert", "litert_reference", "tflm")


def evaluate(file: Path, task: str, runtime: str, given: Mapping[str, Scalar]) -> str:
    """Run a device file over a task's whole test set.

    Args:
        file: A TFLite file; the configuration of a run beside it says what the task's data were.
        task: Its name.
        runtime: One of ``RUNTIMES``.
        given: Settings by dotted keys, which win over those of the run.

    Returns:
        What it reached, as a line: accuracy and, in tflm, the memory it needs.

    Raises:
        InputError: An argument breaks a rule, or the runtime can't run the file.
    """
    if runtime not in RUNTIMES:
        raise InputError(f"--runtime must be one of {', '.join(RUNTIMES)}, got {runtime!r}")
    beside = file.parent / "config.toml"
    config = build((_of_task(read_toml(beside), task) if beside.exists() else {}) | dict(given))
    found = load_task(task, config.model, config.data)
    test, objective = found.test, found.objective
    outputs, memory = _answers(file, runtime, test.x)
    if outputs.shape[1] not in objective.links:
        wanted = " or ".join(map(str, objective.links))
        raise InputError(f"{file}: gives {outputs.shape[1]} outputs, task {task!r} takes {wanted}")
    if objective.kind != "classification":
        figures = quality(objective, outputs, test.y)
        words = ", ".join(f"{metric.label} {metric.text(figures[metric.name])}" for metric in objective.metrics)
        return f"{file}: {words} in {runtime} ({len(test)} test examples){memory}"
    right = int((objective.answers(outputs) == test.y).sum())
    return f"{file}: accuracy {right / len(test):.4f} in {runtime} ({right} of {len(test)} test examples){memory}"


def _answers(file: Path, runtime: str, x: np.ndarray) -> tuple[np.ndarray, str]:
    """A file's logits, and what to say of its memory."""
    if runtime != "tflm":
        from fedkd.edge.litert import run_lite

        return run_lite(file, x, "xnnpack" if runtime == "litert" else "reference").logits, ""
    from fedkd.edge.tflm import run_micro

    logits, arena = run_micro(file, x)
    return logits, f", arena {arena.total:,} B ({arena.head:,} B of activations)"


def _of_task(run: Mapping[str, Scalar], task: str) -> dict[str, Scalar]:
    """What reading a task's test set takes from the settings of a run: sizes of its models, and its file of data."""
    settings = {key: value for key, value in run.items() if key.startswith("model.")}
    return settings | {"data": run["data"]} if run.get("task") == task and "data" in run else settings
