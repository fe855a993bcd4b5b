"""What a kernel's outputs lose by a change of its weights, and how the weights that are still free make up for it."""

from collections.abc import Callable
from numbers import Real

import numpy as np

from fedkd.base.errors import InputError
from fedkd.compress.moments import Moment

DAMPING = 0.01  # of the mean of the diagonal, as in the papers


def output_error(change: np.ndarray, second: np.ndarray) -> float:
    """Sum of the squares by which outputs change over the examples that moments were taken of.

    Args:
        change: Of the kernel, (inputs, outputs).
        second: Sum of outer products of the inputs, float64 (inputs, inputs).
    """
    change = change.astype(np.float64)
    return float((change * (second @ change)).sum())


def inverse_factor(moment: Moment, damping: float = DAMPING) -> np.ndarray:
    """Upper triangle U, float64 (inputs, inputs), for which U^T U is the inverse of the damped second moments.

    Inputs that examples never showed are independent of all others.

    Args:
        moment: Of a kernel.
        damping: What is added to the diagonal, as a share of its mean, 0 or more.

    Raises:
        InputError: ``damping`` breaks its rule, or is too little for moments of too few examples.

    Reference:
        Frantar et al., ICLR 2023 (GPTQ), step 3: the rows of this factor are what the inverses of one column less each
        would have to be computed for.
    """
    if not isinstance(damping, Real) or not 0 <= damping < np.inf:
        raise InputError(f"damping must be 0 or more (a share of the moments' mean), got {damping}")
    damped = moment.second.copy()
    damped[np.diag_indices_from(damped)] += damping * np.diag(damped).mean() + moment.unseen
    try:
        # With rows and columns turned round: H = R R^T of an upper R, whose inverse is the factor.
        upper = np.linalg.cholesky(damped[::-1, ::-1])[::-1, ::-1]
        factor = np.linalg.inv(upper)
    except np.linalg.LinAlgError:
        raise InputError(
            f"moments of {moment.rows} rows don't tell {len(damped)} inputs apart with damping {damping:g}; take more"
            " damping, or more examples"
        ) from None
    return np.asarray(np.triu(factor))


def compensated(rows: np.ndarray, factor: np.ndarray, settle: Callable[[int, np.ndarray], np.ndarray]) -> np.ndarray:
    """Settle a kernel's columns one after the other; those after each take over what it changes in the outputs.

    Args:
        rows: A row for each output, a column for each input, float64 (outputs, inputs).
        factor: Of these inputs in this order, see ``inverse_factor``.
        settle: Given a column's number and the kernel as it is by then, returns what the column becomes (outputs,).

    Returns:
        The settled kernel, float64 (outputs, inputs).

    Reference:
        Frantar et al., ICLR 2023 (GPTQ), eqs 2-3 and algorithm 1, which Frantar & Alistarh, ICML 2023 (SparseGPT)
        prune by, too.
    """
    left = rows.copy()
    for column in range(left.shape[1]):
        settled = settle(column, left)
        missing = (left[:, column] - settled) / factor[column, column]
        left[:, column + 1 :] -= np.outer(missing, factor[column, column + 1 :])
        left[:, column] = settled
    return left
