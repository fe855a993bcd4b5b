"""Numbers for each example."""

import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fedkd.base.errors import InputError
from fedkd.objectives.metric import Metric
from fedkd.objectives.objective import Strata
from fedkd.objectives.scores import mean_interval

_BINS = 10  # groups of alike targets
_ALIKE = 0.1  # standard deviations of the answers within which two of them agree


@dataclass(frozen=True)
class Regression:
    """Real targets, float32 (n, targets); a model's outputs count in standard deviations from their mean.

    Models learn ``(target - offset) / scale``, whose numbers are near 1 whatever the target's unit; metrics are those
    of ``outputs * scale + offset``, in the target's unit.

    Args:
        names: Name of each target.
        scale: Of each target, above 0; 1 where models answer in the target's unit themselves.
        offset: Of each target.
    """

    names: tuple[str, ...]
    scale: tuple[float, ...] = ()
    offset: tuple[float, ...] = ()

    kind = "regression"
    baseline_label = "always the median"

    def __post_init__(self) -> None:
        """Check that numbers are as many as names."""
        if not self.names:
            raise InputError("targets must be at least 1, got none")
        for key, numbers in (("scale", self.scale), ("offset", self.offset)):
            if numbers and len(numbers) != len(self.names):
                raise InputError(f"{key} must have {len(self.names)} numbers, one per target, got {len(numbers)}")
        if any(not 0 < number < np.inf for number in self.scale):
            raise InputError(f"scale must be above 0, got {self.scale}")

    @classmethod
    def standardised(cls, names: tuple[str, ...], y: np.ndarray) -> "Regression":
        """Take scale and offset from the targets (n, targets) of training examples; constant ones keep a scale of 1."""
        spread = y.std(0, dtype=np.float64)
        scale = np.where(spread > 0, spread, 1.0)
        return cls(names, tuple(map(float, scale)), tuple(map(float, y.mean(0, dtype=np.float64))))

    @cached_property
    def metrics(self) -> tuple[Metric, ...]:
        """Mean absolute error, mean squared error, both over examples and targets, and R²."""
        return (
            Metric("mae", "mean absolute error", "", "lower", of=self._mae, interval=self._mae_interval),
            Metric("mse", "mean squared error", "", "lower", of=self._mse, interval=self._mse_interval),
            Metric("r2", "R²", "", of=self._r2),
        )

    @property
    def units(self) -> dict[str, tuple[float, ...]] | None:
        """Offset and scale of each target, where models don't answer in the target's unit themselves."""
        if not (self.offset or self.scale):
            return None
        count = len(self.names)
        return {"offset": self.offset or (0.0,) * count, "scale": self.scale or (1.0,) * count}

    @property
    def links(self) -> dict[int, str]:
        """Outputs are numbers, not logits: a model may end as it likes."""
        return {len(self.names): ""}

    def check_target(self, name: str, y: np.ndarray) -> np.ndarray:
        """Return targets, float32 (n, targets); those of one target may have shape (n,).

        Raises:
            InputError: They are no finite numbers, or of another shape.
        """
        if not isinstance(y, np.ndarray) or y.dtype.kind not in "fiu":
            found = y.dtype if isinstance(y, np.ndarray) else type(y).__name__
            raise InputError(f"{name} must be numbers of shape (n, {len(self.names)}), got {found}")
        if y.ndim == 1 and len(self.names) == 1:
            y = y[:, None]
        if y.ndim != 2 or y.shape[1] != len(self.names):
            raise InputError(f"{name} must have shape (n, {len(self.names)}), a number for each target, got {y.shape}")
        if not np.isfinite(y).all():
            row = int(np.argwhere(~np.isfinite(y))[0][0])
            raise InputError(f"{name} holds NaN or Inf (first in row {row}); clean the data first")
        return y.astype(np.float32, copy=False)

    def strata(self, y: np.ndarray) -> Strata:
        """Group examples by tenths of the first target."""
        edges = np.unique(np.quantile(y[:, 0], np.arange(1, _BINS) / _BINS)) if len(y) else np.zeros(0)
        ends = ["-∞", *(f"{edge:.3g}" for edge in edges), "∞"]
        names = tuple(f"{low} to {high}" for low, high in itertools.pairwise(ends))
        return Strata(np.searchsorted(edges, y[:, 0], side="right").astype(np.int32), names)

    def loss(self, outputs: Any, target: Any, share: Any) -> Any:
        """Mean squared error in units of the targets' scale."""
        from fedkd.objectives.losses import mse

        return mse(outputs, (target - self._offset) / self._scale, share)

    def divergence(self, peer: Any, outputs: Any, share: Any, temperature: float) -> Any:
        """Mean squared difference of the outputs; numbers have no temperature."""
        from fedkd.objectives.losses import mse

        return mse(peer, outputs, share)

    def answers(self, outputs: np.ndarray) -> np.ndarray:
        """Outputs in the targets' units, float64 (n, targets)."""
        return outputs.astype(np.float64) * self._scale + self._offset

    def agreement(self, outputs: np.ndarray, others: np.ndarray) -> float:
        """Share of the numbers that differ by no more than a tenth of the others' standard deviation."""
        near = np.abs(outputs - others) <= _ALIKE * others.std(0, keepdims=True)
        return float(np.mean(near))

    def baseline(self, y: np.ndarray) -> float:
        """Mean absolute error of always answering with the median of y."""
        return float(np.mean(np.abs(y - np.median(y, axis=0, keepdims=True))))

    @property
    def _scale(self) -> np.ndarray:
        return np.asarray(self.scale or (1.0,) * len(self.names), np.float32)

    @property
    def _offset(self) -> np.ndarray:
        return np.asarray(self.offset or (0.0,) * len(self.names), np.float32)

    def _errors(self, outputs: np.ndarray, y: np.ndarray) -> np.ndarray:
        return self.answers(outputs) - y

    def _mae(self, outputs: np.ndarray, y: np.ndarray) -> float:
        return float(np.mean(np.abs(self._errors(outputs, y))))

    def _mae_interval(self, outputs: np.ndarray, y: np.ndarray) -> tuple[float, float]:
        return mean_interval(np.abs(self._errors(outputs, y)).mean(1))

    def _mse(self, outputs: np.ndarray, y: np.ndarray) -> float:
        return float(np.mean(np.square(self._errors(outputs, y))))

    def _mse_interval(self, outputs: np.ndarray, y: np.ndarray) -> tuple[float, float]:
        return mean_interval(np.square(self._errors(outputs, y)).mean(1))

    def _r2(self, outputs: np.ndarray, y: np.ndarray) -> float:
        """1 - unexplained / total variance, the mean over targets that vary; 0 where none does."""
        left = np.square(self._errors(outputs, y)).sum(0)
        whole = np.square(y - y.mean(0, dtype=np.float64)).sum(0)
        varies = whole > 0
        return float(np.mean(1 - left[varies] / whole[varies])) if varies.any() else 0.0
