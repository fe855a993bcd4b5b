"""What a run's task is, and how its figures are read: ``task.json``, which a run writes at its start."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedkd.base.errors import InputError
from fedkd.objectives.metric import Scale
from fedkd.results.json_fields import required
from fedkd.results.summary import read_metrics

LARGEST_CLASS = "always the largest class"


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
