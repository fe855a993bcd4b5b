"""Zeros where weights and what they read are small, over examples.

Reference:
    Sun et al., ICLR 2024 (Wanda: a simple and effective pruning approach for large language models).
"""

import keras
import numpy as np

from fedkd.compress.dense_kernels import copied, dense_kernels
from fedkd.compress.moments import Moments, moment_of
from fedkd.compress.sparse_pattern import sparse_pattern


def wanda(model: keras.Model, shown: Moments, sparsity: float | str = 0.5) -> keras.Model:
    """Return a copy of a model whose dense kernels have zeros; the other weights stay as they are.

    Each output keeps the weights of the largest |w| times the norm of what they read.

    Args:
        model: Functional or Sequential; not changed.
        shown: What its kernels read, of ``moments``.
        sparsity: Share of zeros in [0, 1), or N:M: at most N of M inputs in a row stay, as ``"2:4"``.

    Raises:
        InputError: ``sparsity`` is neither, the moments are of another model, a kernel isn't finite, or there is none
            of 1,024 numbers or more.

    Reference:
        Sun et al., ICLR 2024, eq. 1 and section 3 (scores are compared for each output).
    """
    pattern, whole = sparse_pattern(sparsity), copied(model)
    for kernel in dense_kernels(whole):
        matrix = kernel.matrix()
        norms = np.sqrt(np.diag(moment_of(shown, kernel).second))
        scores = np.abs(matrix.T.astype(np.float64)) * norms
        kernel.assign(np.where(pattern.stay(scores).T, matrix, 0))
    return whole
