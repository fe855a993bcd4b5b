"""What a figure of quality is: its name, its unit, which way is better, and how it is found."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fedkd.base.errors import NotFiniteError

# Given a model's outputs (n, k), float32, and the targets (n, ...) of its test examples.
Of = Callable[[np.ndarray, np.ndarray], float]
Interval = Callable[[np.ndarray, np.ndarray], tuple[float, float]]

NONE = "–"  # shown for what wasn't measured

_LONGEST_NAME = 32
# Keys of a round's line in files of results are made of metrics' names; these stand for something else there.
_RESERVED = {"mean", "std", "personal", "sha256"}


def is_name(text: object) -> bool:
    """Tell whether something can be the name of a metric, in files of results and in messages.

    Examples:
        >>> is_name("brier_score"), is_name("std"), is_name("a b"), is_name(3)
        (True, False, False, False)
    """
    if not isinstance(text, str) or text in _RESERVED:
        return False
    return text.isidentifier() and text.isascii() and len(text) <= _LONGEST_NAME


def _short(number: float) -> str:
    """Three digits that count, or all before the point; tiny numbers by their power of ten.

    >>> _short(43.218), _short(3829.84), _short(0.00004)
    ('43.2', '3,830', '4e-05')
    """
    return f"{number:,.0f}" if 1000 <= abs(number) < 1e9 else f"{number:.3g}"


@dataclass(frozen=True)
class Scale:
    """How a figure is read: what a file of results says of a metric, so that it can be shown without its task.

    Args:
        name: Key in files of results and messages, such as ``accuracy``: a plain identifier of at most 32 letters.
        label: What people call it, such as ``mean absolute error``.
        unit: ``%`` where it is a share in [0, 1] that people read in per cent; else a unit of its own, or empty.
        better: ``higher`` or ``lower``.

    Raises:
        ValueError: The name is no plain identifier or stands for something else, or ``better`` is neither word.
    """

    name: str
    label: str
    unit: str = ""
    better: str = "higher"

    def __post_init__(self) -> None:
        if not is_name(self.name):
            raise ValueError(f"a metric's name must be a plain identifier of its own, got {self.name!r}")
        if self.better not in ("higher", "lower"):
            raise ValueError(f"better must be higher or lower, got {self.better!r}")

    @property
    def factor(self) -> float:
        """From the figure as it is kept to the figure as it is shown: 100 for shares."""
        return 100.0 if self.unit == "%" else 1.0

    @property
    def title(self) -> str:
        """The label as the first word of a sentence or an axis."""
        return self.label[:1].upper() + self.label[1:]

    @property
    def direction(self) -> str:
        """Which way is better, in brackets, where readers may not expect it: that higher is better goes without saying.

        Examples:
            >>> ACCURACY.direction, Scale("mae", "mean absolute error", better="lower").direction
            ('', ' (lower is better)')
        """
        return "" if self.better == "higher" else " (lower is better)"

    @property
    def axis(self) -> str:
        """What is written along an axis of the figure.

        Examples:
            >>> ACCURACY.axis, Scale("mae", "mean absolute error", "kWh", "lower").axis
            ('Accuracy, %', 'Mean absolute error, kWh (lower is better)')
        """
        return self.with_unit(self.title) + self.direction

    def with_unit(self, words: str) -> str:
        """A heading of a column whose figures stand without their unit.

        Examples:
            >>> ACCURACY.with_unit("teachers"), Scale("mae", "mean absolute error").with_unit("teachers")
            ('teachers, %', 'teachers')
        """
        return f"{words}, {self.unit}" if self.unit else words

    def difference(self, words: str) -> str:
        """A heading of a column of differences: those of shares are in points.

        Examples:
            >>> ACCURACY.difference("gain"), Scale("mae", "MAE", "kWh").difference("gain")
            ('gain, points', 'gain, kWh')
        """
        return f"{words}, points" if self.unit == "%" else self.with_unit(words)

    def text(self, value: float | None, digits: int | None = None) -> str:
        """A figure as a person reads it, a dash for None.

        Args:
            value: As it is kept.
            digits: Decimals; one for shares and three significant digits otherwise where None.

        Examples:
            >>> ACCURACY.text(0.9489), ACCURACY.text(None), Scale("mae", "mean absolute error").text(43.218)
            ('94.9 %', '–', '43.2')
        """
        if value is None:
            return NONE
        if digits is None and self.unit != "%":
            number = _short(self.factor * value)
        else:
            number = f"{self.factor * value:.{1 if digits is None else digits}f}"
        return f"{number} {self.unit}".rstrip()

    def beside(self, value: float) -> str:
        """Name and figure in few letters, for a figure beside the one that decides; shares stay shares.

        Examples:
            >>> F1.beside(0.75), Scale("mae", "mean absolute error", "kWh").beside(43.218)
            ('F1 0.750', 'mean absolute error 43.2 kWh')
        """
        return f"{self.label} {value:.3f}" if self.unit == "%" else f"{self.label} {self.text(value)}"

    def spread(self, value: float) -> str:
        """A difference of two figures, or a deviation, without its unit: in points for shares.

        Examples:
            >>> ACCURACY.spread(0.0123), Scale("mae", "mean absolute error").spread(1.234)
            ('1.2', '1.23')
        """
        shown = self.factor * value
        return f"{shown:.1f}" if self.unit == "%" else _short(shown)

    def lost(self, value: float, reference: float) -> float:
        """How much worse a figure is than another, as it is shown; negative where it is better.

        Examples:
            >>> round(ACCURACY.lost(0.90, 0.95), 6), Scale("mae", "MAE", better="lower").lost(45.0, 43.0)
            (5.0, 2.0)
        """
        return self.factor * (reference - value if self.better == "higher" else value - reference)

    def to_json(self) -> dict[str, str]:
        """The fields by their names, for files of results."""
        return {"name": self.name, "label": self.label, "unit": self.unit, "better": self.better}


@dataclass(frozen=True)
class _OfFinite:
    """Refuses outputs that no figure can be made of: the largest of some NaN is the first, which looks like an answer.

    Args:
        of: Gets the outputs that are finite throughout.
    """

    of: Callable[[np.ndarray, np.ndarray], Any]

    def __call__(self, outputs: np.ndarray, target: np.ndarray) -> Any:
        """Return what is made of outputs.

        Raises:
            NotFiniteError: Some are NaN or infinite.
        """
        if not (finite := np.isfinite(outputs)).all():
            bad = len(outputs) - int(finite.reshape(len(outputs), -1).all(-1).sum())
            raise NotFiniteError(f"the outputs for {bad} of {len(outputs)} examples are NaN or infinite")
        return self.of(outputs, target)


@dataclass(frozen=True)
class Metric(Scale):
    """A figure of quality and how it is found.

    Args:
        of: Takes outputs (n, k) and targets (n, ...), n >= 1; raises NotFiniteError where outputs aren't finite.
        interval: Its 95 % confidence interval over the test examples; None for a metric that has none.
    """

    of: Of = field(kw_only=True)
    interval: Interval | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        """Check the fields, and keep outputs that aren't finite from the functions."""
        super().__post_init__()
        object.__setattr__(self, "of", _OfFinite(self.of))
        if self.interval is not None:
            object.__setattr__(self, "interval", _OfFinite(self.interval))


# Those of classification, and of all run folders that were written before tasks owned their metrics.
ACCURACY = Scale("accuracy", "accuracy", "%")
F1 = Scale("f1", "F1", "%")


def read_scale(fields: Mapping[str, Any]) -> Scale:
    """Undo ``Scale.to_json``.

    Raises:
        KeyError, TypeError, ValueError: The table holds none.
    """
    return Scale(**{key: str(fields[key]) for key in ("name", "label", "unit", "better")})
