"""Which weights of a kernel stay: a share of them, or at most so many of each group."""

import math
import re
from typing import NamedTuple

import numpy as np

from fedkd.base.errors import InputError
from fedkd.compress.prune import check_sparsity

_SLACK = 1e-9  # of a weight: 0.29 * 100 is less than 29 in floats


class SparsePattern(NamedTuple):
    """How many weights go, and among which they are chosen.

    Args:
        share: Of weights that go, in [0, 1), where there are no groups.
        kept: Of a group, how many may stay.
        group: Inputs in a row that are a group of each output; 0 for a plain share.
    """

    share: float
    kept: int = 0
    group: int = 0

    def stay(self, scores: np.ndarray) -> np.ndarray:
        """Tell for each row which weights stay, bool (rows, n): those of the largest scores, the first among equals.

        Args:
            scores: float64 (rows, n), compared within each row. A last group of fewer inputs keeps as many as others.
        """
        if not self.group:
            gone = math.floor(self.share * scores.shape[1] + _SLACK)
            return _largest(scores, scores.shape[1] - gone)
        starts = range(0, scores.shape[1], self.group)
        return np.hstack([_largest(scores[:, i : i + self.group], self.kept) for i in starts])


def sparse_pattern(sparsity: float | str) -> SparsePattern:
    """Read a pattern.

    Args:
        sparsity: The share of weights that go, in [0, 1), or N:M: at most N of M inputs in a row stay, as 2:4.

    Raises:
        InputError: It is neither.

    >>> sparse_pattern("2:4")
    SparsePattern(share=0.5, kept=2, group=4)
    """
    if not isinstance(sparsity, str):
        check_sparsity(sparsity)
        return SparsePattern(sparsity)
    found = re.fullmatch(r"(\d+):(\d+)", sparsity)
    if not found or not 0 < (kept := int(found[1])) < (group := int(found[2])):
        raise InputError(
            f"sparsity must be a share in [0, 1) or N:M with 0 < N < M, as '2:4' (2 of 4 inputs stay), got {sparsity!r}"
        )
    return SparsePattern(1 - kept / group, kept, group)


def _largest(scores: np.ndarray, count: int) -> np.ndarray:
    order = np.argsort(-scores, axis=1, kind="stable")
    stay = np.zeros(scores.shape, bool)
    np.put_along_axis(stay, order[:, :count], True, axis=1)
    return stay
