"""Filterlets: the piece of a filter that reads one input channel, pruned as one.

Coarser than single weights, so that an index of the kept ones is small, and finer than channels. A kernel (..., inputs,
filters) has inputs x filters of them, each as large as its window; those of a dense kernel or a 1 x 1 convolution are
single weights. No TFLite kernel skips them: they pay in the compressed file, and in a runtime of one's own.

Reference:
    After Han, Xiao & Li, INFOCOM 2024 (DTMM: deploying TinyML models on extremely weak IoT devices with pruning), whose
    pieces may be cut along another axis.
"""

import math
from collections.abc import Sequence

import numpy as np

from fedkd.compress.prune import check_sparsity, prunable


def prune_filterlets(weights: Sequence[np.ndarray], sparsity: float, together: bool = False) -> list[np.ndarray]:
    """Set the least important filterlets of each kernel to zero; other tensors pass untouched.

    A filterlet's importance is the sum of its magnitudes as a share of the kernel's mean.

    Args:
        weights: Tensors of a model; those of rank 2 or more are kernels.
        sparsity: Share of zeros wanted at the most in each kernel, in [0, 1).
        together: Rank the filterlets of all kernels together, so that the share is that of all weights.

    Returns:
        Float32 copies in the same order and shapes.

    Raises:
        InputError: ``sparsity`` is outside [0, 1).
    """
    check_sparsity(sparsity)
    pruned = [np.array(weight, np.float32) for weight in weights]
    flags = prunable([weight.shape for weight in weights])
    kernels = [kernel for kernel, flag in zip(pruned, flags, strict=True) if flag and kernel.size]
    for group in [kernels] if together else [[kernel] for kernel in kernels]:
        for kernel, removed in zip(group, _least(group, sparsity), strict=True):
            kernel[..., removed] = 0.0
    return pruned


def filterlet_bytes(weights: Sequence[np.ndarray]) -> int:
    """Bytes of a model in int8 whose filterlets of zeros aren't stored.

    A kernel takes a byte for each weight of the filterlets that are left, a bit for each filterlet that says whether it
    is, and 4 bytes a filter for its scale; all other numbers take 4 bytes. There is no such file format: it is what a
    runtime of one's own would store, without its code.

    Examples:
        >>> filterlet_bytes([np.stack([np.ones((3, 3, 4)), np.zeros((3, 3, 4))], axis=-1), np.ones(2)])
        53
    """
    total = 0
    for weight in weights:
        if weight.ndim < 2:
            total += 4 * weight.size
            continue
        kept = int(np.count_nonzero(_magnitudes(weight)))
        total += kept * _window(weight) + -(-math.prod(weight.shape[-2:]) // 8) + 4 * weight.shape[-1]
    return total


def _least(kernels: Sequence[np.ndarray], sparsity: float) -> list[np.ndarray]:
    """By kernel, which of its filterlets (inputs, filters) go: the least important of all."""
    scores = [_magnitudes(kernel) for kernel in kernels]
    shares = [(score / max(float(score.mean()), np.finfo(np.float64).tiny)).ravel() for score in scores]
    sizes = np.concatenate(
        [np.full(score.size, _window(kernel)) for score, kernel in zip(scores, kernels, strict=True)]
    )
    order = np.argsort(np.concatenate(shares), kind="stable")
    removed = np.zeros(len(order), bool)
    removed[order[np.cumsum(sizes[order]) <= math.floor(sparsity * sizes.sum())]] = True
    parts = np.split(removed, np.cumsum([score.size for score in scores])[:-1])
    return [part.reshape(score.shape) for part, score in zip(parts, scores, strict=True)]


def _magnitudes(kernel: np.ndarray) -> np.ndarray:
    """Sum of magnitudes of each filterlet, float64 (inputs, filters)."""
    return np.abs(kernel).reshape(-1, *kernel.shape[-2:]).sum(axis=0, dtype=np.float64)


def _window(kernel: np.ndarray) -> int:
    """Weights of a filterlet."""
    return math.prod(kernel.shape[:-2])
