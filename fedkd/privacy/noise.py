"""The bound on a client's update and the noise on their mean, in the directions that updates are sent in.

Where server and clients know directions of a matrix beforehand, from earlier broadcasts, updates are sums in these
directions, and noise elsewhere would hide nothing: it goes to K (P or Q) numbers of P Q.
"""

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from fedkd.base.tensors import Spec, TensorSpec, Weights
from fedkd.exchange.basis import Bases, Basis
from fedkd.exchange.clip import Clip
from fedkd.exchange.factors import in_directions

# Draws independent standard normal numbers, float64 of a shape.
Normals = Callable[[tuple[int, ...]], np.ndarray]

# How far below a bound a norm is kept, so that rounding to float32 doesn't take it above.
_BELOW = 1 - 1e-6


def of_system(shape: tuple[int, ...]) -> np.ndarray:
    """Draw standard normal numbers from the operating system's generator, which nobody can guess or repeat.

    Args:
        shape: Of the array.

    Returns:
        float64.
    """
    from scipy.special import ndtri

    bits = np.frombuffer(os.urandom(8 * math.prod(shape)), np.uint64) >> np.uint64(11)
    normal: np.ndarray = ndtri((bits + 0.5) * 2.0**-53).reshape(shape)
    return normal


def bounded(update: Weights, whole: Sequence[bool], spec: Spec, bases: Bases | None, clip: float) -> Weights:
    """Return what of an update counts: in the directions of the round, and scaled down to a norm of ``clip``.

    Args:
        update: Decoded, float32, as the spec says.
        whole: Which tensors were sent as they are, by a client that knew no directions.
        spec: The tensors.
        bases: The directions, one or None for each tensor; None for none at all.
        clip: L2 norm over all tensors, above 0.
    """
    known = bases or [None] * len(spec)
    parts = [
        array if basis is None or not sent else _within(array, item, basis)
        for array, sent, item, basis in zip(update, whole, spec, known, strict=True)
    ]
    return Clip(clip * _BELOW).bounded(parts, parts)


@dataclass(frozen=True)
class Noise:
    """Gaussian noise for the mean of a round's updates.

    Args:
        deviation: Its standard deviation on each coordinate.
        normals: Draws it, tensor by tensor.
        participants: How many clients the round asks. The mean is over all of them, the update of one that failed or
            was refused counting as zeros: else the size of the noise would tell that it was.
    """

    deviation: float
    normals: Normals
    participants: int

    def on(self, mean: Weights, count: int, spec: Spec, bases: Bases | None) -> Weights:
        """Return the mean over all participants, with noise on each of its coordinates.

        Args:
            mean: Of the updates that can be used, float32, as the spec says.
            count: How many these are.
            spec: The tensors.
            bases: See ``bounded``.

        Returns:
            float32.
        """
        known = bases or [None] * len(spec)
        found: Weights = []
        for array, item, basis in zip(mean, spec, known, strict=True):
            noise = self.deviation * self.normals(_shape(item, basis))
            if basis is not None:
                noise = in_directions(noise.astype(np.float32), basis).restore(item)
            found.append((array * (count / self.participants) + noise).astype(np.float32))
        return found


def coordinates(spec: Spec, bases: Bases | None) -> int:
    """Count the numbers that noise goes to in a round."""
    known = bases or [None] * len(spec)
    return sum(math.prod(_shape(item, basis)) for item, basis in zip(spec, known, strict=True))


def _shape(item: TensorSpec, basis: Basis | None) -> tuple[int, ...]:
    """Shape of the coordinates of a tensor: in known directions, or its own."""
    return item.shape if basis is None else basis.numbers(*item.matrix)


def _within(array: np.ndarray, item: TensorSpec, basis: Basis) -> np.ndarray:
    """The part of a tensor that lies in directions of its matrix."""
    return in_directions(basis.coordinates(array.reshape(item.matrix)), basis).restore(item)
