"""What a figure of quality is: its name, its unit, which way is better, and how it is found."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

# Given a model's outputs (n, k), float32, and the targets (n, ...) of its test examples.
Of = Callable[[np.ndarray, np.ndarray], float]
Interval = Callable[[np.ndarray, np.ndarray], tuple[float, float]]

NONE = "–"  # of what wasn't measured


@dataclass(frozen=True)
class Scale:
    """How a figure is read: what a file of results says of a metric, so that it can be shown without its task.

    Args:
        name: Key in files of results, such as ``accuracy``.
        label: What people call it, such as ``mean absolute error``.
        unit: ``%`` where it is a share in [0, 1] that people read in per cent; else a unit of its own, or empty.
        better: ``higher`` or ``lower``.
    """

    name: str
    label: str
    unit: str = ""
    better: str = "higher"

    @property
    def factor(self) -> float:
        """From the figure as it is kept to the figure as it is shown: 100 for shares."""
        return 100.0 if self.unit == "%" else 1.0

    def text(self, value: float | None, digits: int | None = None) -> str:
        """A figure as a person reads it, a dash for None.

        Args:
            value: As it is kept.
            digits: Decimals; one for shares and three significant digits otherwise where None.

        >>> ACCURACY.text(0.9489), ACCURACY.text(None), Scale("mae", "mean absolute error").text(43.218)
        ('94.9 %', '–', '43.2')
        """
        if value is None:
            return NONE
        shown = self.factor * value
        number = (
            f"{shown:.3g}" if digits is None and self.unit != "%" else f"{shown:.{1 if digits is None else digits}f}"
        )
        return f"{number} {self.unit}".rstrip()

    def spread(self, value: float) -> str:
        """A difference of two figures, or a deviation, without its unit: in points for shares.

        >>> ACCURACY.spread(0.0123), Scale("mae", "mean absolute error").spread(1.234)
        ('1.2', '1.23')
        """
        shown = self.factor * value
        return f"{shown:.1f}" if self.unit == "%" else f"{shown:.3g}"

    def lost(self, value: float, reference: float) -> float:
        """How much worse a figure is than another, as it is shown; negative where it is better.

        >>> round(ACCURACY.lost(0.90, 0.95), 6), Scale("mae", "MAE", better="lower").lost(45.0, 43.0)
        (5.0, 2.0)
        """
        return self.factor * (reference - value if self.better == "higher" else value - reference)

    def best(self, values: "Any") -> float:
        """The best of some figures."""
        return float(max(values) if self.better == "higher" else min(values))

    def to_json(self) -> dict[str, str]:
        """The fields by their names, for files of results."""
        return {"name": self.name, "label": self.label, "unit": self.unit, "better": self.better}


@dataclass(frozen=True)
class Metric(Scale):
    """A figure of quality and how it is found.

    Args:
        of: Takes outputs (n, k) and targets (n, ...), n >= 1.
        interval: Its 95 % confidence interval over the test examples; None for a metric that has none.
    """

    of: Of = lambda outputs, target: 0.0
    interval: Interval | None = None


# Of run folders that were written before tasks owned their metrics.
ACCURACY = Scale("accuracy", "accuracy", "%")
F1 = Scale("f1", "F1")


def read_scale(fields: Mapping[str, Any]) -> Scale:
    """Undo ``Scale.to_json``.

    Raises:
        KeyError, TypeError, ValueError: The table holds none.
    """
    scale = Scale(**{key: str(fields[key]) for key in ("name", "label", "unit", "better")})
    if scale.better not in ("higher", "lower"):
        raise ValueError(f"better must be higher or lower, got {scale.better!r}")
    return scale
