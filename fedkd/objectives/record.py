"""Objectives as plain tables, for whoever has none of a task's own code."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from fedkd.base.errors import InputError
from fedkd.objectives.classification import Classification
from fedkd.objectives.detection import Detection
from fedkd.objectives.multi_label import MultiLabel
from fedkd.objectives.objective import Objective
from fedkd.objectives.ranking import Ranking
from fedkd.objectives.regression import Regression

_Known = Classification | Regression | MultiLabel | Ranking
_KINDS: Mapping[str, type[_Known]] = {
    "classification": Classification,
    "detection": Detection,
    "regression": Regression,
    "multi_label": MultiLabel,
    "ranking": Ranking,
}


def to_record(objective: Objective) -> dict[str, Any]:
    """Return the table for an objective.

    Raises:
        InputError: It is of a class of the task's own, which only code can stand for.

    >>> to_record(Classification(("no", "yes")))
    {'kind': 'classification', 'names': ('no', 'yes')}
    """
    name = next((name for name, kind in _KINDS.items() if type(objective) is kind), None)
    if name is None:
        known = ", ".join(kind.__name__ for kind in _KINDS.values())
        raise InputError(f"the task's objective must be one of {known}, got {type(objective).__name__}")
    assert isinstance(objective, _Known)
    return {"kind": name, **asdict(objective)}


def of_record(record: Mapping[str, Any]) -> Objective:
    """Undo ``to_record``, also of a table that was JSON meanwhile.

    >>> of_record({"kind": "regression", "names": ["k"], "scale": [2.0], "offset": [0.5]})
    Regression(names=('k',), scale=(2.0,), offset=(0.5,))
    """
    fields = {key: tuple(value) for key, value in record.items() if key != "kind"}
    return _KINDS[record["kind"]](**fields)
