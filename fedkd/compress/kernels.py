"""How a layer's kernels join the channels that it reads and those that it gives."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Weights = Sequence[np.ndarray]


@dataclass(frozen=True)
class Kernel(ABC):
    """A kind of kernel.

    Args:
        mixes: Whether each channel that it gives is made of all that it reads; else it gives those that it reads.
        place: Where among the layer's weights is the kernel whose last axis are the channels that it gives.
        axes: How many of the last axes of the last kernel are channels that it gives.
    """

    mixes: bool = True
    place: int = 0
    axes: int = 1

    @abstractmethod
    def passed_back(self, weights: Weights, out: np.ndarray) -> np.ndarray:
        """Importance of what a kernel reads, given that of what it gives, float64 (channels,) both; by magnitudes."""

    @abstractmethod
    def by_axis(self, layer: Any, weights: Weights, into: np.ndarray, out: np.ndarray) -> list[dict[int, np.ndarray]]:
        """For each of a layer's weights, by axis, what is known of the channels that lie along it.

        Args:
            layer: The layer.
            weights: All of its weights, or whatever has their shapes.
            into: What is known of each channel that it reads, (channels,): its number, or whether it stays.
            out: The same of each that it gives.
        """

    def rows(self, layer: Any, taken: np.ndarray, count: int) -> np.ndarray:
        """Of so many rows of the kernel at ``place``, flattened but for its last axis, the channel that each reads."""
        return np.tile(taken, count // len(taken))

    def filters(self, weights: Weights) -> np.ndarray:
        """Sum of the magnitudes of each filter, float64 (channels,)."""
        kernel = weights[self.place]
        return np.abs(kernel).reshape(-1, kernel.shape[-1]).sum(axis=0, dtype=np.float64)


@dataclass(frozen=True)
class Mixing(Kernel):
    """Convolutions and dense layers: a kernel (..., channels read, channels given)."""

    def passed_back(self, weights: Weights, out: np.ndarray) -> np.ndarray:
        """See ``Kernel.passed_back``."""
        return flat(weights[0]) @ out

    def by_axis(self, layer: Any, weights: Weights, into: np.ndarray, out: np.ndarray) -> list[dict[int, np.ndarray]]:
        """See ``Kernel.by_axis``."""
        kernel, *bias = weights
        return [{-2: _fit(into, kernel.shape[-2]), -1: out}, *({-1: out} for _ in bias)]


@dataclass(frozen=True)
class Depthwise(Kernel):
    """A kernel (..., channels read, multiplier), each channel by itself."""

    mixes: bool = False
    axes: int = 2

    def passed_back(self, weights: Weights, out: np.ndarray) -> np.ndarray:
        """See ``Kernel.passed_back``."""
        kernel = flat(weights[0])
        return (kernel * out.reshape(kernel.shape)).sum(axis=1)

    def by_axis(self, layer: Any, weights: Weights, into: np.ndarray, out: np.ndarray) -> list[dict[int, np.ndarray]]:
        """See ``Kernel.by_axis``."""
        kernel, *bias = weights
        return [{-2: _fit(into, kernel.shape[-2])}, *({-1: out} for _ in bias)]


@dataclass(frozen=True)
class Separable(Kernel):
    """A depthwise kernel, and a mixing one of what that gives."""

    place: int = 1

    def passed_back(self, weights: Weights, out: np.ndarray) -> np.ndarray:
        """See ``Kernel.passed_back``."""
        return Depthwise().passed_back(weights, flat(weights[1]) @ out)

    def by_axis(self, layer: Any, weights: Weights, into: np.ndarray, out: np.ndarray) -> list[dict[int, np.ndarray]]:
        """See ``Kernel.by_axis``."""
        depth, point, *bias = weights
        wide = np.repeat(_fit(into, point.shape[-2] // layer.depth_multiplier), layer.depth_multiplier)
        return [{-2: _fit(into, depth.shape[-2])}, {-2: wide, -1: out}, *({-1: out} for _ in bias)]

    def rows(self, layer: Any, taken: np.ndarray, count: int) -> np.ndarray:
        """See ``Kernel.rows``."""
        return np.repeat(taken, layer.depth_multiplier)


def flat(kernel: np.ndarray) -> np.ndarray:
    """Magnitudes summed over all but the last two axes, float64."""
    return np.abs(kernel).reshape(-1, *kernel.shape[-2:]).sum(axis=0, dtype=np.float64)


def _fit(known: np.ndarray, width: int) -> np.ndarray:
    """What is known of an input of the model holds for all of its channels: they stay, and have the number 0."""
    return known if len(known) == width else np.full(width, known.min())
