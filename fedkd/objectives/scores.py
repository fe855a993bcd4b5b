"""How good a model's answers are."""

import numpy as np


def quality(predicted: np.ndarray, actual: np.ndarray, classes: int) -> dict[str, float]:
    """Return the accuracy of predicted classes (n,), n >= 1, and their F1 where there are two classes."""
    found = {"accuracy": float(np.mean(predicted == actual))}
    return found | ({"f1": f1(predicted, actual)} if classes == 2 else {})


def f1(predicted: np.ndarray, actual: np.ndarray) -> float:
    """F1 of class 1: harmonic mean of precision and recall, 0 where nothing is found.

    >>> f1(np.array([1, 1, 0, 0]), np.array([1, 0, 1, 0]))
    0.5
    """
    hits = int(np.sum((predicted == 1) & (actual == 1)))
    named = int(np.sum(predicted == 1)) + int(np.sum(actual == 1))
    return 2 * hits / named if named else 0.0


def wilson(right: int, total: int) -> tuple[float, float]:
    """Confidence interval (95 %) of an accuracy.

    Args:
        right: Examples that were classified rightly.
        total: Examples, at least 1.

    Reference:
        Wilson, JASA 1927.

    >>> [round(end, 3) for end in wilson(90, 100)]
    [0.826, 0.945]
    """
    from scipy.stats import binomtest  # takes half a second to import

    interval = binomtest(right, total).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)
