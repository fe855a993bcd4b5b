"""Dense kernels of few bits whose rounding is made up for, over examples.

Reference:
    Frantar et al., ICLR 2023 (GPTQ: accurate post-training quantization for generative pre-trained transformers).
"""

import keras
import numpy as np

from fedkd.compress.compensate import DAMPING, compensated, inverse_factor
from fedkd.compress.dense_kernels import copied, dense_kernels
from fedkd.compress.grid import FOUR, multiples, rounded
from fedkd.compress.moments import Moment, Moments, moment_of


def gptq(model: keras.Model, shown: Moments, damping: float = DAMPING) -> keras.Model:
    """Return a copy of a model whose dense kernels are what the precision int4 has them: multiples of a step an output.

    All kernels are rounded by the moments of the model as it is, not one after the other by what the rounded ones
    before give: so one look at the examples is enough.

    Args:
        model: Functional or Sequential; not changed.
        shown: What its kernels read, of ``moments``.
        damping: Share of the mean of the second moments' diagonal that is added to it.

    Raises:
        InputError: The moments are of another model or of too few examples for no damping, a kernel isn't finite, or
            there is none of 1,024 numbers or more.
    """
    whole = copied(model)
    for kernel in dense_kernels(whole):
        numbers, steps = gptq_rounded(kernel.matrix(), moment_of(shown, kernel), damping)
        kernel.assign((numbers * steps[:, None]).T)
    return whole


def gptq_rounded(
    matrix: np.ndarray, moment: Moment, damping: float = DAMPING, bits: int = FOUR
) -> tuple[np.ndarray, np.ndarray]:
    """Round a kernel so that its outputs change little over examples.

    The steps are those of rounding to the nearest; columns are settled from the largest second moment to the least.
    Zeros stay zeros, for pruning has set them.

    Args:
        matrix: The kernel, float32 (inputs, outputs).
        moment: What it reads.
        damping: See ``gptq``.
        bits: Of the multiples.

    Returns:
        The multiples, int8 (outputs, inputs), and the steps, float32 (outputs,).

    Raises:
        InputError: The moments are of too few examples for no damping.

    Reference:
        Frantar et al., ICLR 2023, algorithm 1; the order of columns is that of their code's ``act-order``.
    """
    rows = np.ascontiguousarray(matrix.T)
    _, steps = rounded(rows, bits)
    order = np.argsort(-np.diag(moment.second), kind="stable")
    turned = Moment(moment.rows, moment.second[np.ix_(order, order)], moment.magnitude[order])
    numbers = np.empty(rows.shape, np.int8)

    def settle(column: int, left: np.ndarray) -> np.ndarray:
        nearest = multiples(left[:, [column]].astype(np.float32), steps, bits)[:, 0]
        nearest[rows[:, order[column]] == 0] = 0
        numbers[:, order[column]] = nearest
        return np.asarray(nearest * steps, np.float64)

    compensated(rows[:, order].astype(np.float64), inverse_factor(turned, damping), settle)
    return numbers, steps
