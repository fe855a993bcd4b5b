"""How much each example counts in the task loss, by its class: what is rare may count for more."""

import math
from collections.abc import Callable, Mapping

import numpy as np

from fedkd.base.errors import InputError, require
from fedkd.objectives.classification import Classification
from fedkd.objectives.objective import Objective

Weigh = Callable[[np.ndarray], np.ndarray | None]

_KEY = "train.class_weights"
_BALANCED = "balanced"


def class_weights(setting: str, objective: Objective) -> Mapping[int, float] | None:
    """Read the setting ``train.class_weights``.

    Args:
        setting: ``balanced``, or ``NAME=WEIGHT`` of some classes with commas between them.
        objective: Of the task.

    Returns:
        The weight of each class by its number, 1 for those that aren't named; None where they follow from the labels.

    Raises:
        InputError: It is neither, names a class that isn't there, or the task isn't one of exclusive classes.
    """
    if not isinstance(objective, Classification):
        raise InputError(f"{_KEY} must be empty for a task that isn't one of exclusive classes, got {setting!r}")
    if setting.strip() == _BALANCED:
        return None
    weights = dict.fromkeys(range(len(objective.names)), 1.0)
    known = {name: number for number, name in enumerate(objective.names)}
    for part in setting.split(","):
        name, equals, number = (word.strip() for word in part.rpartition("="))
        if not equals:
            raise InputError(f"{_KEY} must be {_BALANCED}, or NAME=WEIGHT with commas between, got {setting!r}")
        if name not in known:
            raise InputError(f"{_KEY}: no class is called {name!r}; there are {', '.join(objective.names)}")
        weights[known[name]] = _number(name, number)
    return weights


def weigher(setting: str, objective: Objective) -> Weigh:
    """Return what weighs a client's examples by their targets; it returns None where all count alike.

    Raises:
        InputError: See ``class_weights``.
    """
    if not setting:
        return lambda _: None
    weights = class_weights(setting, objective)
    return lambda y: example_weights(weights, y)


def _number(name: str, text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    require(0 < weight < math.inf, f"{_KEY}: the weight of {name}", text, "a number above 0")
    return weight


def example_weights(weights: Mapping[int, float] | None, y: np.ndarray) -> np.ndarray:
    """Weigh a client's examples.

    Args:
        weights: From ``class_weights``; None for n / (classes held x examples of the class), whose mean over the
            client's examples is 1.
        y: Classes of the examples that the client trains on, int (n,).

    Returns:
        float32 (n,).

    >>> example_weights(None, np.array([0, 0, 0, 2])).tolist()
    [0.6666666865348816, 0.6666666865348816, 0.6666666865348816, 2.0]
    >>> example_weights({0: 1.0, 1: 5.0, 2: 0.5}, np.array([1, 2])).tolist()
    [5.0, 0.5]
    """
    held, places, counts = np.unique(y, return_inverse=True, return_counts=True)
    of_class = len(y) / (len(held) * counts) if weights is None else np.array([weights[n] for n in held.tolist()])
    return np.asarray(of_class[places], np.float32)
