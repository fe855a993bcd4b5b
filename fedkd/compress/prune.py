"""Magnitude pruning that server and clients repeat bit by bit, so that no mask crosses the network."""

import math
from collections.abc import Sequence
from numbers import Real

import numpy as np

from fedkd.base.errors import InputError


def polynomial_sparsity(step: int, steps: int, final: float) -> float:
    """Sparsity after `step` of `steps` pruning steps: steep at first, gentle near the end.

    Args:
        step: Steps done, 1..steps; at or below 0 nothing is pruned, beyond `steps` nothing more is.
        steps: Steps until `final` is reached, at least 1.
        final: Sparsity aimed at, in [0, 1).

    Returns:
        Share of zeros, in [0, final].

    Raises:
        InputError: `final` is outside [0, 1) or `steps` is below 1.

    Reference:
        Zhu & Gupta 2017, "To prune, or not to prune", eq. 1 with s_i = 0: s_t = s_f (1 - (1 - t / n)^3).

    >>> [polynomial_sparsity(t, 2, 0.8) for t in (0, 1, 2)]
    [0.0, 0.7000000000000001, 0.8]
    """
    check_sparsity(final)
    if steps < 1:
        raise InputError(f"steps must be at least 1, got {steps}")
    done = min(max(step, 0), steps) / steps
    return final * (1.0 - (1.0 - done) ** 3)


def prunable(shapes: Sequence[tuple[int, ...]]) -> tuple[bool, ...]:
    """Tell kernels and word tables (rank 2 or more) from biases, scales and statistics (vectors).

    Args:
        shapes: Shape of each tensor of a model.

    Returns:
        One flag a tensor, True where pruning applies.

    >>> prunable([(3, 3, 1, 8), (8,), (50, 16), ()])
    (True, False, True, False)
    """
    return tuple(len(shape) >= 2 for shape in shapes)


def prune(weights: Sequence[np.ndarray], sparsity: float, kernels: Sequence[bool] | None = None) -> list[np.ndarray]:
    """Set the smallest weights of each kernel to zero; other tensors pass untouched.

    Args:
        weights: Tensors of a model, any float dtype; cast to float32 before they are ranked.
        sparsity: Share of zeros wanted in each kernel, in [0, 1).
        kernels: Which tensors are kernels; those of rank 2 or more where not given, see `prunable`.

    Returns:
        Float32 copies in the same order and shapes. A kernel of n elements has its floor(sparsity * n) smallest
        magnitudes at zero, the lower index first among equals. The bytes depend on nothing but the arguments.

    Raises:
        InputError: `sparsity` is outside [0, 1).
    """
    check_sparsity(sparsity)
    flags = _flags(weights, kernels)
    return [_prune_tensor(weight, sparsity if flag else 0.0) for weight, flag in zip(weights, flags, strict=True)]


def prune_together(weights: Sequence[np.ndarray], sparsity: float) -> list[np.ndarray]:
    """Set the smallest weights of all kernels to zero, so that kernels of small weights lose more; see `prune`.

    Args:
        weights: Tensors of a model; those of rank 2 or more are ranked together.
        sparsity: Share of zeros wanted among them, in [0, 1).

    Returns:
        Float32 copies in the same order and shapes.

    Raises:
        InputError: `sparsity` is outside [0, 1).
    """
    check_sparsity(sparsity)
    flags = prunable([weight.shape for weight in weights])
    held = [np.ravel(weight) for weight, flag in zip(weights, flags, strict=True) if flag]
    pruned = _prune_tensor(np.concatenate(held), sparsity) if held else np.empty(0)
    parts = iter(np.split(pruned, np.cumsum([part.size for part in held])[:-1]))
    return [
        next(parts).reshape(weight.shape) if flag else np.array(weight, np.float32)
        for weight, flag in zip(weights, flags, strict=True)
    ]


def masks(weights: Sequence[np.ndarray], kernels: Sequence[bool] | None = None) -> list[np.ndarray]:
    """Multipliers that keep pruned weights at zero while training goes on.

    Args:
        weights: Pruned tensors of a model.
        kernels: As in `prune`.

    Returns:
        Float32 arrays of the same shapes: 0 where a kernel is zero, else 1; all ones for vectors, whose zeros
        are values and not pruned. Every tensor has one, so that `w * mask` needs no special case.
    """
    flags = _flags(weights, kernels)
    return [
        (weight != 0).astype(np.float32) if flag else np.ones(weight.shape, np.float32)
        for weight, flag in zip(weights, flags, strict=True)
    ]


def sparsity_of(weights: Sequence[np.ndarray], kernels: Sequence[bool] | None = None) -> float:
    """Share of zeros among all elements of the prunable tensors.

    Args:
        weights: Tensors of a model.
        kernels: As in `prune`.

    Returns:
        Share in [0, 1]; 0 when nothing is prunable.

    >>> sparsity_of([np.array([[0.0, 2.0], [3.0, 4.0]]), np.zeros(9)])
    0.25
    """
    held = [weight for weight, flag in zip(weights, _flags(weights, kernels), strict=True) if flag]
    elements = sum(kernel.size for kernel in held)
    zeros = sum(kernel.size - int(np.count_nonzero(kernel)) for kernel in held)
    return zeros / elements if elements else 0.0


def _flags(weights: Sequence[np.ndarray], kernels: Sequence[bool] | None) -> Sequence[bool]:
    return prunable([weight.shape for weight in weights]) if kernels is None else kernels


def check_sparsity(value: float) -> None:
    """Raise InputError unless `value` is in [0, 1); NaN is refused too."""
    if not isinstance(value, Real) or not 0.0 <= value < 1.0:
        raise InputError(f"sparsity must be in [0, 1), got {value}")


def _prune_tensor(weight: np.ndarray, sparsity: float) -> np.ndarray:
    """Float32 copy of one tensor with its floor(sparsity * size) smallest magnitudes at zero."""
    pruned = np.array(weight, dtype=np.float32, order="C")
    flat = pruned.reshape(-1)
    if math.floor(sparsity * flat.size) == 0:
        return pruned
    # Ranked as integers: for floats without their sign bit the order is the same, and unlike a float comparison it
    # can't depend on whether the processor flushes denormals to zero.
    magnitude = flat.view(np.uint32) & np.uint32(0x7FFFFFFF)
    smallest = np.argsort(magnitude, kind="stable")[: math.floor(sparsity * flat.size)]
    flat[smallest] = 0.0
    return pruned
