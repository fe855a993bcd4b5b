"""A measured file as a row of results: how good its answers are, and how often they are those of its model."""

from typing import Any

import numpy as np

from fedkd.edge.budget import miss
from fedkd.edge.measure import Measurement
from fedkd.edge.runtimes import RUNTIMES
from fedkd.objectives.metric import Scale
from fedkd.objectives.objective import Objective
from fedkd.results.device_file import DeviceFile
from fedkd.results.search import Check

# The runtime whose interval is kept: the first of the table.
_FIRST = next(iter(RUNTIMES))


def judged(
    found: Measurement, objective: Objective, target: np.ndarray, expected: np.ndarray, **known: Any
) -> DeviceFile:
    """Hold a file's answers against the targets, by the objective's deciding metric, and against its model's.

    Args:
        found: The file, run over the examples of these targets.
        objective: The task's.
        target: Of each example, (n, ...), n at least 1.
        expected: Outputs of the model that the file was made of, float32 (n, k).
        known: Further fields of ``DeviceFile``.
    """
    metric, outputs = objective.metrics[0], found.outputs
    interval = metric.interval(outputs[_FIRST], target) if metric.interval and _FIRST in outputs else None
    return DeviceFile(
        precision=found.precision,
        path=found.path.name,
        flash_bytes=found.flash_bytes,
        gzip_bytes=found.gzip_bytes,
        float_tensors=found.float_tensors,
        tensors=found.tensors,
        quality={"keras": metric.of(expected, target)} | {n: metric.of(found, target) for n, found in outputs.items()},
        agreement={name: objective.agreement(answers, expected) for name, answers in outputs.items()},
        interval=interval,
        **known,
    )


def loses(file: DeviceFile, metric: Scale, allowed: float) -> str | None:
    """Say in a line that a file loses more than it may against the model that it was made of; None where it doesn't.

    Args:
        file: As ``judged`` returns it.
        metric: The deciding one.
        allowed: Points of a share, per cent of any other figure.
    """
    found, reference = file.deciding, file.quality.get("keras")
    if found is None or reference is None:
        return None
    limit = allowed if metric.unit == "%" else abs(reference) * allowed / 100
    lost = round(metric.lost(found, reference), 6)  # or 2 points would be more than 2 points
    return miss(Check("drop", round(limit, 6), lost, _FIRST, False), metric) if lost > limit else None
