"""Features of a table on one scale: less their mean, over their standard deviation."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Standardisation:
    """What turns a row as it was measured into one as models take it.

    Args:
        mean: Mean of each feature.
        scale: Standard deviation of each feature, 1 where it is constant.
    """

    mean: tuple[float, ...]
    scale: tuple[float, ...]

    @classmethod
    def of(cls, x: np.ndarray) -> "Standardisation":
        """Measure features x (n, features) of the training examples, in float64."""
        spread = x.std(0, dtype=np.float64)
        scale = np.where(spread > 0, spread, 1.0)
        return cls(tuple(map(float, x.mean(0, dtype=np.float64))), tuple(map(float, scale)))

    def apply(self, x: np.ndarray) -> np.ndarray:
        """Return (x - mean) / scale, float32 (n, features).

        Examples:
            >>> Standardisation.of(np.array([[1.0, 5.0], [3.0, 5.0]])).apply(np.array([[5.0, 5.0]])).tolist()
            [[3.0, 0.0]]
        """
        return ((x.astype(np.float64) - self.mean) / self.scale).astype(np.float32)
