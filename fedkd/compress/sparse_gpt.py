"""Zeros that the weights which stay make up for, over examples.

Reference:
    Frantar & Alistarh, ICML 2023 (SparseGPT: massive language models can be accurately pruned in one-shot).
"""

import keras
import numpy as np

from fedkd.compress.compensate import DAMPING, compensated, inverse_factor
from fedkd.compress.dense_kernels import copied, dense_kernels
from fedkd.compress.moments import Moment, Moments, moment_of
from fedkd.compress.sparse_pattern import SparsePattern, sparse_pattern

# Inputs among which a share of the weights is chosen at a time. The paper's 128 are for kernels of thousands: those of
# a small model would be one block, chosen before anything was made up for.
_BLOCK = 16


def sparse_gpt(
    model: keras.Model, shown: Moments, sparsity: float | str = 0.5, damping: float = DAMPING
) -> keras.Model:
    """Return a copy of a model whose dense kernels have zeros, and other weights that make up for them.

    Args:
        model: Functional or Sequential; not changed.
        shown: What its kernels read, of ``moments``.
        sparsity: Share of zeros in [0, 1), or N:M: at most N of M inputs in a row stay, as ``"2:4"``.
        damping: Share of the mean of the second moments' diagonal that is added to it.

    Raises:
        InputError: ``sparsity`` is neither, the moments are of another model or of too few examples for no damping, a
            kernel isn't finite, or there is none of 1,024 numbers or more.
    """
    pattern, whole = sparse_pattern(sparsity), copied(model)
    for kernel in dense_kernels(whole):
        kernel.assign(sparse_gpt_pruned(kernel.matrix(), moment_of(shown, kernel), pattern, damping))
    return whole


def sparse_gpt_pruned(
    matrix: np.ndarray, moment: Moment, pattern: SparsePattern, damping: float = DAMPING
) -> np.ndarray:
    """Prune a kernel so that its outputs change little over examples.

    A share is chosen among all outputs and 16 inputs at a time, when their turn comes, a group's weights likewise. The
    first to go are zeros, for pruning has set them, then weights of inputs that examples never showed.

    Args:
        matrix: The kernel, float32 (inputs, outputs).
        moment: What it reads.
        pattern: What goes.
        damping: See ``sparse_gpt``.

    Returns:
        The kernel with zeros, float32 (inputs, outputs).

    Raises:
        InputError: The moments are of too few examples for no damping.

    Reference:
        Frantar & Alistarh, ICML 2023, algorithm 1, and section 3.3 for N:M.
    """
    factor, width = inverse_factor(moment, damping), pattern.group or _BLOCK
    there = matrix.T != 0
    stay = there.copy()

    def settle(column: int, left: np.ndarray) -> np.ndarray:
        if column % width == 0:
            block = slice(column, column + width)
            scores = np.square(left[:, block] / np.diag(factor)[block]) * ~moment.unseen[block]
            stay[:, block] &= _stay(np.where(there[:, block], scores, -1), pattern)
        return np.where(stay[:, column], left[:, column], 0.0)

    return compensated(matrix.T.astype(np.float64), factor, settle).T.astype(np.float32)


def _stay(scores: np.ndarray, pattern: SparsePattern) -> np.ndarray:
    """Which of a block's weights stay: of a share, whichever row they are in."""
    return pattern.stay(scores) if pattern.group else pattern.stay(scores.reshape(1, -1)).reshape(scores.shape)
