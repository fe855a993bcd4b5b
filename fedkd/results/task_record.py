"""What a run's task is, and how its figures are read: ``task.json``, which a run writes at its start."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedkd.base.errors import InputError
from fedkd.base.task_name import FILES, parse_task
from fedkd.objectives.metric import Scale
from fedkd.results.json_fields import required
from fedkd.results.summary import read_metrics

LARGEST_CLASS = "always the largest class"


def short_task(task: str) -> str:
    """A task's name without the folders of its file: ``npz:data/wine.npz`` is ``wine``."""
    parts = parse_task(task)
    return Path((parts.place if parts.kind in FILES else task).rpartition(":")[2]).stem


def task_title(task: str) -> str:
    """What tables and pictures call a task: of a file its name, of all others what a user writes.

    >>> task_title("npz:/data/wine.npz"), task_title("csv:a.csv#label=y"), task_title("mine.tasks:wine")
    ('wine', 'a', 'mine.tasks:wine')
    """
    parts = parse_task(task)
    return short_task(task) if parts.kind in FILES or Path(parts.place).is_absolute() else task


def task_titles(tasks: Iterable[str]) -> dict[str, str]:
    """The title of each task; those whose titles would be alike keep what a user writes.

    >>> task_titles(["npz:a/wine.npz", "npz:b/wine.npz", "npz:a/beer.npz"])
    {'npz:a/wine.npz': 'npz:a/wine.npz', 'npz:b/wine.npz': 'npz:b/wine.npz', 'npz:a/beer.npz': 'beer'}
    """
    titles = {task: task_title(task) for task in tasks}
    count = Counter(titles.values())
    return {task: title if count[title] == 1 else task for task, title in titles.items()}


@dataclass(frozen=True)
class TaskRecord:
    """What must be known of a task to show a run's figures without its data.

    Args:
        task: Its name, as in the configuration.
        objective: What its models learn, such as ``classification``.
        metrics: How its figures are read, the deciding one first; at least one.
        classes: What the outputs stand for: classes, labels or targets.
        baseline_label: What the model does that the figures are compared with and that has learnt nothing.
        inputs: ``mean`` and ``scale`` of each feature: models take (x - mean) / scale; None where they take x itself.
        outputs: ``offset`` and ``scale`` of each target: what is predicted is output x scale + offset; None for logits.
    """

    task: str
    objective: str
    metrics: Sequence[Scale]
    classes: Sequence[str] = ()
    baseline_label: str = LARGEST_CLASS
    inputs: Mapping[str, Sequence[float]] | None = None
    outputs: Mapping[str, Sequence[float]] | None = None

    def to_json(self) -> dict[str, Any]:
        """The file's object."""
        return {
            "task": self.task,
            "objective": self.objective,
            "metrics": [metric.to_json() for metric in self.metrics],
            "classes": list(self.classes),
            "baseline_label": self.baseline_label,
            "inputs": None if self.inputs is None else {key: list(row) for key, row in self.inputs.items()},
            "outputs": None if self.outputs is None else {key: list(row) for key, row in self.outputs.items()},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], where: str = "task.json") -> "TaskRecord":
        """Undo ``to_json``.

        Raises:
            InputError: A field is missing or of another kind.
        """
        metrics = read_metrics(required(data, "metrics", where, "a task"), where)
        if not metrics:
            raise InputError(f"{where}: metrics must hold at least one, the deciding one first")
        return cls(
            task=str(required(data, "task", where, "a task")),
            objective=str(required(data, "objective", where, "a task")),
            metrics=metrics,
            classes=tuple(map(str, data.get("classes") or ())),
            baseline_label=str(data.get("baseline_label") or LARGEST_CLASS),
            inputs=data.get("inputs"),
            outputs=data.get("outputs"),
        )
