"""Figures of quality as plain functions of arrays."""

import numpy as np

_Z = 1.959963984540054  # of a 95 % interval of the normal distribution


def f1(predicted: np.ndarray, actual: np.ndarray) -> float:
    """F1 of class 1: harmonic mean of precision and recall, 0 where nothing is found.

    >>> f1(np.array([1, 1, 0, 0]), np.array([1, 0, 1, 0]))
    0.5
    """
    hits = int(np.sum((predicted == 1) & (actual == 1)))
    named = int(np.sum(predicted == 1)) + int(np.sum(actual == 1))
    return 2 * hits / named if named else 0.0


def precision(predicted: np.ndarray, actual: np.ndarray) -> float:
    """Share of class 1 among what was named so, 0 where nothing was.

    >>> precision(np.array([1, 1, 1, 0]), np.array([1, 0, 0, 1])), precision(np.array([0]), np.array([1]))
    (0.3333333333333333, 0.0)
    """
    named = int(np.sum(predicted == 1))
    return int(np.sum((predicted == 1) & (actual == 1))) / named if named else 0.0


def recall(predicted: np.ndarray, actual: np.ndarray) -> float:
    """Share of what is of class 1 that was named so, 0 where nothing is.

    >>> recall(np.array([1, 1, 1, 0]), np.array([1, 0, 0, 1])), recall(np.array([0]), np.array([0]))
    (0.5, 0.0)
    """
    return precision(actual, predicted)


def average_precision(scores: np.ndarray, actual: np.ndarray) -> float:
    """Area under precision over recall of one label, as the sum of precisions at each step of recall.

    Args:
        scores: float (n,), the higher the surer.
        actual: 0 or 1 (n,); at least one is 1.

    Reference:
        Manning, Raghavan & Schütze 2008, section 8.4; equal scores count as one step.

    >>> average_precision(np.array([0.9, 0.8, 0.7]), np.array([1, 0, 1]))
    0.8333333333333333
    """
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.cumsum(actual[order] == 1)
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)  # of each group of equal scores
    precision, recall = hits[last] / (last + 1), hits[last] / hits[-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


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


def mean_interval(values: np.ndarray) -> tuple[float, float]:
    """Confidence interval (95 %) of a mean over examples, by the normal approximation.

    >>> [round(end, 3) for end in mean_interval(np.array([1.0, 2.0, 3.0, 4.0]))]
    [1.235, 3.765]
    """
    middle = float(np.mean(values))
    half = _Z * float(np.std(values, ddof=1)) / np.sqrt(len(values)) if len(values) > 1 else 0.0
    return middle - float(half), middle + float(half)


def brier(outputs: np.ndarray, y: np.ndarray) -> float:
    """Mean squared distance of the probabilities of all classes from what is true, in [0, 2] (Brier 1950, eq. 2).

    Args:
        outputs: Logits (n, classes), or (n, 1) of one sigmoid unit.
        y: Classes, whole numbers (n,).

    >>> brier(np.array([[0.0, 0.0]]), np.array([1])), brier(np.array([[0.0]]), np.array([1]))
    (0.5, 0.5)
    >>> round(brier(np.array([[1e4, -1e4], [-1e4, 1e4]]), np.array([0, 0])), 6)
    1.0
    """
    logits = np.concatenate([np.zeros_like(outputs), outputs], -1) if outputs.shape[-1] == 1 else outputs
    shares = np.exp(logits - logits.max(-1, keepdims=True), dtype=np.float64)
    shares /= shares.sum(-1, keepdims=True)
    shares[np.arange(len(y)), y] -= 1
    return float(np.mean(np.sum(np.square(shares), -1)))
