"""How many clients' updates become one: the mean, and rules that hold where some of the clients lie.

All rules get *decoded* updates. Robust rules on raw factors don't hold: two clients' factors of one and the same matrix
differ by any rotation. Every rule is deterministic and sums in the order given.

Only the mean weighs clients by what they claim to hold. A claim is no evidence, and a rule that let a liar's weight
count would hold no longer; so the others count every client alike, as their papers do.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from fedkd.base.complete import complete
from fedkd.base.tensors import Weights, squared_norm, subtract, weighted_mean
from fedkd.config.sections import AVERAGES, GuardConfig

# Gets n updates of equal shapes, their n weights, and the settings.
Rule = Callable[[Sequence[Weights], Sequence[float], GuardConfig], Weights]


def mean(updates: Sequence[Weights], weights: Sequence[float], settings: GuardConfig) -> Weights:
    """Weighted mean (McMahan et al., AISTATS 2017, algorithm 1): one liar suffices to move it anywhere."""
    return weighted_mean(updates, weights)


def trimmed_mean(updates: Sequence[Weights], weights: Sequence[float], settings: GuardConfig) -> Weights:
    """Coordinate by coordinate, the mean without the largest and the smallest ⌊βn⌋ numbers, β = ``guard.trim``.

    Holds where at most a share β of the answers lies. Weights aren't used.

    Reference:
        Yin et al., ICML 2018, definition 2.
    """
    cut = cut_off(len(updates), settings.trim)
    return [_kept_mean(np.sort(stack, axis=0)[cut : len(stack) - cut]) for stack in _stacks(updates)]


def median(updates: Sequence[Weights], weights: Sequence[float], settings: GuardConfig) -> Weights:
    """Coordinate by coordinate, the median, and the mean of the middle two where their number is even.

    Holds where less than half of the answers lie. Weights aren't used.

    Reference:
        Yin et al., ICML 2018, definition 1.
    """
    return [_kept_mean(np.sort(s, axis=0)[(len(s) - 1) // 2 : len(s) // 2 + 1]) for s in _stacks(updates)]


def krum(updates: Sequence[Weights], weights: Sequence[float], settings: GuardConfig) -> Weights:
    """Return the one update that is nearest to its n - f - 2 nearest others, f = ``guard.byzantine``.

    The sum of squared L2 distances decides, and the first where two are equal. Holds where at most f answers lie, of
    n >= 2f + 3. Weights aren't used.

    Reference:
        Blanchard et al., NeurIPS 2017, section 4.
    """
    count = len(updates)
    near = count - settings.byzantine - 2
    if near <= settings.byzantine:
        raise ValueError(
            f"krum with byzantine = {settings.byzantine} needs {2 * settings.byzantine + 3} updates, got {count}"
        )
    distances = np.zeros((count, count))
    with np.errstate(over="ignore"):  # a liar's distance may be infinite
        for i in range(count):
            for j in range(i):
                distances[i, j] = distances[j, i] = squared_norm(subtract(updates[i], updates[j]))
    others = np.sort(distances + np.diag(np.full(count, np.inf)), axis=1)
    return updates[int(np.argmin(others[:, :near].sum(axis=1)))]


RULES: Mapping[str, Rule] = complete(
    AVERAGES, {"mean": mean, "trimmed_mean": trimmed_mean, "median": median, "krum": krum}
)


def aggregate(updates: Sequence[Weights], weights: Sequence[float], settings: GuardConfig) -> Weights:
    """Make one update of n >= ``settings.answers`` by the rule of the settings.

    Args:
        updates: n lists of float32 arrays with equal shapes, in the order of partition ids.
        weights: n positive numbers; only their ratios matter.
        settings: Which rule, and its numbers.

    Returns:
        float32 arrays of the same shapes.
    """
    return RULES[settings.rule](updates, weights, settings)


def cut_off(count: int, trim: float) -> int:
    """⌊βn⌋, where a product such as 0.29 x 100 that falls short of a whole number by rounding counts as that.

    >>> cut_off(10, 0.2), cut_off(4, 0.2), cut_off(100, 0.29)
    (2, 0, 29)
    """
    return int(count * trim + 1e-9)


def _stacks(updates: Sequence[Weights]) -> list[np.ndarray]:
    """For each tensor its values of all clients (n, ...)."""
    return [np.stack(arrays) for arrays in zip(*updates, strict=True)]


def _kept_mean(values: np.ndarray) -> np.ndarray:
    """Mean over clients (n, ...) in float64, in order, as float32."""
    total = np.zeros(values.shape[1:], np.float64)
    for value in values:
        total += value
    return np.asarray(total / len(values)).astype(np.float32)
