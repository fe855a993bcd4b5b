"""A device file over a task's whole test set."""

from collections.abc import Mapping
from pathlib import Path

from fedkd.base.errors import InputError
from fedkd.config.config import Scalar
from fedkd.config.settings import build, read_toml
from fedkd.edge.measure import measure
from fedkd.edge.runtimes import RUNTIMES
from fedkd.objectives.metric import ACCURACY, Scale
from fedkd.tasks.registry import load_task


def evaluate(file: Path, task: str, runtime: str, given: Mapping[str, Scalar]) -> str:
    """Run a device file over a task's whole test set.

    Args:
        file: A TFLite file; the configuration of a run beside it says what the task's data were.
        task: Its name.
        runtime: Name of one of ``fedkd.edge.runtimes.RUNTIMES``.
        given: Settings by dotted keys, which win over those of the run.

    Returns:
        What it reached, as a line: the deciding metric and, where the runtime has an arena, the memory it needs.

    Raises:
        InputError: An argument breaks a rule, or the runtime can't run the file.
    """
    if runtime not in RUNTIMES:
        raise InputError(f"--runtime must be one of {', '.join(RUNTIMES)}, got {runtime!r}")
    beside = file.parent / "config.toml"
    config = build((_of_task(read_toml(beside), task) if beside.exists() else {}) | dict(given))
    found = load_task(task, config.model, config.data)
    test, metric = found.test, found.objective.metrics[0]
    made = measure(file, test.x, [runtime])
    value, arena = metric.of(made.outputs[runtime], test.y), made.arena
    memory = f", arena {arena.total:,} B ({arena.head:,} B of activations)" if arena else ""
    return f"{file}: {metric.label} {value:.4f} in {runtime} ({_count(metric, value, len(test))}){memory}"


def _count(metric: Scale, value: float, total: int) -> str:
    """How many test examples there are; of an accuracy, how many of them are right."""
    right = f"{round(value * total)} of " if metric.name == ACCURACY.name else ""
    return f"{right}{total} test examples"


def _of_task(run: Mapping[str, Scalar], task: str) -> dict[str, Scalar]:
    """What reading a task's test set takes from the settings of a run: sizes of its models, and its file of data."""
    held = {key: value for key, value in run.items() if key.startswith("model.")}
    return held | {"data": run["data"]} if run.get("task") == task and "data" in run else held
