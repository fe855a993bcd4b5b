"""Objectives as plain tables, for whoever has none of a task's own code."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from fedkd.base.errors import InputError
from fedkd.objectives.classification import Classification
from fedkd.objectives.multi_label import MultiLabel
from fedkd.objectives.objective import Objective
from fedkd.objectives.regression import Regression

_KINDS = {kind.kind: kind for kind in (Classification, Regression, MultiLabel)}


def to_record(objective: Objective) -> dict[str, Any]:
    """Return the table for an objective.

    Raises:
        InputError: It is of a class of the task's own, which only code can stand for.

    >>> to_record(Classification(("no", "yes")))
    {'kind': 'classification', 'names': ('no', 'yes')}
    """
    if type(objective) is not _KINDS.get(objective.kind):
        known = ", ".join(kind.__name__ for kind in _KINDS.values())
        raise InputError(f"the task's objective must be one of {known}, got {type(objective).__name__}")
    assert isinstance(objective, Classification | Regression | MultiLabel)
    return {"kind": objective.kind, **asdict(objective)}


def of_record(record: Mapping[str, Any]) -> Objective:
    """Undo ``to_record``, also of a table that was JSON meanwhile.

    >>> of_record({"kind": "regression", "names": ["k"], "scale": [2.0], "offset": [0.5]})
    Regression(names=('k',), scale=(2.0,), offset=(0.5,))
    """
    fields = {key: tuple(value) for key, value in record.items() if key != "kind"}
    return _KINDS[record["kind"]](**fields)
